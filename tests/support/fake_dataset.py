"""Sealed dataset folders of fake samples, and ways to spoil them."""

import hashlib
import json
from pathlib import Path

from support.fake_samples import fake_sample
from synthgen.datasets.plan import ShardPlan, plan_shards
from synthgen.generator.dataset.folder import seal_dataset, start_dataset
from synthgen.generator.dataset.shards import write_shard
from synthgen.specs.files import load_spec
from synthgen.specs.spec import Image, ResolvedSpec
from synthgen.storage.dataset_paths import read_checksums
from synthgen.storage.sample import Sample


def small_spec(count: int, name: str = "hand", size: tuple[int, int] = (20, 24), **changes) -> ResolvedSpec:
    spec = load_spec("hand", {"count": count})
    return spec.model_copy(update={"name": name, "image": Image(width=size[0], height=size[1]), **changes})


def plans_of(spec: ResolvedSpec) -> tuple[ShardPlan, ...]:
    return plan_shards(spec.name, spec.version, spec.count)


def make_dataset(root: Path, spec: ResolvedSpec, make=fake_sample, draw=None) -> Path:
    """Make a sealed folder; ``make`` makes a sample of an index, ``draw`` the contact sheet."""
    start_dataset(root, spec)
    for plan in plans_of(spec):
        put_shard(root, spec, plan, [make(int(index)) for index in plan.indices])
    assert seal_dataset(root, spec, plans_of(spec), draw)
    return root


def put_shard(root: Path, spec: ResolvedSpec, plan: ShardPlan, samples: list[Sample]) -> None:
    write_shard(plan, samples, root, spec.depth_steps_per_mm)


def change_file(root: Path, path: str, data: bytes) -> None:
    """Put other bytes into a file, and make manifest and checksums agree: only its content gives it away."""
    sums, manifest = read_checksums(root), json.loads((root / "manifest.json").read_text())
    (root / path).write_bytes(data)
    sums[path] = hashlib.sha256(data).hexdigest()
    for shard in manifest["shards"]:
        if shard["path"] == path:
            shard |= {"bytes": len(data), "sha256": sums[path]}
    if path != "manifest.json":
        told = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
        (root / "manifest.json").write_bytes(told)
        sums["manifest.json"] = hashlib.sha256(told).hexdigest()
    (root / "SHA256SUMS").write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def flip_bit(path: Path, at: int) -> None:
    """Change one bit of a file, in the byte at this place."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def tree(folder: Path) -> dict[str, bytes]:
    """Return everything in a folder that is not hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
