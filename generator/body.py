"""Shapes, poses and skins the baked model: from the numbers of a recipe to vertices in mm.

The phenotype interpolation and linear blend skinning are those of anny (Bregier et al. 2025) and MakeHuman; the tests
hold this file to anny within 1e-3 mm. One body at a time, because a batch rounds differently from single calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.model import AGE_RANGE, PHENOTYPE_ANCHORS, BodyModel
from synthgen.errors import SpecError
from synthgen.geometry import Floats

PHENOTYPES = tuple(PHENOTYPE_ANCHORS)
NOT_TARGETS = (*PHENOTYPES, "age_years")


@dataclass(frozen=True)
class RestBody:
    """A shaped body before posing, body frame, mm."""

    vertices_mm: Floats
    """(V, 3)"""
    heads_mm: Floats
    """(B, 3) head of each bone."""


def target_rows(model: BodyModel, name: str) -> NDArray[np.int64]:
    """Positions of the targets that a parameter moves: one by its own name, or both sides' when it names no side.

    Raises:
        SpecError: No target of the model has that name.
    """
    names = [name] if name in model.target_names else [f"l-{name}", f"r-{name}"]
    rows = [model.target_names.index(one) for one in names if one in model.target_names]
    if not rows:
        msg = f"target {name!r} moves nothing on the {model.name} model"
        raise SpecError(msg)
    return np.array(rows)


def phenotype_coefficients(model: BodyModel, shape: Mapping[str, float]) -> Floats:
    """Coefficients (P,) of the phenotype rows: products of piecewise-linear weights between MakeHuman's anchors."""
    weights = []
    for phenotype, names in PHENOTYPE_ANCHORS.items():
        low, high = AGE_RANGE if phenotype == "age" else (0.0, 1.0)
        place = (min(max(shape[phenotype], low), high) - low) / (high - low) * (len(names) - 1)
        weights.append(np.maximum(0.0, 1.0 - np.abs(place - np.arange(len(names)))))
    return np.concatenate([*weights, [1.0]])[model.phenotype_factors].prod(axis=1)


def target_coefficients(model: BodyModel, shape: Mapping[str, float]) -> Floats:
    """Coefficients (2 L,) of the targets' positive and negative ends."""
    coefficients = np.zeros(2 * len(model.target_names))
    for name, value in shape.items():
        if name not in NOT_TARGETS and value:
            coefficients[2 * target_rows(model, name) + (value < 0)] += abs(value)
    return coefficients


def rest_body(model: BodyModel, shape: Mapping[str, float]) -> RestBody:
    """Shape the model: phenotypes in [0, 1] (age from -1/3), targets in [-1, 1] by name."""
    coefficients = phenotype_coefficients(model, shape)
    used = np.flatnonzero(coefficients)
    delta = (coefficients[used].astype(np.float32) @ model.phenotype_mm[used]).astype(np.float64)
    targets = target_coefficients(model, shape)
    for row in np.flatnonzero(targets):
        span = slice(model.target_mm.indptr[row], model.target_mm.indptr[row + 1])
        delta[model.target_mm.indices[span]] += targets[row] * model.target_mm.data[span]
    points = model.template_mm + delta.reshape(-1, 3)
    return RestBody(points[: model.n_vertices], points[model.n_vertices :])


def skin(model: BodyModel, rest: RestBody, rotations: Floats) -> tuple[Floats, Floats, Floats]:
    """Skin a rest body by rotations (B, 3, 3) of each bone about its head, in body axes, relative to its parent.

    Returns:
        Vertices (V, 3) and bone heads (B, 3) in mm, and each bone's accumulated rotation (B, 3, 3).
    """
    world = np.empty_like(rotations)
    heads = np.empty_like(rest.heads_mm)
    for bone, parent in enumerate(model.parents):
        if parent < 0:
            world[bone], heads[bone] = rotations[bone], rest.heads_mm[bone]
        else:
            world[bone] = world[parent] @ rotations[bone]
            heads[bone] = heads[parent] + world[parent] @ (rest.heads_mm[bone] - rest.heads_mm[parent])
    translation = heads - np.einsum("bij,bj->bi", world, rest.heads_mm)
    transforms = np.concatenate([world, translation[:, :, None]], axis=2).reshape(len(heads), 12)
    blended = (model.weights @ transforms).reshape(-1, 3, 4)
    vertices = np.einsum("vij,vj->vi", blended[:, :, :3], rest.vertices_mm) + blended[:, :, 3]
    return vertices, heads, world
