"""Shapes, poses and skins the baked model: from a recipe's numbers to vertices in mm.

Phenotype interpolation and linear blend skinning follow anny (Bregier et al. 2025) and MakeHuman; tests require
agreement with anny within 1e-3 mm. Several bodies are shaped in one call, with sums that do not depend on their number;
each is posed separately.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from synthgen.blender_assets.model import AGE_RANGE, PHENOTYPE_ANCHORS, BodyModel
from synthgen.errors import SpecError
from synthgen.generator.bodies.mesh_kernels import add_blocks, add_rows, chain, skin_vertices
from synthgen.geometry import Floats

PHENOTYPES = tuple(PHENOTYPE_ANCHORS)
NOT_TARGETS = (*PHENOTYPES, "age_years")
Shape = Mapping[str, float]
"""Phenotypes and targets by name."""


@dataclass(frozen=True)
class RestBody:
    """A shaped body before posing, body frame, mm."""

    vertices_mm: Floats
    """(V, 3)"""
    heads_mm: Floats
    """(B, 3) head of each bone."""


def target_rows(model: BodyModel, name: str) -> tuple[int, ...]:
    """Return the positions of a parameter's targets: one for a full name, those of both sides for a name without side.

    Raises:
        SpecError: The model has no target of that name.
    """
    rows = model.target_rows.get(name)
    if rows is None:
        msg = f"target {name!r} does not exist on the {model.name} model"
        raise SpecError(msg)
    return rows


def with_targets(model: BodyModel, names: Iterable[str]) -> BodyModel:
    """Return the model with only the targets of some parameters, which makes shaping faster.

    Raises:
        SpecError: The model has no target of one of the names.
    """
    rows = sorted({row for name in names for row in target_rows(model, name)})
    both = [end for row in rows for end in (2 * row, 2 * row + 1)]
    return replace(model, target_names=tuple(model.target_names[row] for row in rows), target_mm=model.target_mm[both])


def with_ages(model: BodyModel, youngest: float, oldest: float) -> BodyModel:
    """Return the model without the phenotype rows that have no effect at ages in a range of years."""
    low, high = np.interp([youngest, oldest], *model.calibration["age_map"].T)
    step = (AGE_RANGE[1] - AGE_RANGE[0]) / (len(PHENOTYPE_ANCHORS["age"]) - 1)
    first = len(PHENOTYPE_ANCHORS["gender"])
    dead = [
        first + i
        for i in range(len(PHENOTYPE_ANCHORS["age"]))
        if not low - step < AGE_RANGE[0] + i * step < high + step
    ]
    keep = ~np.isin(model.phenotype_factors, dead).any(axis=1)
    return replace(model, phenotype_factors=model.phenotype_factors[keep], phenotype_mm=model.phenotype_mm[keep])


def phenotype_coefficients(model: BodyModel, shapes: Sequence[Shape]) -> Floats:
    """Return the phenotype rows' coefficients (N, P): products of piecewise-linear weights of MakeHuman's anchors."""
    weights = []
    for phenotype, names in PHENOTYPE_ANCHORS.items():
        low, high = AGE_RANGE if phenotype == "age" else (0.0, 1.0)
        values = np.array([[shape[phenotype]] for shape in shapes])
        places = (np.minimum(np.maximum(values, low), high) - low) / (high - low) * (len(names) - 1)
        weights.append(np.maximum(0.0, 1.0 - np.abs(places - np.arange(len(names)))))
    columns = np.hstack([*weights, np.ones((len(shapes), 1))]).T.copy()
    first, *others = model.phenotype_factors.T
    product = columns[first]
    for factors in others:
        product *= columns[factors]
    return product.T.copy()


def target_coefficients(model: BodyModel, shapes: Sequence[Shape]) -> Floats:
    """Return the coefficients (N, 2 L) of the targets' positive and negative ends."""
    coefficients = np.zeros((len(shapes), 2 * len(model.target_names)))
    for name in dict.fromkeys(name for shape in shapes for name in shape if name not in NOT_TARGETS):
        values = np.array([shape.get(name, 0.0) for shape in shapes])
        for row in target_rows(model, name) if values.any() else ():
            coefficients[:, 2 * row] += np.maximum(values, 0.0)
            coefficients[:, 2 * row + 1] += np.maximum(-values, 0.0)
    return coefficients


def rest_body(model: BodyModel, shape: Shape) -> RestBody:
    """Shape the model: phenotypes in [0, 1] (age from -1/3), targets in [-1, 1] by name."""
    return rest_bodies(model, [shape])[0]


def rest_bodies(model: BodyModel, shapes: Sequence[Shape]) -> list[RestBody]:
    """Shape several bodies while reading the model's rows once; each equals the result of `rest_body`."""
    phenotypes, targets = phenotype_coefficients(model, shapes), target_coefficients(model, shapes)
    bodies = add_rows(model.template_mm.ravel(), phenotypes, model.phenotype_mm).reshape(len(shapes), -1, 3)
    displacements, moved, starts = model.target_blocks
    for points, coefficients in zip(bodies, targets, strict=True):
        add_blocks(points, coefficients, displacements, moved.view(np.uint32), starts.view(np.uint32))
    return [RestBody(points[: model.n_vertices], points[model.n_vertices :]) for points in bodies]


def skin_points(model: BodyModel, rest: RestBody, rotations: Floats) -> tuple[Floats, Floats]:
    """Skin a rest body by each bone's rotation (B, 3, 3) about its head, relative to its parent, in body axes.

    Returns:
        Vertices followed by bone heads, (V + B, 3) in mm, and each bone's accumulated rotation (B, 3, 3).
    """
    points = np.empty((model.n_vertices + len(model.bones), 3))
    world, points[model.n_vertices :], transforms = chain(rotations, rest.heads_mm, model.parents)
    weights = model.weights
    bones, starts = weights.indices.view(np.uint32), weights.indptr.view(np.uint32)
    skin_vertices(points, rest.vertices_mm, transforms, weights.data, bones, starts)
    return points, world


def skin(model: BodyModel, rest: RestBody, rotations: Floats) -> tuple[Floats, Floats, Floats]:
    """Skin a rest body with `skin_points`.

    Returns:
        Vertices (V, 3) and bone heads (B, 3) in mm, and each bone's accumulated rotation (B, 3, 3).
    """
    points, world = skin_points(model, rest, rotations)
    return points[: model.n_vertices], points[model.n_vertices :], world
