"""Labels: where the landmarks of a posed body are, computed from the very vertices that are rendered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.model import BodyModel
from synthgen.errors import SpecError
from synthgen.geometry import Camera, Floats, project
from synthgen.landmark_set import LandmarkSet
from synthgen.sample import Labels

Corners = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]

TOLERANCE_MM = 1.0
"""A landmark on the skin is visible while nothing lies more than this nearer on its ray."""


@dataclass(frozen=True)
class LandmarkTable:
    """A landmark set, looked up in a model: K points among the vertices and the bone heads after them."""

    names: tuple[str, ...]
    points: NDArray[np.int64]
    """(K,) index among V vertices and B heads."""
    own: NDArray[np.bool_]
    """(K, V) for a joint, the vertices of its own segment; for a landmark on the skin, none."""


def landmark_table(landmarks: LandmarkSet, model: BodyModel) -> LandmarkTable:
    """Look up a landmark set.

    Raises:
        SpecError: The set belongs to another model.
        AssetError: A vertex or a joint is not part of the model.
    """
    if landmarks.model != model.name:
        msg = f"landmarks: the set is for the {landmarks.model}, the spec renders the {model.name}; choose another set"
        raise SpecError(msg)
    defined = {landmark.name: landmark for landmark in landmarks.landmarks}
    owner = model.owners
    points, own = [], np.zeros((len(landmarks.landmarks), model.n_vertices), dtype=bool)
    for k, landmark in enumerate(landmarks.landmarks):
        source = defined[landmark.mirror_of] if landmark.mirror_of else landmark
        if source.vertex is not None:
            vertex = int(model.mirror[source.vertex]) if landmark.mirror_of else source.vertex
            points.append(model.vertex(vertex))
        else:
            bone = model.bone(_mirrored(source.joint or "") if landmark.mirror_of else source.joint or "")
            points.append(model.n_vertices + bone)
            own[k] = np.isin(owner, [bone, model.parents[bone]])
    return LandmarkTable(landmarks.names, np.array(points), own)


def label(table: LandmarkTable, points_mm: Floats, triangles: Corners, camera: Camera) -> Labels:
    """Compute the labels of one image.

    Args:
        table: The landmarks.
        points_mm: (V + B, 3) vertices, then bone heads, camera frame.
        triangles: First, second and third vertex of each triangle.
        camera: The image's camera.
    """
    landmarks_mm = points_mm[table.points]
    landmarks_px = project(camera, landmarks_mm)
    vertices = points_mm[: table.own.shape[1]]
    hits = _RayCaster(
        project(camera, vertices), vertices[:, 2], triangles, perspective=camera.projection == "perspective"
    )
    visible = np.array([
        hits.sees(px, mm[2], own) for px, mm, own in zip(landmarks_px, landmarks_mm, table.own, strict=True)
    ])  # fmt: skip
    in_frame = ((landmarks_px >= 0) & (landmarks_px <= [camera.width, camera.height])).all(axis=1)
    return Labels(landmarks_px, landmarks_mm, visible, in_frame)


class _RayCaster:
    """Casts pixel rays at projected triangles."""

    def __init__(self, vertices_px: Floats, depth_mm: Floats, triangles: Corners, *, perspective: bool) -> None:
        self._x, self._y = np.ascontiguousarray(vertices_px.T)
        self._perspective = perspective
        self._inverse = 1 / depth_mm if perspective else depth_mm
        self._corners = triangles
        self._left, self._right = _ends(self._x, triangles)
        self._top, self._bottom = _ends(self._y, triangles)

    def sees(self, px: Floats, depth_mm: float, own: NDArray[np.bool_]) -> bool:
        x, y = px
        near = np.flatnonzero((self._top <= y) & (self._bottom >= y))
        near = near[(self._left[near] <= x) & (self._right[near] >= x)]
        corners = tuple(corner[near] for corner in self._corners)
        depths, inside = self._depths(x, y, corners)
        if not inside.any():
            return not own.any()
        if own.any():
            first = depths[inside].argmin()
            return any(bool(own[corner[inside][first]]) for corner in corners)
        return bool(depths[inside].min() >= depth_mm - TOLERANCE_MM)

    def _depths(self, x: float, y: float, corners: Corners) -> tuple[Floats, NDArray[np.bool_]]:
        (ax, ay), (bx, by), (cx, cy) = ((self._x[corner] - x, self._y[corner] - y) for corner in corners)
        areas = (bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx)
        total = areas[0] + areas[1] + areas[2]
        solid = np.abs(total) > 1e-12
        shares = [area / np.where(solid, total, 1.0) for area in areas]
        inside = solid & (shares[0] >= -1e-9) & (shares[1] >= -1e-9) & (shares[2] >= -1e-9)
        depths = sum(share * self._inverse[corner] for share, corner in zip(shares, corners, strict=True))
        return (1 / depths if self._perspective else depths), inside


def _ends(values: Floats, corners: Corners) -> tuple[Floats, Floats]:
    a, b, c = (values[corner] for corner in corners)
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def _mirrored(bone: str) -> str:
    return bone[:-1] + {"L": "R", "R": "L"}[bone[-1]] if bone.endswith((".L", ".R")) else bone
