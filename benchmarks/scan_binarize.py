"""Time and memory of binarizing a CT of 512 x 512 x 1500 voxels: limits are a minute and 3 times its own memory.

    python -m benchmarks.scan_binarize [--slices 1500]

The volume is a body of a head, a trunk and limbs on a table of two plates, with noise, stored once as scanners do (i to
the left, j to the back, k to the head) and once in the order least favourable for the depth direction. The time covers
everything from the voxels in memory to the silhouette and its depth; memory is the peak of the process, including the
volume and all libraries.
"""

import argparse
import resource
import sys
import threading
import time

import numpy as np
import psutil

from synthgen.training.scans.formats.image_types import Volume
from synthgen.training.scans.orientation import seen, view_of
from synthgen.training.scans.silhouette import Steps, binarize, choose_threshold

SECONDS, TIMES = 60, 3
STEP_MM = (0.9766, 0.9766, 1.2)
PARTS = (  # middle and half-axes in mm: x, y (to the feet), z (to the back); the back lies at 0
    ((0, -760, -95), (80, 120, 95)), ((0, -400, -110), (170, 280, 110)), ((-215, -250, -50), (45, 330, 45)),
    ((215, -250, -50), (45, 330, 45)), ((-95, 330, -70), (75, 500, 70)), ((95, 330, -70), (75, 500, 70)),
)  # fmt: skip


class Peak:
    """Peak resident memory inside the context, sampled a hundred times per second."""

    def __enter__(self) -> "Peak":
        self.bytes, self._done = 0, threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.01):
            self.bytes = max(self.bytes, process.memory_info().rss)


def scanned(slices: int) -> np.ndarray:
    """A CT (K, J, I) of int16, from the feet to the head."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (8, 512, 512)).astype(np.int16)
    x, z = ((np.arange(512) - middle) * STEP_MM[0] for middle in (256, 400))
    plates = ((z >= 0) & (z < 4)) | ((z >= 40) & (z < 44))
    empty = np.full((512, 512), -1000, dtype=np.int16)
    empty[np.ix_(plates, np.abs(x) < 240)] = -50
    volume = np.empty((slices, 512, 512), dtype=np.int16)
    for k in range(slices):
        y = (slices / 2 - k - 0.5) * STEP_MM[2]
        values = empty.copy()
        for (px, py, pz), (a, b, c) in PARTS:
            left = 1 - ((y - py) / b) ** 2
            if left > 0:
                values[((x[None, :] - px) / a) ** 2 + ((z[:, None] - pz) / c) ** 2 < left] = 40
        volume[k] = values + noise[k % 8]
    return volume


def measure(name: str, voxels: np.ndarray, affine: np.ndarray) -> bool:
    volume = Volume(voxels, affine)
    with Peak() as peak:
        start = time.perf_counter()
        threshold = choose_threshold(voxels, None)
        chosen = time.perf_counter()
        found = binarize(seen(volume, view_of(affine, "S", "A")), threshold, Steps())
        stop = time.perf_counter()
    seconds, times = stop - start, peak.bytes / voxels.nbytes
    table = "removed" if found.table_removed else "NOT removed"
    print(
        f"{name}: {seconds:.1f} s ({chosen - start:.1f} of them for the threshold), at most {peak.bytes / 2**20:,.0f} "
        f"MiB = {times:.2f} times the volume's {voxels.nbytes / 2**20:,.0f}; table {table}, "
        f"silhouette {found.mask.mean():.1%} of the image",
        flush=True,
    )
    return seconds < SECONDS and times < TIMES and found.table_removed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=1500)
    slices = parser.parse_args().slices
    volume = scanned(slices)
    affine = np.diag([*STEP_MM, 1.0])
    kept = measure("slices of the body, as scanners store them", volume.T, affine)
    turned = np.ascontiguousarray(volume.transpose(1, 2, 0))  # depth varies slowest, head to feet fastest
    del volume
    kept &= measure("depth varies slowest", turned.transpose(1, 0, 2), affine)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"the process, including making the volumes: at most {most:,.0f} MiB; {'passed' if kept else 'FAILED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
