"""The raster engine: depth images by a z-buffer over the same triangles and pixel centres as Blender.

A triangle covers a pixel if it contains the pixel's centre; a centre on a shared edge of two triangles belongs to
exactly one of them, by the top-left rule. Corners are first rounded to 2**-16 pixels, finer than Cycles' floats; then
coverage is computed in integers, so it is exact.
"""

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import EngineError
from synthgen.generator.bodies.mesh_kernels import to_pixels
from synthgen.generator.bodies.numba_kernels import array_kernel, helper
from synthgen.geometry import Camera, Floats, Projection

NEAR_MM = 1e-3
"""Near clipping distance in perspective."""
_BITS = 16
_ONE, _HALF = 1 << _BITS, 1 << (_BITS - 1)
_GUARD = 6000.0
"""Triangles are clipped at this distance in pixels outside the image, so that no product overflows 63 bits."""

Corner = tuple[int, int, float]
"""x and y in 2**-16 pixels, and the linear depth of `to_pixels`."""
Triangles = NDArray[np.int32]
Corners = NDArray[np.uint32]
"""Triangles (T, 3), unsigned, so that compiled code does not check for negative indices."""


class RasterEngine:
    """Renders one mesh whose vertices change from frame to frame."""

    name = "raster"

    def __init__(self, triangles: Triangles, n_vertices: int, width: int, height: int, projection: Projection) -> None:
        """Prepare the mesh.

        Args:
            triangles: (T, 3) vertex indices.
            n_vertices: V, the number of vertices of every frame.
            width: Image width in pixels.
            height: Image height in pixels.
            projection: Projection of every frame.

        """
        triangles = np.ascontiguousarray(triangles, dtype=np.int32)
        if triangles.ndim != 2 or triangles.shape[1] != 3:
            raise EngineError(f"engine: triangles must be (T, 3), got {triangles.shape}")
        if len(triangles) and (triangles.min() < 0 or triangles.max() >= n_vertices):
            raise EngineError(f"engine: a triangle has a vertex index outside 0 to {n_vertices - 1}")
        self._triangles, self._shape = triangles, (n_vertices, 3)
        self._size = (projection, width, height)

    def render(self, vertices: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
        """Return the depth (H, W), camera-frame z in mm at the pixel centres; +inf for the background.

        Args:
            vertices: (V, 3) mm, camera frame.
            camera: Size and projection must be the engine's; ``mm_per_px`` and ``distance_mm`` may vary.

        Raises:
            EngineError: The vertices or the camera do not fit this engine.

        """
        if (camera.projection, camera.width, camera.height) != self._size:
            mine = f"{self._size[0]} {self._size[1]}x{self._size[2]}"
            raise EngineError(f"camera: {camera.projection} {camera.width}x{camera.height} is not the engine's {mine}")
        if vertices.shape != self._shape:
            raise EngineError(f"engine: vertices must be {self._shape}, got {vertices.shape}")
        if not np.isfinite(vertices).all():
            raise EngineError("engine: a vertex is not finite")
        points, triangles = vertices.astype(np.float64), self._triangles
        perspective = camera.projection == "perspective"
        if perspective and len(points) and points[:, 2].min() < NEAR_MM:
            points, triangles = cut_near(points, triangles, NEAR_MM)
        centre = (camera.width / 2, camera.height / 2)
        px, linear = to_pixels(points, camera.mm_per_px, centre, camera.distance_mm if perspective else 0.0)
        nearest = rasterize(px, linear, triangles.view(np.uint32), camera.width, camera.height)
        if perspective:
            hit = np.isfinite(nearest)
            nearest[hit] = -1 / nearest[hit]
        return nearest.astype(np.float32)

    def close(self) -> None:
        """Do nothing: the engine has no resources to release."""


def rasterize(px: Floats, linear: Floats, triangles: Corners, width: int, height: int) -> Floats:
    """Return the nearest linear depth at each pixel's centre (H, W), +inf where no triangle covers it.

    Args:
        px: (V, 2) corners in continuous pixels, finite.
        linear: (V,) linear depth, as `to_pixels` returns it.
        triangles: (T, 3) corners; both sides are rendered.
        width: Pixels.
        height: Pixels.
    """
    nearest = np.full((height, width), np.inf)
    near = np.empty(len(px), dtype=np.bool_)
    if _fill_near(nearest, px, linear, triangles, near):
        _fill_far(nearest, px, linear, triangles, near)  # compiled only when needed, which is rare
    return nearest


@array_kernel
def _fill_near(
    nearest: Floats, px: Floats, linear: Floats, triangles: Corners, near: NDArray[np.bool_]
) -> bool:  # pragma: no cover
    """Fill the triangles within the guard band; mark those corners in near (V,), and return whether any are not."""
    height, width = nearest.shape
    fixed = np.empty((len(px), 2), dtype=np.int64)
    first, last = np.empty((len(px), 2), dtype=np.int32), np.empty((len(px), 2), dtype=np.int32)
    far = False
    for v in range(len(px)):
        near[v] = -_GUARD < px[v, 0] < width + _GUARD and -_GUARD < px[v, 1] < height + _GUARD
        far = far or not near[v]
        for i in range(2):
            at = np.int64(np.rint(px[v, i] * _ONE)) if near[v] else 0
            fixed[v, i], first[v, i], last[v, i] = at, (at + _HALF - 1) >> _BITS, (at - _HALF) >> _BITS
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if (
            # Most triangles of a body are between two columns or two rows of pixel centres.
            min(first[a, 0], first[b, 0], first[c, 0]) <= max(last[a, 0], last[b, 0], last[c, 0])
            and min(first[a, 1], first[b, 1], first[c, 1]) <= max(last[a, 1], last[b, 1], last[c, 1])
            and (near[a] and near[b] and near[c])
        ):
            corner_a, corner_b = (fixed[a, 0], fixed[a, 1], linear[a]), (fixed[b, 0], fixed[b, 1], linear[b])
            _fill(nearest, corner_a, corner_b, (fixed[c, 0], fixed[c, 1], linear[c]))
    return far


@helper
def _fill(nearest: Floats, a: Corner, b: Corner, c: Corner) -> None:  # pragma: no cover
    """Fill one triangle; corners are integers in 2**-16 pixels, with their depths."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if area < 0:
        area, b, c = -area, c, b
    (ax, ay, depth_a), (bx, by, depth_b), (cx, cy, depth_c) = a, b, c
    first_column = max((min(ax, bx, cx) + _HALF - 1) >> _BITS, 0)
    last_column = min((max(ax, bx, cx) - _HALF) >> _BITS, nearest.shape[1] - 1)
    first_row = max((min(ay, by, cy) + _HALF - 1) >> _BITS, 0)
    last_row = min((max(ay, by, cy) - _HALF) >> _BITS, nearest.shape[0] - 1)
    if area == 0 or first_column > last_column or first_row > last_row:
        return
    x, y = (first_column << _BITS) + _HALF, (first_row << _BITS) + _HALF
    least_a, least_b, least_c = _least(cx - bx, cy - by), _least(ax - cx, ay - cy), _least(bx - ax, by - ay)
    row_a = (cx - bx) * (y - by) - (cy - by) * (x - bx) - least_a
    row_b = (ax - cx) * (y - cy) - (ay - cy) * (x - cx) - least_b
    row_c = (bx - ax) * (y - ay) - (by - ay) * (x - ax) - least_c
    for row in range(first_row, last_row + 1):
        w_a, w_b, w_c = row_a, row_b, row_c
        for column in range(first_column, last_column + 1):
            if (w_a | w_b | w_c) >= 0:  # none is negative, tested with a single branch
                weighted = (w_a + least_a) * depth_a + (w_b + least_b) * depth_b + (w_c + least_c) * depth_c
                nearest[row, column] = min(nearest[row, column], weighted / area)
            w_a -= (cy - by) << _BITS
            w_b -= (ay - cy) << _BITS
            w_c -= (by - ay) << _BITS
        row_a += (cx - bx) << _BITS
        row_b += (ax - cx) << _BITS
        row_c += (bx - ax) << _BITS


@helper
def _least(dx: int, dy: int) -> int:  # pragma: no cover
    """Return the smallest value inside an edge along (dx, dy): 0 for top and left edges, which own their centres."""
    return 0 if dy < 0 or (dy == 0 and dx > 0) else 1


@array_kernel
def _fill_far(
    nearest: Floats, px: Floats, linear: Floats, triangles: Corners, near: NDArray[np.bool_]
) -> None:  # pragma: no cover
    """Fill the triangles that extend beyond the guard band, after clipping them to it."""
    for t in range(len(triangles)):
        polygon, count = np.empty((9, 3)), 3
        inside = True
        for n in range(3):
            v = triangles[t, n]
            polygon[n, 0], polygon[n, 1], polygon[n, 2] = px[v, 0], px[v, 1], linear[v]
            inside = inside and near[v]
        if inside:
            continue
        for axis in range(2):
            polygon, count = _cut(polygon, count, axis, (-_GUARD, 1.0))
            polygon, count = _cut(polygon, count, axis, (nearest.shape[1 - axis] + _GUARD, -1.0))
        for n in range(2, count):
            _fill(nearest, _corner(polygon, 0), _corner(polygon, n - 1), _corner(polygon, n))


@helper
def _corner(points: Floats, n: int) -> Corner:  # pragma: no cover
    return (round(points[n, 0] * _ONE), round(points[n, 1] * _ONE), points[n, 2])


@helper
def _cut(polygon: Floats, count: int, axis: int, line: tuple[float, float]) -> tuple[Floats, int]:  # pragma: no cover
    """Clip a convex polygon (Sutherland and Hodgman 1974), keeping the side of the line's sign."""
    at, sign = line
    out, kept = np.empty((9, 3)), 0
    for here in range(count):
        there = (here + 1) % count
        inside, next_inside = sign * (polygon[here, axis] - at) >= 0, sign * (polygon[there, axis] - at) >= 0
        if inside:
            for i in range(3):
                out[kept, i] = polygon[here, i]
            kept += 1
        if inside != next_inside:
            # From the lower to the upper end, so that a shared edge of two triangles is cut at the same point.
            low, high = (here, there) if _before(polygon, here, there) else (there, here)
            share = (at - polygon[low, axis]) / (polygon[high, axis] - polygon[low, axis])
            for i in range(3):
                out[kept, i] = polygon[low, i] + (polygon[high, i] - polygon[low, i]) * share
            out[kept, axis] = at
            kept += 1
    return out, kept


@helper
def _before(points: Floats, a: int, b: int) -> bool:  # pragma: no cover
    return points[a, 0] < points[b, 0] or (points[a, 0] == points[b, 0] and points[a, 1] < points[b, 1])


def cut_near(points: Floats, triangles: Triangles, near_mm: float) -> tuple[Floats, Triangles]:
    """Clip a mesh at the plane z = ``near_mm``, keeping the part beyond it.

    Args:
        points: (V, 3) mm, camera frame.
        triangles: (T, 3)
        near_mm: Above 0.

    Returns:
        Points (V', 3), of which the unused ones in front of the plane are moved onto it, and triangles (T', 3).
    """
    behind = points[:, 2] < near_mm
    count = behind[triangles].sum(axis=1)
    corners, pieces = list(points), [triangles[count == 0]]
    for triangle in triangles[(count == 1) | (count == 2)]:
        polygon: list[int] = []
        for here, there in zip(triangle, np.roll(triangle, -1), strict=True):
            if not behind[here]:
                polygon.append(int(here))
            if behind[here] != behind[there]:
                low, high = sorted((int(here), int(there)))
                share = (near_mm - points[low, 2]) / (points[high, 2] - points[low, 2])
                polygon.append(len(corners))
                corners.append(points[low] + share * (points[high] - points[low]))
                corners[-1][2] = near_mm
        pieces.append(np.array([(polygon[0], polygon[n - 1], polygon[n]) for n in range(2, len(polygon))], np.int32))
    kept = np.array(corners)
    kept[: len(points), 2] = np.maximum(kept[: len(points), 2], near_mm)
    return kept, np.concatenate(pieces).astype(np.int32)
