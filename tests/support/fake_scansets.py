"""Scan sets made of numbers, for what comes after scans: flat ones and volumes, with a way back of any kind."""

import json

import numpy as np

from synthgen.specs.files import load_spec
from synthgen.training.evaluation.errors import Prediction
from synthgen.training.scans.build import scanset_info
from synthgen.training.scans.scan_set import Scan, ScanSet

INFO = scanset_info(load_spec("hand"))
BODY = scanset_info(load_spec("body"))
K = len(INFO.landmark_names)


def squares(count, seed=0, size=96):
    """Masks (N, size, size) of one square each, and landmarks (N, 5, 2) that move with it."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), dtype=bool)
    corners = rng.integers(5, size - 45, (count, 2))
    sides = rng.integers(25, 40, count)
    for mask, (x, y), side in zip(masks, corners, sides, strict=True):
        mask[y : y + side, x : x + side] = True
    inside = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]])
    return masks, corners[:, None] + inside * sides[:, None, None]


def flat_scan(name="a", subject="s", px=None, *, scale=(2.0, 2.0), shift=(10.0, -5.0), spacing=(0.5, 0.5), mask=None):
    """A 2D scan whose patch pixels span ``scale`` source pixels of ``spacing`` mm; None for a source without one."""
    px = np.zeros((K, 2)) if px is None else np.asarray(px, dtype=float)
    affine = np.diag([*scale, 1.0, 1.0])
    affine[:2, 3] = shift
    mm = float("nan") if spacing is None else float(np.sqrt(abs(scale[0] * scale[1]) * spacing[0] * spacing[1]))
    return Scan(
        mask=np.zeros((INFO.height, INFO.width), dtype=bool) if mask is None else mask,
        depth_mm=None, landmarks_px=px, landmarks_mm=np.full((len(px), 3), np.nan), patch_to_source=affine,
        mm_per_px=mm, touches_border=False, id=name, subject=subject, side="left", source="x.png", sha256="0" * 64,
        settings=json.dumps({"used": {"mm_per_px": spacing}}),
    )  # fmt: skip


def volume_scan(name="a", subject="s", px=None, *, depths=None, affine=None, voxel_mm=(0.5, 0.5), depth_mm=None):
    """A scan of a volume; by default patch pixels of 2 mm, x to the left, y to the feet, depth to the back."""
    px = np.zeros((K, 2)) if px is None else np.asarray(px, dtype=float)
    depths = np.full(len(px), 50.0) if depths is None else np.asarray(depths, dtype=float)
    if affine is None:
        affine = np.array([[2.0, 0, 0, -90], [0, 0, 1, -20], [0, -2, 0, 300], [0, 0, 0, 1]])
    mm = (np.column_stack([px, depths, np.ones(len(px))]) @ affine.T)[:, :3]
    image = np.full((INFO.height, INFO.width), np.nan, dtype=np.float32)
    image[10:80, 20:70] = np.linspace(40, 60, 70)[:, None]
    image = image if depth_mm is None else depth_mm
    return Scan(
        mask=np.isfinite(image), depth_mm=image, landmarks_px=px, landmarks_mm=mm, patch_to_source=affine,
        mm_per_px=float(np.sqrt(np.prod(np.linalg.norm(affine[:3, :2], axis=0)))), touches_border=False, id=name,
        subject=subject, side="left", source="x.nii", sha256="0" * 64,
        settings="{}" if voxel_mm is None else json.dumps({"used": {"mm_per_px": voxel_mm}}),
    )  # fmt: skip


def scan_set(*scans, info=INFO):
    return ScanSet(info, tuple(scans))


def noisy(scans, spread, seed=0, *, depth=False):
    """Predictions that lie about the truth; where it is missing they are numbers as well."""
    rng = np.random.default_rng(seed)
    truth = np.nan_to_num(scans.stacked("landmarks_px"), nan=40.0)
    points = truth + rng.normal(scale=spread, size=truth.shape)
    return Prediction(points, 50 + rng.normal(scale=spread, size=truth.shape[:2]) if depth else None)
