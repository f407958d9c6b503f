"""Finds limbs that pass through each other.

A vertex of one part lies inside another when it is behind the surface at the nearest vertex there. On MakeHuman's even
mesh that measures depths to a fraction of a millimetre, in a few tenths of a millisecond; ``BVHTree.overlap`` of
Blender judges the same poses in the tests.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from synthgen.blender_assets.model import BodyModel
from synthgen.geometry import Floats

_NEAREST = 3
_FEW = 4_000
"""Up to so many pairs, all distances are computed; above, a tree is quicker."""
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Pair:
    """Two parts that must not pass through each other."""

    name: str
    first: Indices
    second: Indices
    tolerance_mm: float
    """How deep they may press into each other: soft tissue gives way."""
    margin_mm: float = 8.0
    """How far around the region that both share their surfaces are looked at."""


class Collider:
    """The parts of one model that can collide."""

    def __init__(self, model: BodyModel) -> None:
        self._corners = model.corners
        self._around, self._counts = _triangles_around(model.triangles, model.n_vertices)
        self.pairs = _hand_pairs(model) if model.name == "hand" else _body_pairs(model)
        parts = {id(part): part for pair in self.pairs for part in (pair.first, pair.second)}
        self._parts, places = list(parts.values()), {key: i for i, key in enumerate(parts)}
        self._boxes = [(places[id(pair.first)], places[id(pair.second)]) for pair in self.pairs]

    def deepest(self, vertices: Floats, frame: Floats | None = None) -> tuple[float, str]:
        """Return how far the worst pair goes beyond its tolerance in mm (0 when none does), and that pair's name.

        Args:
            vertices: (V, 3) mm.
            frame: (3, 3) rows of a frame along which the parts lie, in which their boxes are tight.
        """
        worst, name = 0.0, ""
        columns = np.ascontiguousarray(vertices.T) if frame is None else frame @ vertices.T
        boxes = [_box(columns, part) for part in self._parts]
        for pair, (i, j) in zip(self.pairs, self._boxes, strict=True):
            low, high = np.maximum(boxes[i][0], boxes[j][0]), np.minimum(boxes[i][1], boxes[j][1])
            if (low >= high).any():
                continue
            depth = self._depth(columns, pair, low, high) - pair.tolerance_mm
            if depth > worst:
                worst, name = depth, pair.name
        return worst, name

    def _depth(self, columns: Floats, pair: Pair, low: Floats, high: Floats) -> float:
        """How deep the parts of a pair are in each other, by what lies in and around the box that both share."""
        deepest = 0.0
        for inner, outer in ((pair.first, pair.second), (pair.second, pair.first)):
            points = _within(columns, inner, low, high)
            surface = _within(columns, outer, low - pair.margin_mm, high + pair.margin_mm)
            if len(points) and len(surface) >= _NEAREST:
                normals = self._normals(columns, surface)
                deepest = max(deepest, penetration(columns[:, points].T, columns[:, surface].T, normals))
        return deepest

    def _normals(self, columns: Floats, vertices: Indices) -> Floats:
        """Unit normals (N, 3) of some vertices, from the triangles around each."""
        around = self._around[vertices]
        a, b, c = (columns[:, corner[around]] for corner in self._corners)
        u, v = b - a, (c - a) * self._counts[vertices]
        normals = np.stack(
            [
                (u[1] * v[2] - u[2] * v[1]).sum(axis=1),
                (u[2] * v[0] - u[0] * v[2]).sum(axis=1),
                (u[0] * v[1] - u[1] * v[0]).sum(axis=1),
            ],
            axis=1,
        )
        return normals / np.maximum(np.sqrt((normals * normals).sum(axis=1, keepdims=True)), 1e-12)


def penetration(points: Floats, surface: Floats, normals: Floats) -> float:
    """Largest depth in mm of points (N, 3) behind a surface given by its vertices and unit normals (M, 3).

    A point counts as behind when it is behind the planes at each of the three nearest vertices, by the least of them.
    """
    if len(points) * len(surface) < _FEW:
        apart = (surface * surface).sum(axis=1) - 2 * (points @ surface.T)
        nearest = np.argpartition(apart, _NEAREST - 1, axis=1)[:, :_NEAREST]
    else:
        nearest = cKDTree(surface).query(points, k=_NEAREST)[1]
    behind = ((surface[nearest] - points[:, None]) * normals[nearest]).sum(axis=2)
    return float(max(behind.min(axis=1).max(), 0.0))


def _triangles_around(triangles: NDArray[np.int32], n_vertices: int) -> tuple[Indices, Floats]:
    """Triangles (V, most) around each vertex, and (V, most) 1 where one counts, 0 where a row is filled up."""
    corners = triangles.ravel()
    order = np.argsort(corners, kind="stable")
    count = np.bincount(corners, minlength=n_vertices)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    step = np.arange(count.max())
    places = np.minimum(first[:, None] + step, len(order) - 1)
    return np.asarray(order[places] // 3, dtype=np.int64), (step < count[:, None]).astype(np.float64)


def _box(columns: Floats, part: Indices) -> tuple[Floats, Floats]:
    points = columns[:, part]
    return points.min(axis=1), points.max(axis=1)


def _within(columns: Floats, part: Indices, low: Floats, high: Floats) -> Indices:
    for axis in range(3):
        values = columns[axis, part]
        part = part[(values > low[axis]) & (values < high[axis])]
    return part


def _part(model: BodyModel, owner: Indices, *starts: str) -> Indices:
    bones = [i for i, name in enumerate(model.bones) if name.startswith(starts)]
    return np.flatnonzero(np.isin(owner, bones))


def _hand_pairs(model: BodyModel) -> tuple[Pair, ...]:
    owner = model.owners
    fingers = {
        name: _part(model, owner, f"finger{i}-") for i, name in enumerate(("index", "middle", "ring", "little"), 2)
    }
    thumb = _part(model, owner, "finger1-2", "finger1-3")
    names = list(fingers)
    pairs = [Pair(f"{a}-{b}", fingers[a], fingers[b], 0.5) for a, b in pairwise(names)]
    pairs += [Pair(f"thumb-{name}", thumb, fingers[name], 0.5) for name in ("index", "middle")]
    pairs += [Pair(f"{a}-{b}", fingers[a], fingers[b], 0.5) for a, b in (("index", "ring"), ("middle", "little"))]
    palm = _part(model, owner, "metacarpal", "wrist")
    pairs.append(Pair("thumb-palm", _part(model, owner, "finger1-3"), palm, 0.5))
    return tuple(pairs)


def _body_pairs(model: BodyModel) -> tuple[Pair, ...]:
    owner = model.owners
    trunk = _part(model, owner, "spine", "pelvis", "root", "upperleg")
    pairs = []
    for side in ("L", "R"):
        carried = [
            bone for bone in model.bones if bone.startswith(("wrist", "finger", "metacarpal")) and bone.endswith(side)
        ]
        hand = _part(model, owner, *carried)
        fore = _part(model, owner, f"lowerarm01.{side}", f"lowerarm02.{side}")
        pairs.append(Pair(f"hand.{side}-trunk", hand[::3], trunk, 5.0, 40.0))
        pairs.append(Pair(f"forearm.{side}-trunk", fore, trunk, 6.0, 40.0))
    legs = [
        _part(model, owner, *(f"{bone}.{side}" for bone in ("lowerleg01", "lowerleg02", "foot"))) for side in ("L", "R")
    ]
    pairs.append(Pair("legs", legs[0], legs[1], 2.0, 40.0))
    return tuple(pairs)
