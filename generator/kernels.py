"""The loops over whole meshes, compiled by numba at their first call and cached on disk.

Each is the plain loop that its docstring describes, on float64, without fast-math: the same bytes on every run.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthgen.geometry import Floats

Indices = NDArray[np.intp]
Mesh = tuple[NDArray[np.int32], Indices]
_NEAREST = 3
_STRETCH = 2048
"""Numbers of a sum that stay in the nearest cache: 16 KB."""


@njit(cache=True)
def add_rows(template: Floats, coefficients: Floats, rows: NDArray[np.float32]) -> Floats:  # pragma: no cover
    """Return template (M,) plus the sum of rows (P, M) times their coefficients (P,), skipping zeros.

    A stretch of the sum stays in the nearest cache while four rows at a time are added to it.
    """
    out = template.copy()
    used = np.flatnonzero(coefficients)
    whole = len(used) // 4 * 4
    for start in range(0, len(out), _STRETCH):
        end = min(start + _STRETCH, len(out))
        part = out[start:end]
        for n in range(0, whole, 4):
            i, j, k, m = used[n], used[n + 1], used[n + 2], used[n + 3]
            a, b, c, d = rows[i, start:end], rows[j, start:end], rows[k, start:end], rows[m, start:end]
            s, t, u, v = coefficients[i], coefficients[j], coefficients[k], coefficients[m]
            for x in range(len(part)):
                part[x] += (s * a[x] + t * b[x]) + (u * c[x] + v * d[x])
        for n in range(whole, len(used)):
            a, s = rows[used[n], start:end], coefficients[used[n]]
            for x in range(len(part)):
                part[x] += s * a[x]
    return out


@njit(cache=True)
def add_blocks(
    out: Floats, coefficients: Floats, data: NDArray[np.float32], indices: NDArray[np.int32], indptr: NDArray[np.int32]
) -> None:  # pragma: no cover
    """Add to points out (N, 3) the rows of a block-sparse matrix times their coefficients (P,), skipping zeros."""
    for row in np.flatnonzero(coefficients):
        factor = coefficients[row]
        for place in range(indptr[row], indptr[row + 1]):
            point = indices[place]
            out[point, 0] += factor * data[place, 0]
            out[point, 1] += factor * data[place, 1]
            out[point, 2] += factor * data[place, 2]


@njit(cache=True)
def skin_vertices(
    rest: Floats, transforms: Floats, data: Floats, indices: NDArray[np.int32], indptr: NDArray[np.int32]
) -> Floats:  # pragma: no cover
    """Linear blend skinning: rest (V, 3), transforms (B, 3, 4), sparse weights (V, B) to vertices (V, 3)."""
    out = np.empty_like(rest)
    for vertex in range(len(rest)):
        x, y, z = rest[vertex, 0], rest[vertex, 1], rest[vertex, 2]
        first, second, third = 0.0, 0.0, 0.0
        for place in range(indptr[vertex], indptr[vertex + 1]):
            weight, t = data[place], transforms[indices[place]]
            first += weight * (t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3])
            second += weight * (t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3])
            third += weight * (t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3])
        out[vertex, 0], out[vertex, 1], out[vertex, 2] = first, second, third
    return out


@njit(cache=True)
def chain(
    rotations: Floats, rest_heads: Floats, parents: NDArray[np.int32]
) -> tuple[Floats, Floats, Floats]:  # pragma: no cover
    """Forward kinematics of bones (B) whose parents come before them.

    Args:
        rotations: (B, 3, 3) of each bone about its head, relative to its parent.
        rest_heads: (B, 3)
        parents: (B,), -1 for the root.

    Returns:
        Accumulated rotations (B, 3, 3), posed heads (B, 3), and transforms (B, 3, 4) from rest to posed points.
    """
    world, heads = np.empty_like(rotations), np.empty_like(rest_heads)
    transforms = np.empty((len(parents), 3, 4))
    for bone in range(len(parents)):
        parent = parents[bone]
        for i in range(3):
            if parent < 0:
                world[bone, i], heads[bone, i] = rotations[bone, i], rest_heads[bone, i]
                continue
            heads[bone, i] = heads[parent, i]
            for j in range(3):
                heads[bone, i] += world[parent, i, j] * (rest_heads[bone, j] - rest_heads[parent, j])
                total = 0.0
                for k in range(3):
                    total += world[parent, i, k] * rotations[bone, k, j]
                world[bone, i, j] = total
        for i in range(3):
            transforms[bone, i, :3] = world[bone, i]
            transforms[bone, i, 3] = heads[bone, i]
            for j in range(3):
                transforms[bone, i, 3] -= world[bone, i, j] * rest_heads[bone, j]
    return world, heads, transforms


@njit(cache=True)
def to_pixels(
    points: Floats, mm_per_px: tuple[float, float], centre: tuple[float, float], distance: float
) -> tuple[Floats, Floats]:  # pragma: no cover
    """Project points (N, 3) to pixels (N, 2), beside what interpolates linearly in the image and grows with depth (N,).

    Args:
        points: mm, camera frame.
        mm_per_px: In x and y.
        centre: Pixel of the optical axis.
        distance: Where ``mm_per_px`` holds in perspective; 0 is orthographic.
    """
    px, linear = np.empty((len(points), 2)), np.empty(len(points))
    for n in range(len(points)):
        z = points[n, 2]
        linear[n] = z if distance == 0 else -1 / z
        for i in range(2):
            at = points[n, i] / mm_per_px[i]
            px[n, i] = (at if distance == 0 else at * (distance / z)) + centre[i]
    return px, linear


@njit(cache=True)
def move(points: Floats, rotation: Floats, shift: Floats) -> Floats:  # pragma: no cover
    """Return points (N, 3) rotated by (3, 3) and shifted by (3,)."""
    out = np.empty_like(points)
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for i in range(3):
            out[n, i] = rotation[i, 0] * x + rotation[i, 1] * y + rotation[i, 2] * z + shift[i]
    return out


@njit(cache=True)
def shift_to_grid(points: Floats, shift: Floats, grid: float) -> Floats:  # pragma: no cover
    """Return points (N, 3) shifted by (3,) and rounded to multiples of a power of two."""
    out = np.empty_like(points)
    for n in range(len(points)):
        for i in range(3):
            out[n, i] = np.rint((points[n, i] + shift[i]) / grid) * grid
    return out


@njit(cache=True)
def range_above(
    x: Floats, y: Floats, cut: float, first: Indices, second: Indices
) -> tuple[float, float]:  # pragma: no cover
    """Smallest and largest x of what edges (E,) between points (N,) show above the line y = cut."""
    low, high = np.inf, -np.inf
    for n in range(len(x)):
        if y[n] < cut:
            low, high = min(low, x[n]), max(high, x[n])
    for e in range(len(first)):
        a, b = first[e], second[e]
        if (y[a] < cut) != (y[b] < cut):
            at = x[a] + (cut - y[a]) / (y[b] - y[a]) * (x[b] - x[a])
            low, high = min(low, at), max(high, at)
    return low, high


@njit(cache=True)
def _levels(heights: Floats, targets: Floats) -> tuple[NDArray[np.uint8], Indices]:  # pragma: no cover
    """Sort heights (V,) into 254 levels between the lowest and the highest target (K, 2), 0 below and 255 above them.

    Returns:
        The level of each height, and how many targets stand below each level (257,).
    """
    low, high = targets[:, 1].min(), targets[:, 1].max()
    scale = 254.0 / max(high - low, 1e-9)
    below = np.zeros(257, dtype=np.intp)
    for k in range(len(targets)):
        below[min(int((targets[k, 1] - low) * scale), 253) + 2] += 1
    levels = np.empty(len(heights), dtype=np.uint8)
    for n in range(len(heights)):
        y = heights[n]
        levels[n] = 0 if y < low else 255 if y > high else min(int((y - low) * scale), 253) + 1
    return levels, np.cumsum(below)


@njit(cache=True)
def first_hits(
    px: Floats, depth: Floats, triangles: NDArray[np.int32], targets: Floats
) -> tuple[Floats, NDArray[np.int64]]:  # pragma: no cover
    """Cast a ray through each target (K, 2) in pixels at projected triangles.

    Args:
        px: (V, 2) projected vertices.
        depth: (V,) what interpolates linearly in the image and grows with depth: the depth itself when orthographic,
            its negative inverse in perspective.
        triangles: (T, 3) vertex indices.
        targets: (K, 2) pixels, at least one.

    Returns:
        Depths (K,) of the first hits, +inf without one, and their triangles (K,), -1 without one.
    """
    nearest = np.full(len(targets), np.inf)
    hit = np.full(len(targets), -1)
    levels, below = _levels(px[:, 1], targets)
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if below[min(levels[a], levels[b], levels[c])] == below[max(levels[a], levels[b], levels[c]) + 1]:
            continue  # no target between its lowest and its highest corner: nearly all triangles of a mesh
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
    return nearest, hit


@njit(cache=True)
def boxes_of(points: Floats, members: Indices, starts: Indices) -> Floats:  # pragma: no cover
    """Return the boxes (P, 2, 3), lowest and highest corner, of parts: runs of members between starts (P + 1,)."""
    boxes = np.empty((len(starts) - 1, 2, 3))
    for part in range(len(starts) - 1):
        boxes[part, 0], boxes[part, 1] = np.inf, -np.inf
        for place in range(starts[part], starts[part + 1]):
            for i in range(3):
                value = points[members[place], i]
                boxes[part, 0, i] = min(boxes[part, 0, i], value)
                boxes[part, 1, i] = max(boxes[part, 1, i], value)
    return boxes


@njit(cache=True)
def _inside(points: Floats, part: Indices, low: Floats, high: Floats) -> Indices:  # pragma: no cover
    found = np.empty(len(part), dtype=np.intp)
    n = 0
    for vertex in part:
        p = points[vertex]
        if low[0] < p[0] < high[0] and low[1] < p[1] < high[1] and low[2] < p[2] < high[2]:
            found[n] = vertex
            n += 1
    return found[:n]


@njit(cache=True)
def _normal(points: Floats, triangles: NDArray[np.int32], around: Indices) -> Floats:  # pragma: no cover
    normal = np.zeros(3)
    for t in around:
        if t < 0:
            break
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        normal[0] += uy * vz - uz * vy
        normal[1] += uz * vx - ux * vz
        normal[2] += ux * vy - uy * vx
    return normal / max(np.sqrt((normal * normal).sum()), 1e-12)


@njit(cache=True)
def penetration(points: Floats, mesh: Mesh, inner: Indices, outer: Indices) -> float:  # pragma: no cover
    """Largest depth of the vertices ``inner`` behind the surface at the vertices ``outer`` (at least three).

    A vertex counts as behind when it is behind the planes at each of the three nearest vertices, by the least of them.

    Args:
        points: (V, 3)
        mesh: Triangles (T, 3), and the triangles (V, most) around each vertex, filled up with -1.
        inner: Vertices that may be inside.
        outer: Vertices of the surface.
    """
    triangles, around = mesh
    worst = 0.0
    nearest = np.empty(_NEAREST, dtype=np.intp)
    apart = np.empty(_NEAREST)
    for vertex in inner:
        x, y, z = points[vertex, 0], points[vertex, 1], points[vertex, 2]
        apart[:] = np.inf
        for other in outer:
            dx, dy, dz = points[other, 0] - x, points[other, 1] - y, points[other, 2] - z
            square = dx * dx + dy * dy + dz * dz
            if square < apart[_NEAREST - 1]:
                place = _NEAREST - 1
                while place > 0 and apart[place - 1] > square:
                    apart[place], nearest[place] = apart[place - 1], nearest[place - 1]
                    place -= 1
                apart[place], nearest[place] = square, other
        behind = np.inf
        for other in nearest:
            normal = _normal(points, triangles, around[other])
            dx, dy, dz = points[other, 0] - x, points[other, 1] - y, points[other, 2] - z
            behind = min(behind, dx * normal[0] + dy * normal[1] + dz * normal[2])
            if behind <= worst:
                break
        worst = max(worst, behind)
    return worst


@njit(cache=True)
def depth_in_box(
    points: Floats, mesh: Mesh, inner: Indices, outer: Indices, box: Floats, margin: float
) -> float:  # pragma: no cover
    """Penetration by those of ``inner`` in a box (2, 3) and those of ``outer`` in it or within a margin of it."""
    inside = _inside(points, inner, box[0], box[1])
    near = _inside(points, outer, box[0] - margin, box[1] + margin)
    if len(inside) == 0 or len(near) < _NEAREST:
        return 0.0
    return penetration(points, mesh, inside, near)
