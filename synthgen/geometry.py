"""Cameras on plain arrays.

Camera frame: x right, y down, z away from the camera, mm; the origin is on the optical axis in the camera plane.
Pixels are continuous: (0, 0) is the outer corner of the top-left pixel, its centre is (0.5, 0.5).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Projection = Literal["orthographic", "perspective"]


@dataclass(frozen=True)
class Camera:
    """The intrinsics of one image."""

    projection: Projection
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    mm_per_px: tuple[float, float]
    """Size of a pixel in x and y, mm; in perspective, at depth ``distance_mm``."""
    distance_mm: float
    """Depth of the plane where ``mm_per_px`` holds; ignored by an orthographic projection."""


def project(camera: Camera, points_mm: Floats) -> Floats:
    """Project camera-frame points (…, 3) mm to continuous pixels (…, 2)."""
    xy = points_mm[..., :2] / np.asarray(camera.mm_per_px)
    if camera.projection == "perspective":
        xy = xy * (camera.distance_mm / points_mm[..., 2:3])
    return xy + np.array([camera.width / 2, camera.height / 2])


def unproject(camera: Camera, points_px: Floats, depth_mm: Floats) -> Floats:
    """Return the camera-frame points (…, 3) mm seen at pixels (…, 2) with depths (…)."""
    xy = (points_px - np.array([camera.width / 2, camera.height / 2])) * np.asarray(camera.mm_per_px)
    depth = np.asarray(depth_mm, dtype=np.float64)[..., None]
    if camera.projection == "perspective":
        xy = xy * (depth / camera.distance_mm)
    return np.concatenate([xy, np.broadcast_to(depth, (*xy.shape[:-1], 1))], axis=-1)


def normalize(vectors: Floats) -> Floats:
    """Scale vectors (…, 3) to unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
