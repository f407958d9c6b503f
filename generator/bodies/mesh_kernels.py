"""Loops over whole meshes, compiled by numba on their first call and cached on disk.

All use float64 without fast-math, so every run gives the same bytes.
"""

from math import inf

import numpy as np
from numpy.typing import NDArray

from synthgen.generator.bodies.numba_kernels import kernel
from synthgen.geometry import Floats

Indices = NDArray[np.uint32]
"""Unsigned, so that compiled code does not check for negative indices."""
_STRETCH = 2048
"""Length of the part of a sum that stays in the L1 cache: 16 KB."""
_LEVELS = 254
"""Levels between the lowest and the highest target; with one level below and one above, they fill a byte."""


def add_rows(template: Floats, coefficients: Floats, rows: NDArray[np.float32]) -> Floats:
    """Return template (M,) + coefficients (N, P) @ rows (P, M), as (N, M), skipping zero coefficients."""
    out = np.empty((len(coefficients), len(template)))
    places = np.flatnonzero(coefficients)
    starts = np.searchsorted(places, np.arange(len(coefficients) + 1) * len(rows))
    used = (places % len(rows)).view(np.uint64)
    _add_rows(out, template, rows, used, coefficients.ravel()[places], starts)
    return out


@kernel
def _add_rows(
    out: Floats,
    template: Floats,
    rows: NDArray[np.float32],
    used: NDArray[np.uint64],
    factors: Floats,
    starts: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Fill the sums (N, M); the used rows and factors of sum n are at starts[n] to starts[n + 1].

    Works by stretches of columns: a stretch is added to every sum before the next one is read, and stays in the L1
    cache while four rows at a time are added to it.
    """
    for start in range(0, len(template), _STRETCH):
        end = min(start + _STRETCH, len(template))
        for s in range(len(out)):
            first, last = starts[s], starts[s + 1]
            whole = first + (last - first) // 4 * 4
            part = out[s, start:end]
            for x in range(len(part)):
                part[x] = template[start + x]
            for n in range(first, whole, 4):
                i, j, k, m = used[n], used[n + 1], used[n + 2], used[n + 3]
                a, b, c, d = rows[i, start:end], rows[j, start:end], rows[k, start:end], rows[m, start:end]
                e, f, g, h = factors[n], factors[n + 1], factors[n + 2], factors[n + 3]
                for x in range(len(part)):
                    part[x] += (e * a[x] + f * b[x]) + (g * c[x] + h * d[x])
            for n in range(whole, last):
                a, e = rows[used[n], start:end], factors[n]
                for x in range(len(part)):
                    part[x] += e * a[x]


@kernel
def add_blocks(
    out: Floats, coefficients: Floats, data: NDArray[np.float32], indices: Indices, indptr: Indices
) -> None:  # pragma: no cover
    """Add coefficients (P,) @ block-sparse rows to points out (N, 3), skipping zero coefficients."""
    for row in range(len(coefficients)):
        factor = coefficients[row]
        if factor == 0:
            continue
        for place in range(indptr[row], indptr[row + 1]):
            point = indices[place]
            out[point, 0] += factor * data[place, 0]
            out[point, 1] += factor * data[place, 1]
            out[point, 2] += factor * data[place, 2]


@kernel
def skin_vertices(
    out: Floats,
    rest: Floats,
    t: Floats,
    data: Floats,
    indices: Indices,
    indptr: Indices,
) -> None:  # pragma: no cover
    """Linear blend skinning of rest (V, 3) by transforms t (B, 3, 4) and sparse weights (V, B), into out[:V]."""
    for vertex in range(len(rest)):
        x, y, z = rest[vertex, 0], rest[vertex, 1], rest[vertex, 2]
        first, second, third = 0.0, 0.0, 0.0
        for place in range(indptr[vertex], indptr[vertex + 1]):
            weight, b = data[place], indices[place]
            first += weight * (t[b, 0, 0] * x + t[b, 0, 1] * y + t[b, 0, 2] * z + t[b, 0, 3])
            second += weight * (t[b, 1, 0] * x + t[b, 1, 1] * y + t[b, 1, 2] * z + t[b, 1, 3])
            third += weight * (t[b, 2, 0] * x + t[b, 2, 1] * y + t[b, 2, 2] * z + t[b, 2, 3])
        out[vertex, 0], out[vertex, 1], out[vertex, 2] = first, second, third


def chain(rotations: Floats, rest_heads: Floats, parents: NDArray[np.int32]) -> tuple[Floats, Floats, Floats]:
    """Compute the forward kinematics of B bones, listed parents first.

    Args:
        rotations: (B, 3, 3) of each bone about its head, relative to its parent.
        rest_heads: (B, 3)
        parents: (B,), -1 for the root.

    Returns:
        Accumulated rotations (B, 3, 3), posed heads (B, 3), and transforms (B, 3, 4) from rest to posed points.
    """
    world, heads = np.empty(rotations.shape), np.empty(rest_heads.shape)
    transforms = np.empty((len(parents), 3, 4))
    _chain(world, heads, transforms, rotations, rest_heads, parents)
    return world, heads, transforms


@kernel
def _chain(
    world: Floats,
    heads: Floats,
    transforms: Floats,
    rotations: Floats,
    rest_heads: Floats,
    parents: NDArray[np.int32],
) -> None:  # pragma: no cover
    for bone in range(len(parents)):
        parent = parents[bone]
        for i in range(3):
            heads[bone, i] = rest_heads[bone, i] if parent < 0 else heads[parent, i]
            for j in range(3):
                if parent < 0:
                    world[bone, i, j] = rotations[bone, i, j]
                    continue
                heads[bone, i] += world[parent, i, j] * (rest_heads[bone, j] - rest_heads[parent, j])
                total = 0.0
                for k in range(3):
                    total += world[parent, i, k] * rotations[bone, k, j]
                world[bone, i, j] = total
        for i in range(3):
            transforms[bone, i, 3] = heads[bone, i]
            for j in range(3):
                transforms[bone, i, j] = world[bone, i, j]
                transforms[bone, i, 3] -= world[bone, i, j] * rest_heads[bone, j]


def to_pixels(
    points: Floats, mm_per_px: tuple[float, float], centre: tuple[float, float], distance: float
) -> tuple[Floats, Floats]:
    """Project points (N, 3) to pixels (N, 2), and return with them the linear depth (N,).

    Linear depth increases with depth and interpolates linearly in the image: z when orthographic, -1 / z in
    perspective.

    Args:
        points: mm, camera frame.
        mm_per_px: In x and y.
        centre: Pixel of the optical axis.
        distance: Depth at which ``mm_per_px`` holds in perspective; 0 for orthographic.
    """
    px, linear = np.empty((len(points), 2)), np.empty(len(points))
    _to_pixels(px, linear, points, mm_per_px, centre, distance)
    return px, linear


@kernel
def _to_pixels(
    px: Floats,
    linear: Floats,
    points: Floats,
    mm_per_px: tuple[float, float],
    centre: tuple[float, float],
    distance: float,
) -> None:  # pragma: no cover
    for n in range(len(points)):
        z = points[n, 2]
        linear[n] = z if distance == 0 else -1 / z
        for i in range(2):
            at = points[n, i] / mm_per_px[i]
            px[n, i] = (at if distance == 0 else at * (distance / z)) + centre[i]


def move(points: Floats, rotation: Floats, shift: Floats) -> Floats:
    """Return points (N, 3) rotated by (3, 3) and shifted by (3,)."""
    out = np.empty(points.shape)
    _move(out, points, rotation, shift)
    return out


@kernel
def _move(out: Floats, points: Floats, rotation: Floats, shift: Floats) -> None:  # pragma: no cover
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for i in range(3):
            out[n, i] = rotation[i, 0] * x + rotation[i, 1] * y + rotation[i, 2] * z + shift[i]


def shift_to_grid(points: Floats, shift: Floats, grid: float) -> Floats:
    """Return points (N, 3) shifted by (3,) and rounded to multiples of a power of two."""
    out = np.empty(points.shape)
    _shift_to_grid(out, points, shift, grid)
    return out


@kernel
def _shift_to_grid(out: Floats, points: Floats, shift: Floats, grid: float) -> None:  # pragma: no cover
    for n in range(len(points)):
        for i in range(3):
            out[n, i] = np.rint((points[n, i] + shift[i]) / grid) * grid


@kernel
def box_above(
    points: Floats, cut: float, first: Indices, second: Indices
) -> tuple[float, float, float, float]:  # pragma: no cover
    """Return the bounds of the part above the line y = cut of points (N, at least 2) and edges (E,) between them.

    Returns:
        Smallest x, smallest y, largest x; and the largest y of all points, including those below the line.
    """
    left, top, right, bottom = inf, inf, -inf, -inf
    for n in range(len(points)):
        x, y = points[n, 0], points[n, 1]
        top, bottom = min(top, y), max(bottom, y)
        if y < cut:
            left, right = min(left, x), max(right, x)
    if bottom >= cut:
        for e in range(len(first)):
            a, b = first[e], second[e]
            if (points[a, 1] < cut) != (points[b, 1] < cut):
                share = (cut - points[a, 1]) / (points[b, 1] - points[a, 1])
                at = points[a, 0] + share * (points[b, 0] - points[a, 0])
                left, right = min(left, at), max(right, at)
    return left, top, right, bottom


def first_hits(px: Floats, depth: Floats, triangles: Indices, targets: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Cast a ray through each target (K, 2) in pixels at projected triangles.

    Args:
        px: (V, 2) projected vertices.
        depth: (V,) linear depth, as `to_pixels` returns it.
        triangles: (T, 3) vertex indices.
        targets: (K, 2) pixels, at least one.

    Returns:
        Linear depths (K,) of the first hits, +inf if there is none, and their triangles (K,), -1 if there is none.
    """
    nearest, hit = np.empty(len(targets)), np.empty(len(targets), dtype=np.int64)
    levels, below = np.empty(len(px), dtype=np.uint8), np.zeros(_LEVELS + 3, dtype=np.int64)
    _sort_into_levels(levels, below, px, targets)
    _cast((nearest, hit), (levels, below), (px, depth), triangles, targets)
    return nearest, hit


@kernel
def _sort_into_levels(
    levels: NDArray[np.uint8], below: NDArray[np.int64], px: Floats, targets: Floats
) -> None:  # pragma: no cover
    """Sort the heights of points (V, 2) into 254 levels between the lowest and the highest target (K, 2).

    Args:
        levels: Output (V,): the level of each point, 0 below and 255 above all targets.
        below: Output (257,), initially 0: the number of targets below each level.
        px: The points.
        targets: The targets.
    """
    low, high = inf, -inf
    for k in range(len(targets)):
        low, high = min(low, targets[k, 1]), max(high, targets[k, 1])
    scale = _LEVELS / max(high - low, 1e-9)
    for k in range(len(targets)):
        below[min(int((targets[k, 1] - low) * scale), _LEVELS - 1) + 2] += 1
    for level in range(1, len(below)):
        below[level] += below[level - 1]
    for n in range(len(px)):
        y = px[n, 1]
        levels[n] = 0 if y < low else _LEVELS + 1 if y > high else min(int((y - low) * scale), _LEVELS - 1) + 1


@kernel
def _cast(
    out: tuple[Floats, NDArray[np.int64]],
    heights: tuple[NDArray[np.uint8], NDArray[np.int64]],
    points: tuple[Floats, Floats],
    triangles: Indices,
    targets: Floats,
) -> None:  # pragma: no cover
    (nearest, hit), (levels, below), (px, depth) = out, heights, points
    for k in range(len(targets)):
        nearest[k], hit[k] = inf, -1
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if below[min(levels[a], levels[b], levels[c])] == below[max(levels[a], levels[b], levels[c]) + 1]:
            continue  # no target at the triangle's height: true for nearly all triangles of a mesh
        ax, ay, bx, by, cx, cy = px[a, 0], px[a, 1], px[b, 0], px[b, 1], px[c, 0], px[c, 1]
        top, bottom = min(ay, by, cy), max(ay, by, cy)
        left, right = min(ax, bx, cx), max(ax, bx, cx)
        for k in range(len(targets)):
            x, y = targets[k, 0], targets[k, 1]
            if y < top or y > bottom or x < left or x > right:
                continue
            u = (bx - x) * (cy - y) - (by - y) * (cx - x)
            v = (cx - x) * (ay - y) - (cy - y) * (ax - x)
            w = (ax - x) * (by - y) - (ay - y) * (bx - x)
            total = u + v + w
            if abs(total) <= 1e-12:
                continue
            u, v, w = u / total, v / total, w / total
            if u >= -1e-9 and v >= -1e-9 and w >= -1e-9:
                at = u * depth[a] + v * depth[b] + w * depth[c]
                if at < nearest[k]:
                    nearest[k], hit[k] = at, t
