"""Labels: where the landmarks of a posed body are, computed from the very vertices that are rendered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.model import BodyModel
from synthgen.errors import SpecError
from synthgen.generator.collision import segments
from synthgen.geometry import Camera, Floats, project
from synthgen.landmark_set import LandmarkSet
from synthgen.sample import Labels

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
    owner = segments(model)
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


def label(table: LandmarkTable, points_mm: Floats, triangles: NDArray[np.int32], camera: Camera) -> Labels:
    """Compute the labels of one image.

    Args:
        table: The landmarks.
        points_mm: (V + B, 3) vertices, then bone heads, camera frame.
        triangles: (T, 3) vertex indices.
        camera: The image's camera.
    """
    landmarks_mm = points_mm[table.points]
    landmarks_px = project(camera, landmarks_mm)
    vertices = points_mm[: table.own.shape[1]]
    hits = _RayCaster(project(camera, vertices), vertices[:, 2], triangles, camera.projection == "perspective")
    visible = np.array([
        hits.sees(px, mm[2], own) for px, mm, own in zip(landmarks_px, landmarks_mm, table.own, strict=True)
    ])  # fmt: skip
    in_frame = ((landmarks_px >= 0) & (landmarks_px <= [camera.width, camera.height])).all(axis=1)
    return Labels(landmarks_px, landmarks_mm, visible, in_frame)


class _RayCaster:
    """Casts pixel rays at projected triangles."""

    def __init__(self, vertices_px: Floats, depth_mm: Floats, triangles: NDArray[np.int32], perspective: bool) -> None:  # noqa: FBT001
        self._px, self._triangles, self._perspective = vertices_px, triangles, perspective
        self._inverse = 1 / depth_mm if perspective else depth_mm
        x, y = vertices_px[:, 0][triangles], vertices_px[:, 1][triangles]
        self._left, self._right = x.min(axis=1), x.max(axis=1)
        self._top, self._bottom = y.min(axis=1), y.max(axis=1)

    def sees(self, px: Floats, depth_mm: float, own: NDArray[np.bool_]) -> bool:
        x, y = px
        near = np.flatnonzero((self._left <= x) & (x <= self._right) & (self._top <= y) & (y <= self._bottom))
        triangles = self._triangles[near]
        depths, inside = self._depths(px, triangles)
        if not inside.any():
            return not own.any()
        depths, triangles = depths[inside], triangles[inside]
        if own.any():
            return bool(own[triangles[depths.argmin()]].any())
        return bool(depths.min() >= depth_mm - TOLERANCE_MM)

    def _depths(self, px: Floats, triangles: NDArray[np.int32]) -> tuple[Floats, NDArray[np.bool_]]:
        a, b, c = (self._px[triangles[:, i]] - px for i in range(3))
        areas = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)
        total = areas.sum(axis=1)
        solid = np.abs(total) > 1e-12
        shares = areas / np.where(solid, total, 1.0)[:, None]
        inside = solid & (shares >= -1e-9).all(axis=1)
        depths = (shares * self._inverse[triangles]).sum(axis=1)
        return (1 / depths if self._perspective else depths), inside


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def _mirrored(bone: str) -> str:
    return bone[:-1] + {"L": "R", "R": "L"}[bone[-1]] if bone.endswith((".L", ".R")) else bone
