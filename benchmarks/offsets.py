"""The part of each method's error that is a constant offset per landmark, e.g. from a different annotation convention.

python -m benchmarks.offsets --scans data/radiographs/scans.h5 --results results/quick_heatmap
"""

import argparse
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="folder that `synthgen experiment` wrote")
    options = parser.parse_args()
    from synthgen.training.scans.scan_set import read_scanset

    found = read_scanset(options.scans)
    scale = np.array([scan.mm_per_px for scan in found.scans])[:, None, None]
    truth = found.stacked("landmarks_px")
    for path in sorted((options.results / "predictions").glob("*N*(*).npz")):
        errors = (np.load(path, allow_pickle=False)["points_px"] - truth) * scale
        mean = np.nanmean(errors, axis=0)
        left = np.linalg.norm(errors - mean, axis=2)
        lengths = ", ".join(
            f"{name} {length:.1f}"
            for name, length in zip(found.info.landmark_names, np.linalg.norm(mean, axis=1), strict=True)
        )
        whole = np.nanmean(np.linalg.norm(errors, axis=2))
        print(f"{path.stem}: {whole:.2f} mm; mean offset, mm: {lengths}; without it {np.nanmean(left):.2f} mm")


if __name__ == "__main__":
    main()
