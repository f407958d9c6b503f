"""Errors of predicted landmarks, in the source where they count: pixels of the source image, and mm.

Networks see patches, so every prediction is made in a patch. It goes back to its scan through `to_source`, which
predicting uses too, and is compared there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.scan_set import Scan, ScanSet, scan_points_mm


@dataclass(frozen=True)
class Prediction:
    """What one method says about all N scans of a set, each predicted by a network that has not seen its subject."""

    points_px: Floats
    """(N, K, 2) continuous pixels of the patches."""
    depth_mm: Floats | None = None
    """(N, K) along the patches' depth; None for a method that sees silhouettes alone."""


@dataclass(frozen=True)
class PointErrors:
    """Distances from the true landmarks, NaN where the truth is missing or the unit is not known."""

    px: Floats
    """(N, K) in the image plane, pixels of the source; of volumes, voxels seen along the depth."""
    mm: Floats
    """(N, K) in the image plane; NaN for 2D scans without a spacing."""
    mm_3d: Floats | None
    """(N, K) in space; None without predicted depth."""
    known: NDArray[np.bool_]
    """(N, K) whether the truth is known; where it is not, nothing is counted."""


def to_source(scan: Scan, points_px: Floats, depth_mm: Floats | None = None) -> Floats:
    """Return where points of a patch lie in its scan.

    Args:
        scan: Its way back counts.
        points_px: (K, 2) continuous pixels of the patch.
        depth_mm: (K,) along the patch's depth; None means 0, which is right for 2D scans.

    Returns:
        (K, 3) LPS mm, or for 2D scans pixels of the source and 0.

    """
    return scan_points_mm(scan, points_px, np.zeros(len(points_px)) if depth_mm is None else depth_mm)


def landmark_depths_mm(scan: Scan) -> Floats:
    """Return the depth of each landmark itself along the patch's depth, (K,) mm, NaN where missing and for 2D scans."""
    if scan.depth_mm is None:
        return np.full(len(scan.landmarks_px), np.nan)
    offsets = scan.landmarks_mm - scan.patch_to_source[:3, 3]
    depths: Floats = np.linalg.solve(scan.patch_to_source[:3, :3], offsets.T)[2]
    return depths


def source_pixel_mm(scan: Scan) -> Floats:
    """Return the size of a pixel of the source along the patch's x and y, (2,) mm, NaN where it is not known."""
    unknown = np.full(2, np.nan)
    try:
        stated = json.loads(scan.settings)["used"]["mm_per_px"]
        size = unknown if stated is None else np.array(stated, dtype=np.float64)
    except (ValueError, KeyError, TypeError, RecursionError):
        size = unknown
    if size.shape == (2,) and np.isfinite(size).all() and (size > 0).all():
        return size
    if scan.depth_mm is not None:
        return unknown
    area = abs(float(np.linalg.det(scan.patch_to_source[:2, :2])))
    return np.full(2, scan.mm_per_px / np.sqrt(area)) if area > 0 else unknown


def point_errors(scans: ScanSet, name: str, prediction: Prediction) -> PointErrors:
    """Compare a method's predictions with the truth.

    Args:
        scans: N scans with K landmarks.
        name: The method's, for messages.
        prediction: Of all scans.

    Raises:
        ScanError: A prediction is NaN where the true landmark is known.

    """
    truth = scans.stacked("landmarks_px")
    known = np.isfinite(truth).all(axis=2)
    _check(scans, name, prediction, known)
    pairs = [_in_plane(scan, points) for scan, points in zip(scans.scans, prediction.points_px, strict=True)]
    px, mm = (np.stack(unit) for unit in zip(*pairs, strict=True))
    space = None if prediction.depth_mm is None else _in_space(scans.scans, prediction.points_px, prediction.depth_mm)
    return PointErrors(px, mm, space, known)


def depth_errors(scans: ScanSet, name: str, depth_mm: Floats) -> Floats:
    """Return how far predicted depths (N, K) lie from the landmarks' own, (N, K) mm, NaN where the truth is missing.

    Raises:
        ScanError: A prediction is NaN where the true landmark is known.

    """
    truth = np.stack([landmark_depths_mm(scan) for scan in scans.scans])
    _refuse(scans, name, np.isfinite(truth) & ~np.isfinite(depth_mm))
    return np.abs(depth_mm - truth)


def _check(scans: ScanSet, name: str, prediction: Prediction, known: NDArray[np.bool_]) -> None:
    shape = (*known.shape, 2)
    if prediction.points_px.shape != shape:
        raise ValueError(f"{name}: predictions are {prediction.points_px.shape}, not {shape}")
    _refuse(scans, name, known & ~np.isfinite(prediction.points_px).all(axis=2))
    if prediction.depth_mm is not None:
        _refuse(scans, name, known & ~np.isfinite(prediction.depth_mm))


def _refuse(scans: ScanSet, name: str, wrong: NDArray[np.bool_]) -> None:
    """Raise an error for the first prediction that is NaN."""
    for n, k in np.argwhere(wrong)[:1]:
        raise ScanError(
            f"{name}: predicts NaN for {scans.info.landmark_names[k]} of scan {scans.scans[n].id}; "
            "no training scan has that landmark, or the training diverged: lower its learning rate"
        )


def _in_plane(scan: Scan, points_px: Floats) -> tuple[Floats, Floats]:
    """Return the distances (K,) from the truth in pixels of the source and in mm, seen along the depth."""
    apart = to_source(scan, points_px) - to_source(scan, scan.landmarks_px)
    pixel_mm = source_pixel_mm(scan)
    if scan.depth_mm is None:
        return np.linalg.norm(apart[:, :2], axis=1), np.linalg.norm(apart[:, :2] * pixel_mm, axis=1)
    # The patch's axes are the volume's: what a patch pixel spans in mm, a number of voxels spans too.
    mm_per_px = np.linalg.norm(scan.patch_to_source[:3, :2], axis=0)
    voxels = (points_px - scan.landmarks_px) * (mm_per_px / pixel_mm)
    return np.linalg.norm(voxels, axis=1), np.linalg.norm(apart, axis=1)


def _in_space(scans: Sequence[Scan], points_px: Floats, depth_mm: Floats) -> Floats:
    predicted = [to_source(*one) for one in zip(scans, points_px, depth_mm, strict=True)]
    return np.linalg.norm(np.stack(predicted) - np.stack([scan.landmarks_mm for scan in scans]), axis=2)


def known_mean(values: Floats, axis: int) -> Floats:
    """Return the means along an axis of what is not NaN; NaN where nothing is known."""
    known = np.isfinite(values)
    counts = known.sum(axis=axis)
    sums = np.where(known, values, 0).sum(axis=axis)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
