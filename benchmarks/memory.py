"""Resident memory of one real worker over many images: it must stay below 600 MB and within 2 % of the initial value.

    python -m benchmarks.memory --count 20000 [--spec body]

The whole command runs with one worker, which is observed from outside a few times per second. Its memory fluctuates by
some MB, so the median over each 2,000 images (500 in a short run) is compared with the first median, which excludes the
first 200 images: by then everything is loaded. The limit applies to the maximum.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

import psutil

from synthgen.generator.runs.options import RunOptions
from synthgen.generator.runs.progress import Progress
from synthgen.generator.runs.run import run
from synthgen.progress import Silent
from synthgen.specs.files import load_spec

BEGUN = 200
LIMIT_MB, DRIFT = 600, 0.02


class Scales(Silent):
    """Measures the worker a few times per second and reports every step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.steps: list[list[float]] = [[]]

    def show(self, progress: Progress) -> None:
        workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        if len(workers) != 1 or progress.samples_done < BEGUN:
            return
        if progress.samples_done >= len(self.steps) * self.step:
            self.tell()
            self.steps.append([])
        self.steps[-1].append(workers[0].memory_info().rss / 1e6)

    def tell(self) -> None:
        mb = self.steps[-1]
        if mb:
            done = f"{len(self.steps) * self.step:,}"
            print(
                f"to {done:>7} images: {mb[0]:.1f} MB first, {median(mb):.1f} median, {max(mb):.1f} maximum", flush=True
            )


def weigh(name: str, count: int) -> bool:
    scales = Scales(2000 if count >= 10_000 else 500)
    with tempfile.TemporaryDirectory() as folder:
        report = run(load_spec(name, {"count": count}), RunOptions(out=Path(folder) / "data", workers=1), scales)
    steps = [step for step in scales.steps if step]
    start, *later = [median(step) for step in steps]
    most = max(max(step) for step in steps)
    drift = max((abs(mb / start - 1) for mb in later), default=0.0)
    kept = most < LIMIT_MB and drift <= DRIFT
    end = steps[-1][-1]
    print(f"{name}: {report.samples:,} images, {start:.1f} MB at the start, {end:.1f} at the end, maximum {most:.1f}; "
          f"drift {100 * drift:.1f} %; "
          f"{'passed' if kept else 'FAILED'}: below {LIMIT_MB} MB and within {100 * DRIFT:g} %")  # fmt: skip
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--spec", default="hand")
    options = parser.parse_args()
    sys.exit(0 if weigh(options.spec, options.count) else 1)
