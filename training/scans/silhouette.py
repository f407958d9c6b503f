"""Binary silhouettes and depth of a volume, as the paper makes them: an air threshold, projected along depth.

The steps, each with a default and a switch: threshold; the scanner's table removed; speckle, holes and all but the
largest component cleaned from the silhouette. The volume is read in slabs of rows, and never copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.orientation import Seen
from synthgen.training.scans.scanner_table import table_start

AIR_HU, TISSUE_HU = -1000.0, -400.0
"""Air, and the usual threshold between air and tissue."""
MOSTLY_AIR_HU, LEAST_AIR = -700.0, 0.02
"""Values are Hounsfield units if at least this share of them is below this; no other modality has such values."""
BINS = 2**16
TAIL = 1e-3
"""This part of the values at each end does not stretch the histogram."""
LEAST_CONTRAST = 4.0
"""Otsu's classes must differ by this many deviations of the darker one; otherwise there is only noise."""
SPECKLE_MM2, HOLE_MM2 = 25.0, 50.0
"""Smaller components are speckle; smaller holes are filled, larger ones are gaps, as between an arm and the trunk."""
UNKNOWN_IMAGE_MM2 = 33_000.0
"""An image without a spacing is taken to show so much: a hand, 150 by 220 mm."""
SLAB = 64
"""Rows that are looked at together."""
_ALL_NEIGHBOURS = np.ones((3, 3), dtype=bool)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Threshold:
    """Above this value a voxel is tissue."""

    value: float
    how: Literal["given", "otsu", "hounsfield"]
    is_hu: bool
    """The values are Hounsfield units."""


@dataclass(frozen=True)
class Steps:
    """What is done to a thresholded volume or picture."""

    remove_table: bool = True
    fill_holes: bool = True
    largest: bool = True
    min_speckle_mm2: float | None = None
    """None: 25 mm2."""


@dataclass(frozen=True)
class Binarized:
    """A silhouette, and how far from the viewer it is."""

    mask: Mask
    """(H, W)"""
    depth_mm: NDArray[np.float32]
    """(H, W) from the volume's nearest outer face to the centre of the first tissue voxel; NaN off the mask."""
    table_removed: bool


def choose_threshold(voxels: NDArray[Any], rule: float | Literal["otsu", "hounsfield"] | None) -> Threshold:
    """Find the air threshold of a volume, independent of the order of its voxels.

    Args:
        voxels: (I, J, K) in any order.
        rule: A value, a rule, or None: -400 for Hounsfield units, else Otsu's threshold.

    Raises:
        ScanError: The values have no such threshold.
    """
    counts, low, step = _histogram(voxels)
    values = low + step * np.arange(len(counts))
    share = np.cumsum(counts) / counts.sum()
    below = int(np.searchsorted(values, MOSTLY_AIR_HU, side="right"))
    is_hu = below > 0 and bool(share[below - 1] >= LEAST_AIR)
    if isinstance(rule, float | int):
        return Threshold(float(rule), "given", is_hu)
    if rule == "hounsfield" or (rule is None and is_hu):
        return Threshold(TISSUE_HU, "hounsfield", is_hu=True)
    value, contrast = _otsu(counts, values)
    if contrast < LEAST_CONTRAST:
        raise ScanError(
            "threshold: otsu finds no tissue that stands out from the background; set threshold to a "
            "value, or check that the volume is not all air"
        )
    return Threshold(value, "otsu", is_hu)


def otsu(values: NDArray[Any]) -> float:
    """Return Otsu's threshold of any numbers (n,), whether or not there are two separate classes.

    Raises:
        ScanError: They are all the same.
    """
    counts, low, step = _histogram(values.reshape(1, 1, -1))
    return _otsu(counts, low + step * np.arange(len(counts)))[0]


def count_planes(voxels: NDArray[Any], threshold: Threshold) -> tuple[NDArray[np.int64], ...]:
    """Count the tissue voxels in each plane along each axis of (I, J, K)."""
    counts = [np.zeros(size, dtype=np.int64) for size in voxels.shape]
    for slab in _slabs(voxels.shape[2]):
        tissue = voxels[:, :, slab] > threshold.value
        counts[0] += np.count_nonzero(tissue, axis=(1, 2))
        counts[1] += np.count_nonzero(tissue, axis=(0, 2))
        counts[2][slab] = np.count_nonzero(tissue, axis=(0, 1))
    return tuple(counts)


def binarize(seen: Seen, threshold: Threshold, steps: Steps) -> Binarized:
    """Project a volume along depth.

    Raises:
        ScanError: No tissue is left.
    """
    # MR shows no table, and its fat looks like a plate.
    looked = steps.remove_table and threshold.is_hu
    table = table_start(seen, min(AIR_HU, threshold.value), threshold.value) if looked else None
    height, width, deep = seen.voxels.shape
    tissue = np.zeros((height, width), dtype=bool)
    first = np.zeros((height, width), dtype=np.int32)
    for slab in _slabs(height):
        # A copy in one order, so that the depth direction is read alike however the volume is stored.
        above = np.greater(seen.voxels[slab], threshold.value, order="C")
        if table is not None:
            start, nearer = table[0][slab, :, None], table[1]
            above &= np.arange(deep) >= start if nearer else np.arange(deep) < start
        tissue[slab] = above.any(axis=2)
        first[slab] = _first(above)
    if not tissue.any():
        raise ScanError(
            f"threshold: no voxel lies above {threshold.value:g} ({threshold.how}); the volume is all air, or needs "
            "another threshold in its column"
        )
    mask = clean(tissue, (float(seen.spacing_mm[0]), float(seen.spacing_mm[1])), steps)
    depth = ((first + 0.5) * seen.spacing_mm[2]).astype(np.float32)
    return Binarized(mask, _on_mask(depth, tissue, mask), table is not None)


def clean(mask: Mask, spacing_mm: tuple[float, float] | None, steps: Steps) -> Mask:
    """Return a silhouette (H, W) without speckle and holes, its largest component alone: what is switched on.

    Args:
        mask: The silhouette.
        spacing_mm: Of its pixels along x and y, None where unknown.
        steps: The switches.
    """
    labels, sizes = _components(mask, _ALL_NEIGHBOURS)
    if not len(sizes):
        return mask.copy()
    pixel = spacing_mm[0] * spacing_mm[1] if spacing_mm else UNKNOWN_IMAGE_MM2 / mask.size
    speckle = SPECKLE_MM2 if steps.min_speckle_mm2 is None else steps.min_speckle_mm2
    keep = sizes >= min(speckle / pixel, sizes.max())
    if steps.largest:
        keep = np.arange(len(sizes)) == np.argmax(sizes)
    kept: Mask = np.concatenate([[False], keep])[labels]
    if steps.fill_holes:
        gaps, sizes = _components(~kept, None)
        small = sizes < HOLE_MM2 / pixel
        edge = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
        small[edge[edge > 0] - 1] = False
        kept |= np.concatenate([[False], small])[gaps]
    return kept


def _first(above: Mask) -> NDArray[np.int64]:
    """Return the first of two tissue voxels in a row along depth, which noise seldom is, else the first: (h, W)."""
    twice = above[:, :, :-1] & above[:, :, 1:]
    return (
        np.where(twice.any(axis=2), twice.argmax(axis=2), above.argmax(axis=2)) if twice.size else above.argmax(axis=2)
    )


def _on_mask(depth: NDArray[np.float32], tissue: Mask, mask: Mask) -> NDArray[np.float32]:
    """Return depths with NaN off the mask, and those of the nearest tissue in filled holes."""
    if (mask & ~tissue).any():
        rows, columns = ndimage.distance_transform_edt(~tissue, return_distances=False, return_indices=True)
        depth = depth[rows, columns]
    return np.where(mask, depth, np.float32(np.nan))


def _components(mask: Mask, neighbours: Mask | None) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return labels (H, W) from 1, and the pixels of each component."""
    labels, _ = ndimage.label(mask, structure=neighbours)
    return labels, np.bincount(labels.ravel())[1:]


def _slabs(size: int) -> Iterator[slice]:
    for start in range(0, size, SLAB):
        yield slice(start, min(start + SLAB, size))


def _histogram(voxels: NDArray[Any]) -> tuple[NDArray[np.int64], float, float]:
    """Count the finite values of a volume in bins around low, low + step, ....

    Whole numbers in a range of 65536 get a bin each; else the range is narrowed until few outliers do not fill it.

    Raises:
        ScanError: Fewer than two values.
    """
    low, high = _range(voxels)
    for _ in range(12):
        whole = voxels.dtype.kind in "iub" and high - low < BINS
        step = 1.0 if whole else (high - low) / (BINS - 1)
        counts = np.zeros(round((high - low) / step) + 1, dtype=np.int64)
        for slab in _slabs(voxels.shape[2]):
            counts += np.bincount(_bins(voxels[:, :, slab], low, high, step), minlength=len(counts))
        first, last = np.searchsorted(np.cumsum(counts) / counts.sum(), [TAIL, 1 - TAIL])
        if whole or last - first > len(counts) / 16:
            break
        low, high = low + step * max(first - 0.5, 0.0), min(low + step * (last + 0.5), high)
        if voxels.dtype.kind in "iub":
            low, high = float(np.floor(low)), float(np.ceil(high))
    return counts, low, step


def _bins(values: NDArray[Any], low: float, high: float, step: float) -> NDArray[np.int64]:
    """Return the bin of each finite value, (n,); values outside belong to the first or the last."""
    if values.dtype.kind in "iub" and step == 1:
        return np.clip(values.ravel(order="K").astype(np.int64), round(low), round(high)) - round(low)
    finite = values[np.isfinite(values)].astype(np.float64)
    return np.rint((np.clip(finite, low, high) - low) / step).astype(np.int64)


def _range(voxels: NDArray[Any]) -> tuple[float, float]:
    if voxels.dtype.kind == "f":
        lows, highs = [], []
        for slab in _slabs(voxels.shape[2]):
            values = voxels[:, :, slab]
            values = values[np.isfinite(values)]
            if values.size:
                lows.append(float(values.min()))
                highs.append(float(values.max()))
        low, high = min(lows, default=0.0), max(highs, default=0.0)
    else:
        low, high = float(voxels.min()), float(voxels.max())
    if not low < high:
        raise ScanError(f"image: all its values are {low:g}; it shows nothing")
    return low, high


def _otsu(counts: NDArray[np.int64], values: Floats) -> tuple[float, float]:
    """Return Otsu's threshold of a histogram, in the middle of a gap where there is one.

    The other number is by how many deviations of the darker class the means differ.
    """
    share = np.cumsum(counts) / counts.sum()
    values = np.clip(values, *values[np.searchsorted(share, [TAIL, 1 - TAIL])])
    moment = np.cumsum(counts / counts.sum() * values)
    below = share[:-1]
    inside = (below > 0) & (below < 1)
    between = np.zeros(len(below))
    between[inside] = (moment[-1] * below - moment[:-1])[inside] ** 2 / (below * (1 - below))[inside]
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    split, after = int(best[0]) + 1, int(best[-1]) + 1
    dark = np.average(values[:split], weights=counts[:split])
    spread = np.sqrt(np.average((values[:split] - dark) ** 2, weights=counts[:split]))
    bright = np.average(values[split:], weights=counts[split:])
    contrast = float((bright - dark) / spread) if spread > 0 else np.inf
    return float((values[split - 1] + values[after]) / 2), contrast
