"""Bytes that a push sends with Xet: a new dataset, the same one again, and after a contiguous 1 % has changed.

    python -m benchmarks.push_change --count 10000

Uses the tests' Hub server on this machine, with the real client. The changed samples are drawn with another seed.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from synthgen.generator.dataset.folder import open_folder, seal_dataset
from synthgen.generator.dataset.shards import read_shard, write_shard
from synthgen.storage.dataset_paths import CHECKSUMS
from synthgen.storage.sample import decode_sample, sample_key

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def synthgen(*arguments: object, env: dict[str, str] | None = None) -> None:
    command = Path(sys.executable).with_name("synthgen")
    subprocess.run([str(command), *map(str, arguments)], env=env, check=True, stdout=subprocess.DEVNULL)


def change(root: Path, other: Path, count: int) -> None:
    """Put samples of another dataset into the middle of a shard, and seal again."""
    dataset = open_folder(root)
    plan = dataset.plans[5]
    keys = [sample_key(int(index)) for index in plan.indices]
    stored, new = dict(read_shard(root / plan.path)), dict(read_shard(other / plan.path))
    first = (len(keys) - count) // 2
    members = stored | {key: new[key] for key in keys[first : first + count]}
    (root / CHECKSUMS).unlink()
    samples = (decode_sample(members[key]) for key in keys)
    write_shard(plan, samples, root, dataset.spec.depth_steps_per_mm)
    if not seal_dataset(root, dataset.spec, dataset.plans):
        sys.exit(f"{root}: could not be sealed again")


def measure(root: Path, count: int) -> None:
    from hub_process import HubProcess, sent_bytes

    for seed in (0, 1):
        synthgen("render", "--spec", "hand", "--engine", "raster", "--count", count, "--seed", seed,
                 "--out", root / str(seed))  # fmt: skip
    hub = HubProcess(root / "hub", "xet")

    def push(before: Callable[[], None] = lambda: None) -> int:
        before()
        mark = hub.mark()
        synthgen("push", root / "0", "--repo", "tester/hands", env=hub.environment())
        return sent_bytes(hub.since(mark))

    first, again = push(), push()
    changed = push(lambda: change(root / "0", root / "1", count // 100))
    hub.stop()
    print(f"first push: {first:,} bytes; the same again: {again:,}; {count // 100} of {count:,} samples changed: "
          f"{changed:,}, {100 * changed / first:.1f} % of the first")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    with tempfile.TemporaryDirectory(prefix="push-change-") as folder:
        measure(Path(folder), parser.parse_args().count)
