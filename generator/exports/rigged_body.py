"""A posed sample as a rigged figure: bones, shape keys, weights and placement, as plain arrays.

Used by :mod:`synthgen.generator.exports.blend_file`. Body axes (x to the figure's left, y to its back, z up), mm; a
right hand is mirrored data with bones named ``.R``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from synthgen.blender_assets.model import BodyModel
from synthgen.generator.bodies.shape_and_skin import RestBody, phenotype_coefficients, target_coefficients
from synthgen.generator.scene import PosedBody, Scene
from synthgen.geometry import Floats, normalize

_LEAST_BONE_MM = 2.0
"""Minimum bone length; Blender deletes bones of zero length."""
_BLENDER_CAMERA = np.diag([1.0, -1, -1])
"""From the camera frame to the axes of a Blender camera (y up, z towards the viewer)."""


@dataclass(frozen=True)
class ShapeKey:
    """A displacement of the template, and the value of its slider."""

    name: str
    offsets_mm: Floats
    """(V, 3) at value 1."""
    value: float


@dataclass(frozen=True)
class Figure:
    """A rigged figure, mirrored for a right hand, body axes, mm."""

    bones: tuple[str, ...]
    """B names, parents before children."""
    parents: NDArray[np.int32]
    heads_mm: Floats
    """(B, 3) at rest."""
    tails_mm: Floats
    """(B, 3) at rest."""
    turns: Floats
    """(B, 3, 3) rotation of each bone relative to its parent, body axes."""
    template_mm: Floats
    """(V, 3) before any shape key."""
    keys: tuple[ShapeKey, ...]
    triangles: NDArray[np.int32]
    weights: csr_matrix


@dataclass(frozen=True)
class WorldPlacement:
    """The placement of the figure and the camera in the world."""

    offset_mm: Floats
    """(3,) position of the body frame's origin in the world."""
    camera_axes: Floats
    """(3, 3) columns: the Blender camera's axes."""
    camera_mm: Floats
    """(3,)"""


def figure_of(scene: Scene, posed: PosedBody, rest: RestBody) -> Figure:
    """Build the rigged figure of a sample.

    Args:
        scene: The scene of the spec.
        posed: The posed sample.
        rest: Its body before posing.

    """
    model, shape = scene.model, posed.recipe.shape
    mirrored = _mirrored(scene)
    flip = np.array([-1.0 if mirrored else 1.0, 1, 1])
    return Figure(
        bones=tuple(_side(name, mirrored=mirrored) for name in model.bones),
        parents=model.parents,
        heads_mm=rest.heads_mm * flip,
        tails_mm=_tails(model, rest) * flip,
        turns=scene.rig.rotations(rest, posed.recipe.pose) * np.outer(flip, flip),
        template_mm=model.template_mm[: model.n_vertices] * flip,
        keys=tuple(ShapeKey(key.name, key.offsets_mm * flip, key.value) for key in _shape_keys(model, shape)),
        triangles=model.triangles[:, ::-1] if mirrored else model.triangles,
        weights=model.weights,
    )


def _mirrored(scene: Scene) -> bool:
    return scene.spec.model == "hand" and scene.spec.side == "right"


def _side(bone: str, *, mirrored: bool) -> str:
    return bone[:-1] + "R" if mirrored and bone.endswith(".L") else bone


def _tails(model: BodyModel, rest: RestBody) -> Floats:
    """Return the bones' tails (B, 3): the mean of their children's heads, or the end of the skin that they carry."""
    tails = np.empty_like(rest.heads_mm)
    most = np.asarray(model.weights.argmax(axis=1)).ravel()
    for bone, (parent, head) in enumerate(zip(model.parents, rest.heads_mm, strict=True)):
        children = np.flatnonzero(model.parents == bone)
        way = rest.heads_mm[children].mean(axis=0) - head if len(children) else np.zeros(3)
        if np.linalg.norm(way) < _LEAST_BONE_MM:
            along = tails[parent] - rest.heads_mm[parent] if parent >= 0 else np.array([0, 0, 1.0])
            along = normalize(along)
            skin = rest.vertices_mm[most == bone]
            way = along * max(float(((skin - head) @ along).max(initial=0.0)), _LEAST_BONE_MM)
        tails[bone] = head + way
    return tails


def _shape_keys(model: BodyModel, shape: dict[str, float]) -> list[ShapeKey]:
    n = model.n_vertices
    phenotype = phenotype_coefficients(model, [shape])[0].astype(np.float32) @ model.phenotype_mm
    keys = [ShapeKey("Phenotypes", phenotype.reshape(-1, 3)[:n].astype(np.float64), 1.0)]
    for name, value in shape.items():
        coefficients = target_coefficients(model, [{name: value}])[0]
        if coefficients.any():
            # A target has two ends; the slider is for the end with the sign of the recipe's value.
            offsets = (coefficients @ model.target_mm / value).reshape(-1, 3)[:n]
            keys.append(ShapeKey(name, offsets, value))
    return keys


def place_of(scene: Scene, posed: PosedBody, rest: RestBody) -> WorldPlacement:
    """Return the placement of a sample's figure on the ground at the world's origin, and of its camera.

    Args:
        scene: The scene of the spec.
        posed: The posed sample.
        rest: Its body before posing.

    """
    n = scene.model.n_vertices
    mirror = np.diag([-1.0 if _mirrored(scene) else 1.0, 1, 1])
    turn = mirror @ posed.rotation @ mirror
    # The root's head is the only point that no pose moves in the body frame.
    root = mirror @ rest.heads_mm[0]
    points = (posed.points_mm[:n] - posed.points_mm[n]) @ turn + root
    low, high = points.min(axis=0), points.max(axis=0)
    offset = -np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    return WorldPlacement(offset, turn.T @ _BLENDER_CAMERA, root + offset - posed.points_mm[n] @ turn)
