"""Seconds until the first image, without and with compiled code on disk.

    python -m benchmarks.first_image --rounds 5

Whole commands, `synthgen preview -n 1 --engine raster`, from start to end; the models are unpacked beforehand.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

SYNTHGEN = Path(sys.executable).with_name("synthgen")


def seconds(spec: str, cache: Path) -> float:
    command = [SYNTHGEN, "preview", "--spec", spec, "-n", "1", "--engine", "raster", "--out", cache / f"{spec}.png"]
    began = time.perf_counter()
    subprocess.run(command, env=os.environ | {"NUMBA_CACHE_DIR": str(cache)}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        seconds("hand", Path(folder))  # unpacks the models where there are none
    for spec in ("hand", "body"):
        empty, filled = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                empty.append(seconds(spec, Path(folder)))
                filled.append(seconds(spec, Path(folder)))
        for name, taken in (("empty", empty), ("filled", filled)):
            print(f"{spec}, {name} cache: {median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f})")


if __name__ == "__main__":
    main()
