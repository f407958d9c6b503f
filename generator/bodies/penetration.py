"""Penetration depth between parts of a mesh, compiled by numba; `collision` defines the parts."""

from math import inf, sqrt

import numpy as np

from synthgen.generator.bodies.mesh_kernels import Indices
from synthgen.generator.bodies.numba_kernels import helper, kernel
from synthgen.geometry import Floats

Mesh = tuple[Indices, Indices]
"""Triangles (T, 3), and the triangles around each vertex, (V, maximum number), padded with `NONE`."""
NONE = np.uint32(2**32 - 1)
Parts = tuple[Indices, Indices]
"""Vertices of all parts, one part after another, and the start of each part, (P + 1,)."""


@helper
def _normal(points: Floats, mesh: Mesh, vertex: int) -> tuple[float, float, float]:  # pragma: no cover
    """Return the unit normal of the surface at a vertex."""
    triangles, around = mesh
    x, y, z = 0.0, 0.0, 0.0
    for place in range(around.shape[1]):
        t = around[vertex, place]
        if t == NONE:
            break
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        x += uy * vz - uz * vy
        y += uz * vx - ux * vz
        z += ux * vy - uy * vx
    length = max(sqrt(x * x + y * y + z * z), 1e-12)
    return x / length, y / length, z / length


def penetration(points: Floats, mesh: Mesh, inner: Indices, outer: Indices) -> float:
    """Return the largest depth of the vertices ``inner`` behind the surface at the vertices ``outer`` (at least 3).

    A vertex's depth is its smallest distance behind the planes at the three nearest outer vertices.

    Args:
        points: (V, 3)
        mesh: The mesh of the points.
        inner: Vertices that may be inside.
        outer: Vertices of the surface.
    """
    return _penetration(points, mesh, inner, outer, np.empty((4, len(outer))))


@helper
def _penetration(points: Floats, mesh: Mesh, inner: Indices, outer: Indices, room: Floats) -> float:  # pragma: no cover
    worst = 0.0
    n = len(outer)
    x, y, z, apart = room[0], room[1], room[2], room[3]
    for i in range(n):
        x[i], y[i], z[i] = points[outer[i], 0], points[outer[i], 1], points[outer[i], 2]
    for vertex in inner:
        px, py, pz = points[vertex, 0], points[vertex, 1], points[vertex, 2]
        for i in range(n):
            dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
            apart[i] = dx * dx + dy * dy + dz * dz
        first, second, third = 0, 0, 0
        nearest, near, far = inf, inf, inf
        for i in range(n):
            square = apart[i]
            if square >= far:
                continue
            if square < nearest:
                first, second, third, nearest, near, far = i, first, second, square, nearest, near
            elif square < near:
                second, third, near, far = i, second, square, near
            else:
                third, far = i, square
        behind = inf
        for i in (first, second, third):
            normal = _normal(points, mesh, outer[i])
            behind = min(behind, (x[i] - px) * normal[0] + (y[i] - py) * normal[1] + (z[i] - pz) * normal[2])
            if behind <= worst:
                break
        worst = max(worst, behind)
    return worst


@helper
def _within(
    found: Indices, points: Floats, parts: Parts, part: int, box: Floats, margin: float
) -> int:  # pragma: no cover
    """Write the vertices of a part within a box (2, 3) plus a margin to the start of found; return their number."""
    members, starts = parts
    n = 0
    for place in range(starts[part], starts[part + 1]):
        vertex, inside = members[place], True
        for i in range(3):
            inside = inside and box[0, i] - margin < points[vertex, i] < box[1, i] + margin
        if inside:
            found[n] = vertex
            n += 1
    return n


@helper
def _set_boxes(boxes: Floats, points: Floats, parts: Parts) -> None:  # pragma: no cover
    """Fill the bounding boxes (P, 2, 3) of parts: lowest and highest corner."""
    members, starts = parts
    for part in range(len(starts) - 1):
        for i in range(3):
            low, high = inf, -inf
            for place in range(starts[part], starts[part + 1]):
                low, high = min(low, points[members[place], i]), max(high, points[members[place], i])
            boxes[part, 0, i], boxes[part, 1, i] = low, high


def deepest_pair(points: Floats, mesh: Mesh, parts: Parts, ways: Indices, limits: Floats) -> tuple[float, int]:
    """Find the pair of parts whose penetration exceeds its tolerance the most.

    Args:
        points: (V, 3)
        mesh: The mesh of the points.
        parts: Parts of the mesh.
        ways: (N, 2) pairs of parts; the first is tested inside the second.
        limits: (N, 2) tolerance of each pair, and the margin around their common box within which surfaces count.

    Returns:
        The excess, 0 if there is none, and the index of the pair, -1 if there is none.
    """
    boxes = np.empty((len(parts[1]), 2, 3))  # the last one holds the common box of a pair
    found = np.empty((2, len(parts[0])), dtype=np.uint32)
    room = np.empty((4, len(parts[0])))
    worst, which = _deepest_pair((points, boxes, room), mesh, parts, (found[0], found[1]), ways, limits)
    return worst, which


@kernel
def _deepest_pair(
    arrays: tuple[Floats, Floats, Floats],
    mesh: Mesh,
    parts: Parts,
    found: tuple[Indices, Indices],
    ways: Indices,
    limits: Floats,
) -> tuple[float, int]:  # pragma: no cover
    points, boxes, room = arrays
    _set_boxes(boxes, points, parts)
    shared = boxes[-1]
    worst, which = 0.0, -1
    for n in range(len(ways)):
        i, j = ways[n, 0], ways[n, 1]
        meet = True
        for k in range(3):
            shared[0, k], shared[1, k] = max(boxes[i, 0, k], boxes[j, 0, k]), min(boxes[i, 1, k], boxes[j, 1, k])
            meet = meet and shared[0, k] < shared[1, k]
        if not meet:
            continue
        n_inner = _within(found[0], points, parts, i, shared, 0.0)
        n_outer = _within(found[1], points, parts, j, shared, limits[n, 1])
        if n_inner > 0 and n_outer > 2:
            beyond = _penetration(points, mesh, found[0][:n_inner], found[1][:n_outer], room) - limits[n, 0]
            if beyond > worst:
                worst, which = beyond, n
    return worst, which
