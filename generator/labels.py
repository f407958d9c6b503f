"""Labels: where the landmarks of a posed body are, computed from the very vertices that are rendered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.model import BodyModel
from synthgen.errors import AssetError, SpecError
from synthgen.generator.kernels import first_hits, to_pixels
from synthgen.geometry import Camera, Floats
from synthgen.landmark_set import Landmark, LandmarkSet
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
    joints: NDArray[np.intp]
    """Which of the landmarks are joints."""


def landmark_table(landmarks: LandmarkSet, model: BodyModel) -> LandmarkTable:
    """Look up a landmark set.

    Raises:
        SpecError: The set belongs to another model, or a vertex or a joint is not part of the model.
    """
    if landmarks.model != model.name:
        msg = f"landmarks: the set is for the {landmarks.model}, the spec renders the {model.name}; choose another set"
        raise SpecError(msg)
    defined = {landmark.name: landmark for landmark in landmarks.landmarks}
    owner = model.owners
    points, own = [], np.zeros((len(landmarks.landmarks), model.n_vertices), dtype=bool)
    for k, landmark in enumerate(landmarks.landmarks):
        source = defined[landmark.mirror_of] if landmark.mirror_of else landmark
        try:
            points.append(_place(source, model, mirrored=bool(landmark.mirror_of)))
        except AssetError as error:
            msg = f"landmarks.{landmark.name}: {error}"
            raise SpecError(msg) from None
        if source.joint:
            bone = points[-1] - model.n_vertices
            own[k] = np.isin(owner, [bone, model.parents[bone]])
    return LandmarkTable(landmarks.names, np.array(points), own, np.flatnonzero(own.any(axis=1)))


def label(table: LandmarkTable, points_mm: Floats, triangles: NDArray[np.int32], camera: Camera) -> Labels:
    """Compute the labels of one image.

    Args:
        table: The landmarks.
        points_mm: (V + B, 3) vertices, then bone heads, camera frame.
        triangles: (T, 3) vertex indices.
        camera: The image's camera.
    """
    perspective = camera.projection == "perspective"
    centre = (camera.width / 2, camera.height / 2)
    px, linear = to_pixels(points_mm, camera.mm_per_px, centre, camera.distance_mm if perspective else 0.0)
    landmarks_mm, landmarks_px = points_mm[table.points], px[table.points]
    nearest, hit = first_hits(px, linear, triangles.view(np.uint32), landmarks_px)
    depth = -1 / nearest if perspective else nearest
    visible = depth >= landmarks_mm[:, 2] - TOLERANCE_MM
    if len(table.joints):
        segments = table.own[table.joints[:, None], triangles[hit[table.joints]]]
        visible[table.joints] = (hit[table.joints] >= 0) & segments.any(axis=1)
    in_frame = ((landmarks_px >= 0) & (landmarks_px <= [camera.width, camera.height])).all(axis=1)
    return Labels(landmarks_px, landmarks_mm, visible, in_frame)


def _place(landmark: Landmark, model: BodyModel, *, mirrored: bool) -> int:
    """Position of a landmark, or of its mirror image, among the vertices and the bone heads after them."""
    if landmark.joint:
        return model.n_vertices + model.bone(_mirrored(landmark.joint) if mirrored else landmark.joint)
    vertex = landmark.vertex or 0
    if mirrored and vertex < len(model.mirror):
        vertex = int(model.mirror[vertex])
    return model.vertex(vertex)


def _mirrored(bone: str) -> str:
    return bone[:-1] + {"L": "R", "R": "L"}[bone[-1]] if bone.endswith((".L", ".R")) else bone
