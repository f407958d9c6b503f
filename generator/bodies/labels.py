"""Labels: the landmarks of a posed body, computed from the same vertices that are rendered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.model import BodyModel
from synthgen.errors import AssetError, SpecError
from synthgen.generator.bodies.mesh_kernels import first_hits, to_pixels
from synthgen.geometry import Camera, Floats
from synthgen.specs.landmark_set import Landmark, LandmarkSet
from synthgen.storage.sample import Labels

TOLERANCE_MM = 1.0
"""A landmark on the skin is visible unless a surface on its ray is nearer by more than this."""


@dataclass(frozen=True)
class LandmarkTable:
    """A landmark set resolved in a model: K landmarks as indices into the V vertices and B bone heads."""

    names: tuple[str, ...]
    points: NDArray[np.int64]
    """(K,) index of each landmark; for one below the skin, of the vertex above it."""
    own: NDArray[np.bool_]
    """(K, V) vertices of the segment around an internal landmark; empty for a landmark on the skin."""
    inside: NDArray[np.intp]
    """Positions of the internal landmarks: joints, and those below the skin."""
    below: NDArray[np.intp]
    """(N,) positions of the landmarks below the skin, on the line from a vertex to a bone's head."""
    heads: NDArray[np.int64]
    """(N,) index of the bone head at the end of that line."""
    shares: Floats
    """(N, 1) position on that line, 0 at the vertex and 1 at the head."""

    def places(self, points_mm: Floats) -> Floats:
        """Return the landmarks' positions (K, 3) from points (V + B, 3), in the frame of the points."""
        places = points_mm[self.points]
        if len(self.below):
            start = places[self.below]
            places[self.below] = start + self.shares * (points_mm[self.heads] - start)
        return places


def landmark_table(landmarks: LandmarkSet, model: BodyModel) -> LandmarkTable:
    """Resolve a landmark set in a model.

    An internal landmark's segment is the skin of the bones in or between which it lies: for a joint, the bone that
    starts there and its parent; for a landmark below the skin, the bone with the largest weight of its vertex and the
    bone towards which it lies. At a fingertip both are the distal phalanx, so the phalanx before it may occlude it.

    Raises:
        SpecError: The set is for another model, or a vertex or bone is not part of the model.
    """
    if landmarks.model != model.name:
        msg = f"landmarks: the set is for the {landmarks.model}, but the spec renders the {model.name}; use another set"
        raise SpecError(msg)
    defined = {landmark.name: landmark for landmark in landmarks.landmarks}
    owner = model.owners
    points, own = [], np.zeros((len(landmarks.landmarks), model.n_vertices), dtype=bool)
    below, heads, shares = [], [], []
    for k, landmark in enumerate(landmarks.landmarks):
        source, mirrored = (defined[landmark.mirror_of], True) if landmark.mirror_of else (landmark, False)
        try:
            points.append(_place(source, model, mirrored=mirrored))
            if source.towards is not None:
                below.append(k)
                heads.append(model.n_vertices + _bone(source.towards, model, mirrored=mirrored))
                shares.append(source.share)
        except AssetError as error:
            msg = f"landmarks.{landmark.name}: {error}"
            raise SpecError(msg) from None
        if source.joint is not None:
            bone = points[-1] - model.n_vertices
            own[k] = np.isin(owner, [bone, model.parents[bone]])
        elif source.towards is not None:
            own[k] = np.isin(owner, [owner[points[-1]], heads[-1] - model.n_vertices])
    return LandmarkTable(
        landmarks.names, np.array(points), own, np.flatnonzero(own.any(axis=1)),
        np.array(below, dtype=np.intp), np.array(heads, dtype=np.int64), np.array(shares, dtype=float)[:, None],
    )  # fmt: skip


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
    distance = camera.distance_mm if perspective else 0.0
    px, linear = to_pixels(points_mm, camera.mm_per_px, centre, distance)
    landmarks_mm, landmarks_px = table.places(points_mm), px[table.points]
    if len(table.below):
        landmarks_px[table.below], _ = to_pixels(landmarks_mm[table.below], camera.mm_per_px, centre, distance)
    nearest, hit = first_hits(px, linear, triangles.view(np.uint32), landmarks_px)
    depth = -1 / nearest if perspective else nearest
    visible = depth >= landmarks_mm[:, 2] - TOLERANCE_MM
    if len(table.inside):
        segments = table.own[table.inside[:, None], triangles[hit[table.inside]]]
        visible[table.inside] = (hit[table.inside] >= 0) & segments.any(axis=1)
    in_frame = ((landmarks_px >= 0) & (landmarks_px <= [camera.width, camera.height])).all(axis=1)
    return Labels(landmarks_px, landmarks_mm, visible, in_frame)


def _place(landmark: Landmark, model: BodyModel, *, mirrored: bool) -> int:
    """Return the index of a landmark's vertex or joint, or its mirror image, in the vertices and bone heads."""
    if landmark.joint is not None:
        return model.n_vertices + _bone(landmark.joint, model, mirrored=mirrored)
    vertex = landmark.vertex or 0
    if mirrored and vertex < len(model.mirror):
        vertex = int(model.mirror[vertex])
    return model.vertex(vertex)


def _bone(name: str, model: BodyModel, *, mirrored: bool) -> int:
    """Return the index of a bone, or of its counterpart on the other side."""
    if mirrored and name.endswith((".L", ".R")):
        name = name[:-1] + {"L": "R", "R": "L"}[name[-1]]
    return model.bone(name)
