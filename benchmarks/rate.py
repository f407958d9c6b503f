"""Hands and bodies per second into sealed shards, both engines alternating in one run, and where the time goes.

    python -m benchmarks.rate --hands 20000 --bodies 6000 --rounds 3

Each run is the whole command on one worker, into an empty folder. Its rate is what the command reports: samples divided
by the seconds from the first shard assigned to the last one sealed, including a worker's start and the loading of the
model. The last lines compare two workers with one.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # as in a worker: one core each

import argparse
import gzip
import hashlib
import io
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.generator.bodies.draw import Recipe
from synthgen.generator.bodies.shape_and_skin import rest_bodies
from synthgen.generator.pipeline import CHUNK, DRAWN, Pipeline, open_pipeline
from synthgen.generator.runs.run import RunOptions, run
from synthgen.specs.files import load_spec
from synthgen.storage.depth import encode_depth, nearest_depth
from synthgen.storage.png import write_depth_png, write_mask_png
from synthgen.storage.sample import Sample, encode_sample, sample_key
from synthgen.storage.tar import pack_member

BAR = {"hand": 1200, "body": 300}
"""Samples per second on one core with the raster engine."""
BLENDER_SHARE = 8
"""Blender gets this many times fewer samples, so that it does not run longer."""
WORKERS_BAR = 1.85


def command(name: str, engine: str, count: int, workers: int) -> float:
    """Run the whole command and return its samples per second."""
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(out=Path(folder) / "data", workers=workers)
        report = run(load_spec(name, {"count": count, "engine": engine}), options)
        if not report.sealed:
            raise RuntimeError(f"{name}: not sealed; {[outcome.error for outcome in report.outcomes if outcome.error]}")
        return report.per_s


def engines(name: str, count: int, rounds: int) -> None:
    rates = defaultdict(list)
    for part in range(rounds):
        for engine, samples in (("raster", count), ("blender", max(count // BLENDER_SHARE, 200))):
            rates[engine].append(command(name, engine, samples, 1))
            print(f"{name} round {part + 1}: {engine} {rates[engine][-1]:.1f}/s", flush=True)
    raster, blender = np.median(rates["raster"]), np.median(rates["blender"])
    bar = min(BAR[name], 10 * blender)
    print(f"{name}: raster {raster:.0f}/s, Blender {blender:.0f}/s, {raster / blender:.1f} times; "
          f"at least {bar:.0f}/s: {'passed' if raster >= bar else 'FAILED'}", flush=True)  # fmt: skip


def workers(name: str, count: int, rounds: int) -> None:
    rates = [(command(name, "raster", count, 1), command(name, "raster", count, 2)) for _ in range(rounds)]
    one, two = np.median(rates, axis=0)
    kept = "passed" if two / one >= WORKERS_BAR else "FAILED"
    print(f"{name}: one worker {one:.0f}/s, two {two:.0f}/s, {two / one:.2f} times; at least {WORKERS_BAR}: {kept}",
          flush=True)  # fmt: skip


def stages(name: str, count: int) -> None:
    """Print the milliseconds of each step of a sample, in the pipeline's own chunks, without redraws."""
    pipeline = open_pipeline(load_spec(name), "raster")
    spent: dict[str, float] = defaultdict(float)
    list(pipeline.samples(range(CHUNK)))
    for first in range(0, count, DRAWN):
        indices = range(first, min(first + DRAWN, count))
        recipes = _timed(spent, "draw", lambda indices=indices: pipeline.scene.recipes.draw(indices))
        for start in range(0, len(recipes), CHUNK):
            samples = _make(pipeline, recipes[start : start + CHUNK], spent)
            _store(samples, pipeline.scene.spec.depth_steps_per_mm, spent)
    times = {stage: 1000 * total / count for stage, total in spent.items()}
    print(f"{name} ms per sample: " + ", ".join(f"{stage} {ms:.3f}" for stage, ms in times.items())
          + f"; total {sum(times.values()):.3f}", flush=True)  # fmt: skip


def _timed(spent: dict[str, float], stage: str, call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = call()
    spent[stage] += time.perf_counter() - began
    return result


def _make(pipeline: Pipeline, recipes: list[Recipe], spent: dict[str, float]) -> list[Sample]:
    scene = pipeline.scene
    rests = _timed(spent, "shape", lambda: rest_bodies(scene.model, [recipe.shape for recipe in recipes]))
    pairs = list(zip(recipes, rests, strict=True))
    bodies = _timed(spent, "pose", lambda: [scene._pose(rest, recipe.pose) for recipe, rest in pairs])
    _timed(spent, "collide", lambda: [scene._collider.deepest(body.points_mm, body.axes) for body in bodies])
    posed = _timed(spent, "place and label",
                   lambda: [scene._place(*one) for one in zip(recipes, bodies, strict=True)])  # fmt: skip
    return _timed(spent, "raster", lambda: [pipeline.render(body) for body in posed])


def _store(samples: list[Sample], steps: float, spent: dict[str, float]) -> None:
    pngs = _timed(spent, "PNG", lambda: [_pngs(sample, steps) for sample in samples])
    began = time.perf_counter()
    stored = [encode_sample(sample, steps) for sample in samples]
    spent["json"] += time.perf_counter() - began
    again = time.perf_counter()
    if [_pngs(sample, steps) for sample in samples] != pngs:
        raise RuntimeError("two encodings of a sample differ")
    spent["json"] -= time.perf_counter() - again
    keyed = [(sample_key(sample.index), members) for sample, members in zip(samples, stored, strict=True)]
    tar = _timed(spent, "tar", lambda: [
        b"".join([pack_member(f"{key}.{suffix}", data) for suffix, data in members.items()]) for key, members in keyed
    ])  # fmt: skip
    _timed(spent, "hash", lambda: [hashlib.sha256(data) for data in tar])
    lines = b"\n".join([members["json"] for members in stored])
    _timed(spent, "label lines", lambda: gzip.GzipFile(fileobj=io.BytesIO(), mode="wb", compresslevel=1).write(lines))


def _pngs(sample: Sample, steps: float) -> tuple[bytes, bytes]:
    code = encode_depth(sample.depth_mm, nearest_depth(sample.depth_mm, steps), steps)
    return write_mask_png(code > 0), write_depth_png(code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=20000)
    parser.add_argument("--bodies", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, count in (("hand", options.hands), ("body", options.bodies)):
        if count:
            stages(name, min(count, 1024))
            engines(name, count, options.rounds)
            workers(name, count, options.rounds)
