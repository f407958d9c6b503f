"""Make a scan table of the nine hand radiographs, for `make experiment`.

    python -m benchmarks.radiographs --data FOLDER --out data/radiographs [--landmarks fingertip_bones]

`FOLDER/hand_xray` holds `images/ID.mha`, and `landmarks_half.csv` and `landmarks_of_images_extra.csv` with 37 points of
each left hand in pixels. Counted from 0, the points 20, 24, 28, 32 and 36 are the ends of the fingers; the distance
between points 1 and 5 is taken as 50 mm, which is the usual way to obtain a scale for these radiographs. The ends are
named as in the landmark set `--landmarks`: use the one of the spec that the scans are built with.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthgen.specs.spec import load_part

TIPS = (20, 24, 28, 32, 36)
"""The points that end the fingers, thumb to little finger."""
SETS = ("fingertips", "fingertip_bones")
SCALE_POINTS, SCALE_MM = (1, 5), 50.0


def annotations(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and points (37, 2), pixels."""
    for path in (folder / "landmarks_half.csv", folder / "landmarks_of_images_extra.csv"):
        with path.open(newline="") as file:
            for name, *numbers in csv.reader(file):
                yield name, np.array(numbers, dtype=float).reshape(37, 2)


def write_table(data: Path, out: Path, landmarks: str = SETS[0]) -> Path:
    """Write the table and a file of the fingers' ends for each radiograph, by the names of a landmark set."""
    names = load_part("landmarks", landmarks).names
    folder, rows = data / "hand_xray", []
    images = {path.stem: path.resolve() for path in sorted((folder / "images").glob("*.mha"))}
    if not images:
        sys.exit(f"--data: value {data}; it has no hand_xray/images")
    out.mkdir(parents=True, exist_ok=True)
    for name, points in annotations(folder):
        if name in images:
            first, last = points[list(SCALE_POINTS)]
            with (out / f"{name}.csv").open("w", newline="") as tips:
                csv.writer(tips).writerows(
                    [("name", "x", "y"), *((tip, *points[n]) for tip, n in zip(names, TIPS, strict=True))]
                )
            scale = SCALE_MM / np.linalg.norm(last - first)
            rows.append((name, name, images[name], f"{name}.csv", "left", f"{scale:.6f}"))
    with (out / "scans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "subject", "image", "landmarks", "side", "mm_per_px"), *sorted(rows)])
    return out / "scans.csv"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--landmarks", choices=SETS, default=SETS[0])
    options = parser.parse_args()
    print(write_table(options.data, options.out, options.landmarks))
