"""Images per second end to end, compared with the bare Cycles loop on the same posed meshes in the same run.

    python -m benchmarks.throughput --hands 2000 --bodies 600 [--workers]

End to end is draw, shape, pose, place, label, render, encode and write to a shard; the bare loop renders the same
vertices and keeps nothing. Both alternate in one process on one core. With ``--workers``, the whole command is timed
with one worker and with two. ``benchmarks.rate`` shows where the time goes.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # as in a worker: one core each

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from synthgen.datasets.plan import plan_shards
from synthgen.generator.dataset.shards import write_shard
from synthgen.generator.engines.blender_process import exit_process, pin_to_core
from synthgen.generator.pipeline import open_pipeline
from synthgen.specs.files import load_spec

ROUNDS = 5


def end_to_end(name: str, count: int) -> None:
    spec = load_spec(name, {"count": max(count, 200)})
    pipeline = open_pipeline(spec, "blender")
    scene = pipeline.scene
    per_round = count // ROUNDS
    plan = plan_shards(spec.name, spec.version, 3)[0]
    plan = replace(plan, samples=per_round)
    pipeline.sample(0)
    ratios, rates, bare_rates = [], [], []
    for part in range(ROUNDS):
        bodies = [scene.posed(int(i)) for i in plan.indices]
        frames = [(b.points_mm[: scene.model.n_vertices].astype(np.float32), b.camera) for b in bodies]
        began = time.perf_counter()
        for vertices, camera in frames:
            pipeline.engine.render(vertices, camera)
        bare = plan.samples / (time.perf_counter() - began)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            write_shard(plan, pipeline.samples(plan.indices), Path(folder), spec.depth_steps_per_mm)
            whole = plan.samples / (time.perf_counter() - began)
        rates.append(whole)
        bare_rates.append(bare)
        ratios.append(whole / bare)
        print(
            f"{name} round {part + 1}: bare {bare:.1f}/s, end to end {whole:.1f}/s, ratio {whole / bare:.3f}",
            flush=True,
        )
    print(f"{name}: end to end {np.median(rates):.1f}/s of bare {np.median(bare_rates):.1f}/s, median ratio "
          f"{np.median(ratios):.3f}, resident {psutil.Process().memory_info().rss / 2**20:.0f} MB")  # fmt: skip
    pipeline.close()


def workers(name: str, count: int) -> None:
    from synthgen.generator.runs.run import RunOptions, run

    rates = {}
    for n in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            spec = load_spec(name, {"count": count})
            report = run(spec, RunOptions(out=Path(folder) / "data", workers=n))
            rates[n] = sum(outcome.samples for outcome in report.outcomes) / report.seconds
    print(f"{name}: one worker {rates[1]:.1f}/s, two {rates[2]:.1f}/s, ratio {rates[2] / rates[1]:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=2000)
    parser.add_argument("--bodies", type=int, default=600)
    parser.add_argument(
        "--workers", action="store_true", help="time the whole command with one and two workers instead"
    )
    options = parser.parse_args()
    if not options.workers:
        pin_to_core()
    for name, count in (("hand", options.hands), ("body", options.bodies)):
        if count:
            (workers if options.workers else end_to_end)(name, count)
    sys.stdout.flush()
    exit_process(0)
