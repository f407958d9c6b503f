"""Resident memory of one real worker over many images: it must stay under 600 MB and within 2 % of where it began.

    python -m benchmarks.memory --count 20000 [--spec body]

The whole command runs with one worker, which is looked at from outside. It has begun when it has made its first 500
images: by then everything is loaded.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import psutil

from synthgen.generator.progress import Progress, Silent
from synthgen.generator.request import RunOptions
from synthgen.generator.run import run
from synthgen.specfile import load_spec

STEP, BEGUN = 2000, 500
LIMIT_MB, DRIFT = 600, 0.02


class Scales(Silent):
    """Weighs the worker a few times a second."""

    def __init__(self) -> None:
        self.weights: list[tuple[int, float]] = []
        self.told = 0

    def show(self, progress: Progress) -> None:
        workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        if len(workers) != 1 or not progress.samples_done:
            return
        self.weights.append((progress.samples_done, workers[0].memory_info().rss / 1e6))
        if progress.samples_done // STEP > self.told:
            self.told = progress.samples_done // STEP
            part = [mb for done, mb in self.weights if done >= (self.told - 1) * STEP]
            print(f"{progress.samples_done:>8,} images: {part[-1]:.1f} MB now, at most {max(part):.1f}", flush=True)


def weigh(name: str, count: int) -> bool:
    scales = Scales()
    with tempfile.TemporaryDirectory() as folder:
        report = run(load_spec(name, {"count": count}), RunOptions(out=Path(folder) / "data", workers=1), scales)
    begun = [mb for done, mb in scales.weights if done >= BEGUN]
    start, most, end = begun[0], max(begun), begun[-1]
    kept = most < LIMIT_MB and most / start - 1 <= DRIFT
    print(f"{name}: {report.samples:,} images, {start:.1f} MB at the start, at most {most:.1f}, {end:.1f} at the end: "
          f"{100 * (most / start - 1):+.1f} % at most, {100 * (end / start - 1):+.1f} % at the end; "
          f"{'kept' if kept else 'NOT KEPT'}: under {LIMIT_MB} MB and within {100 * DRIFT:g} %")  # fmt: skip
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--spec", default="hand")
    options = parser.parse_args()
    sys.exit(0 if weigh(options.spec, options.count) else 1)
