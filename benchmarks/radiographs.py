"""Make a scan table of the nine hand radiographs, for `make experiment`.

    python -m benchmarks.radiographs --data FOLDER --out data/radiographs

`FOLDER/hand_xray` holds `images/ID.mha`, and `landmarks_half.csv` and `landmarks_of_images_extra.csv` with 37 points of
each left hand in pixels. Counted from 0, the points 20, 24, 28, 32 and 36 are the fingertips; 50 mm are said to lie
between points 1 and 5, which is how work on these radiographs gets a scale.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TIPS = {"thumb": 20, "index": 24, "middle": 28, "ring": 32, "little": 36}
SCALE_POINTS, SCALE_MM = (1, 5), 50.0


def annotations(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and points (37, 2), pixels."""
    for path in (folder / "landmarks_half.csv", folder / "landmarks_of_images_extra.csv"):
        with path.open(newline="") as file:
            for name, *numbers in csv.reader(file):
                yield name, np.array(numbers, dtype=float).reshape(37, 2)


def write_table(data: Path, out: Path) -> Path:
    """Write the table and a file of fingertips for each radiograph."""
    folder, rows = data / "hand_xray", []
    images = {path.stem: path.resolve() for path in sorted((folder / "images").glob("*.mha"))}
    if not images:
        sys.exit(f"--data: value {data}; it has no hand_xray/images")
    out.mkdir(parents=True, exist_ok=True)
    for name, points in annotations(folder):
        if name in images:
            first, last = points[list(SCALE_POINTS)]
            with (out / f"{name}.csv").open("w", newline="") as tips:
                csv.writer(tips).writerows([("name", "x", "y"), *((tip, *points[n]) for tip, n in TIPS.items())])
            scale = SCALE_MM / np.linalg.norm(last - first)
            rows.append((name, name, images[name], f"{name}.csv", "left", f"{scale:.6f}"))
    with (out / "scans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "subject", "image", "landmarks", "side", "mm_per_px"), *sorted(rows)])
    return out / "scans.csv"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(write_table(options.data, options.out))
