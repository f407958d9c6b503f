"""The same spec gives the same bytes, by the real pipeline: any workers, any order, any interruption, any count."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

import synthgen.generator.runs.resources as resources
from synthgen.generator.bodies.draw import Recipe
from synthgen.generator.dataset.folder import DatasetFolder, open_folder
from synthgen.generator.pipeline import open_pipeline
from synthgen.generator.runs.options import RunOptions
from synthgen.generator.runs.progress import Progress, RunReport
from synthgen.generator.runs.resources import Resources
from synthgen.generator.runs.run import run
from synthgen.progress import Silent
from synthgen.specs.files import load_spec
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import encode_sample

pytestmark = [pytest.mark.bpy, pytest.mark.slow]

HANDS, BODIES, MORE_HANDS = 170, 60, 230
"""Hands in 18 shards, so that every worker has its own sequence; bodies in 3; other counts divide otherwise."""


@pytest.fixture(autouse=True)
def room_for_three_workers(monkeypatch):
    monkeypatch.setattr(resources, "this_machine", lambda: Resources(cores=3, memory=10**10))


def render(out: Path, spec: ResolvedSpec, listener: Silent | None = None, **options) -> RunReport:
    options.setdefault("workers", 1)
    report = run(spec, RunOptions(out=out, **options), listener)

    assert report.failed == ()
    return report


@pytest.fixture(scope="module")
def hands(tmp_path_factory) -> Path:
    """The reference: one worker, all shards in their order, no interruption."""
    root = tmp_path_factory.mktemp("hands") / "data"
    assert render(root, load_spec("hand", {"count": HANDS})).sealed
    return root


def sums(root: Path) -> dict[str, str]:
    lines = (root / "SHA256SUMS").read_text().splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def leftovers(root: Path) -> list[Path]:
    return [*root.rglob("*.partial")]


def recipes(dataset: DatasetFolder) -> Iterator[tuple[int, dict]]:
    for index in range(len(dataset)):
        yield index, json.loads(dataset.members(index)["json"])


def test_two_workers_and_three(hands, tmp_path):
    for workers in (2, 3):
        out = tmp_path / str(workers)

        assert render(out, load_spec("hand", {"count": HANDS}), workers=workers).workers == workers
        assert sums(out) == sums(hands)


def test_shards_in_another_order(hands, tmp_path):
    spec = load_spec("hand", {"count": HANDS})
    first = render(tmp_path / "data", spec, shards="17,9-12,3")

    assert (len(first.outcomes), first.sealed) == (6, False)
    assert render(tmp_path / "data", spec, workers=2).sealed
    assert sums(tmp_path / "data") == sums(hands)


def test_bodies_of_one_worker_and_of_two(tmp_path):
    spec = load_spec("body", {"count": BODIES})
    one, two = tmp_path / "one", tmp_path / "two"

    assert render(one, spec, workers=1).sealed
    assert render(two, spec, workers=2).sealed
    assert sums(one) == sums(two)
    assert len([path for path in sums(one) if path.endswith(".tar")]) == 3


def test_another_seed_gives_other_bytes(hands, tmp_path):
    out = tmp_path / "data"
    render(out, load_spec("hand", {"count": HANDS, "seed": 1}), shards="17")
    (shard,) = out.glob("test/*.tar")

    assert shard.read_bytes() != (hands / "test" / shard.name).read_bytes()


def in_the_middle(root: Path, processes: list[psutil.Process]) -> bool:
    """Stop the processes where they are; let them go on, and say so, where no shard is half-written."""
    if not leftovers(root):
        return False
    for process in processes:
        process.suspend()
    if leftovers(root):
        return True
    for process in processes:
        process.resume()
    return False


class Killer(Silent):
    """Kills the only worker in the middle of a shard, once, when some shards are done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.killed: list[int] = []
        self.thread = threading.Thread(target=self.kill)

    def show(self, progress: Progress) -> None:
        if progress.shards_done >= 2 and self.thread.ident is None:
            self.thread.start()

    def kill(self) -> None:
        workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        end = time.monotonic() + 300
        while not self.killed and time.monotonic() < end:
            time.sleep(0.001)
            if in_the_middle(self.root, workers):
                self.killed += [worker.pid for worker in workers]
                workers[0].kill()


def test_a_worker_killed_in_the_middle_of_a_shard(hands, tmp_path):
    killer = Killer(tmp_path / "data")

    assert render(tmp_path / "data", load_spec("hand", {"count": HANDS}), killer).sealed
    killer.thread.join()
    assert len(killer.killed) == 1  # and there was only one worker
    assert sums(tmp_path / "data") == sums(hands)
    assert leftovers(tmp_path / "data") == []


def test_the_whole_command_killed_in_the_middle_of_a_shard(hands, tmp_path):
    out = tmp_path / "data"
    code = "from synthgen.cli.main import main; main()"
    arguments = ["render", "--spec", "hand", "--count", str(HANDS), "--workers", "2", "--out", str(out)]
    command = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        start_new_session=True,
    )

    processes: list[psutil.Process] = []
    try:
        end = time.monotonic() + 300
        while not (processes and in_the_middle(out, processes)):
            assert command.poll() is None
            assert time.monotonic() < end
            time.sleep(0.001)
            if not processes and len([*out.glob("*/*.tar")]) >= 2:
                leader = psutil.Process(command.pid)
                processes = [leader, *leader.children(recursive=True)]
    finally:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
    left = leftovers(out)

    assert left
    assert not (out / "SHA256SUMS").exists()
    report = render(out, load_spec("hand", {"count": HANDS}), workers=2)
    assert report.present >= 2
    assert sums(out) == sums(hands)
    assert leftovers(out) == []


def test_another_count_keeps_recipes_pixels_and_splits(hands, tmp_path):
    out = tmp_path / "data"
    render(out, load_spec("hand", {"count": MORE_HANDS}), workers=2)
    few, many = open_folder(hands), open_folder(out)

    assert (len(few), len(many)) == (HANDS, MORE_HANDS)
    assert sums(hands) != sums(out)
    for index in range(HANDS):
        assert few.members(index) == many.members(index)
    for split in ("train", "validation", "test"):
        indices = [{int(i) for plan in dataset.plans if plan.split == split for i in plan.indices}
                   for dataset in (few, many)]  # fmt: skip
        assert indices[0] == {index for index in indices[1] if index < HANDS}


def test_a_stored_sample_is_rendered_again_from_its_recipe_alone(hands):
    dataset = open_folder(hands)
    pipeline = open_pipeline(dataset.spec, "blender")
    redrawn = 0
    for index in np.random.default_rng(3).permutation(HANDS)[:40]:
        members = dataset.members(int(index))
        fields = json.loads(members["json"])
        redrawn += fields["pose"]["redraws"] > 0
        recipe = Recipe(fields["index"], fields["shape"], fields["pose"], fields["camera"])

        assert encode_sample(pipeline.sample_from(recipe), dataset.spec.depth_steps_per_mm) == members
    pipeline.close()

    assert redrawn > 0  # a redrawn pose is stored as it was drawn in the end


def test_no_two_samples_are_the_same(hands):
    dataset = open_folder(hands)
    seen = {json.dumps([fields["shape"], fields["pose"]]) for _, fields in recipes(dataset)}

    assert len(seen) == HANDS
