"""Voxelizes closed meshes: the fraction of each voxel inside, by rays along the depth direction.

Rays use integer coordinates on a fixed grid, so that a ray through an edge or a vertex crosses the surface exactly once
and none leaks. A point is inside if its winding number is not 0, so meshes may intersect themselves, and mirrored
meshes need not be reoriented. The fraction is exact along a ray; across, each voxel has several rays.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthgen.geometry import Floats

Block = NDArray[np.float32]
"""(R, D, C) of rows along y, depths along z and columns along x."""
_Whole = NDArray[np.int64]
_Count = NDArray[np.int32]
_Mesh = tuple[_Whole, Floats, NDArray[np.int32]]
_Crossings = tuple[_Whole, Floats, NDArray[np.int8]]
UNITS_PER_MM = 2**12
"""Integer units of ray coordinates, 1 / 4096 mm: a quarter of the grid of posed vertices."""
_SLAB_VOXELS = 2**21


@dataclass(frozen=True)
class Grid:
    """Voxels along the axes of the camera frame: columns along x, rows along y, depths along z."""

    origin_mm: tuple[float, float, float]
    """(x, y, z) of the outer corner of the first voxel."""
    spacing_mm: tuple[float, float, float]
    """In x, y and z."""
    size: tuple[int, int, int]
    """Voxels in x, y and z."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, depths and columns of the whole block."""
        return self.size[1], self.size[2], self.size[0]

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return self.size[0] * self.size[1] * self.size[2]

    def centres(self, axis: int) -> Floats:
        """Return the voxel centres along x (0), y (1) or z (2), mm."""
        return self.origin_mm[axis] + (np.arange(self.size[axis]) + 0.5) * self.spacing_mm[axis]

    def rows(self, first: int, stop: int) -> "Grid":
        """Return the grid of the rows from ``first`` to before ``stop``."""
        x, y, z = self.origin_mm
        return Grid((x, y + first * self.spacing_mm[1], z), self.spacing_mm, (self.size[0], stop - first, self.size[2]))

    def slabs(self) -> list[tuple[int, int]]:
        """Return the row ranges (first, stop) of slabs that are small enough to process at once."""
        step = max(1, _SLAB_VOXELS // (self.size[0] * self.size[2]))
        return [(first, min(first + step, self.size[1])) for first in range(0, self.size[1], step)]


def covering(low_mm: Floats, high_mm: Floats, spacing_mm: tuple[float, float, float]) -> Grid:
    """Return the smallest grid that starts at a box's lowest corner (3,) and covers the box."""
    size = np.maximum(np.ceil((high_mm - low_mm) / np.asarray(spacing_mm) - 1e-9), 1).astype(int)
    x, y, z = low_mm.tolist()
    return Grid((x, y, z), spacing_mm, (int(size[0]), int(size[1]), int(size[2])))


def coarser(grid: Grid, step_mm: float) -> Grid:
    """Return a grid of larger voxels that covers another and has the same end: a hand's mesh may be open beyond it."""
    high = np.array([o + n * s for o, n, s in zip(grid.origin_mm, grid.size, grid.spacing_mm, strict=True)])
    steps = (step_mm, step_mm, step_mm)
    size = covering(np.array(grid.origin_mm), high, steps).size
    x, y, z = (high - np.array(size) * step_mm).tolist()
    return Grid((x, y, z), steps, size)


def coverage(points_mm: Floats, triangles: NDArray[np.int32], grid: Grid, samples: int = 3) -> Block:
    """Return the fraction of each voxel (R, D, C) inside a mesh, 0 to 1.

    The mesh must be closed over the range of the grid's rows: its section at any y of theirs is a closed curve.

    Args:
        points_mm: (V, 3)
        triangles: (T, 3) vertex indices, consistently oriented.
        grid: The voxels.
        samples: Number of rays per voxel along x and along y.
    """
    rows, _, columns = grid.shape
    x, y = (
        np.rint(
            (origin + (np.arange(count * samples) + 0.5) * (step / samples)) * UNITS_PER_MM
        ).astype(np.int64)
        for origin, step, count in zip(grid.origin_mm, grid.spacing_mm, (columns, rows), strict=False)
    )  # fmt: skip
    places = np.rint(points_mm[:, :2] * UNITS_PER_MM).astype(np.int64)
    mesh = (places, (points_mm[:, 2] - grid.origin_mm[2]) / grid.spacing_mm[2], triangles)
    count = np.zeros((len(y), len(x)), dtype=np.int32)
    _cross(mesh, (x, y), count, (np.zeros(count.shape, np.int64), np.empty(0), np.empty(0, np.int8)))
    starts = np.cumsum(count, dtype=np.int64).reshape(count.shape) - count
    total = int(count.sum(dtype=np.int64))
    crossings = (starts, np.empty(total), np.empty(total, np.int8))
    count[:] = 0
    _cross(mesh, (x, y), count, crossings)
    block = np.zeros(grid.shape, dtype=np.float32)
    _fill(block, samples, count, crossings)
    return block


@njit(cache=True)
def _belongs(dx: int, dy: int) -> bool:  # pragma: no cover
    """Whether a point on an edge along (dx, dy) counts as inside; true for exactly one of the two directions."""
    return dy > 0 or (dy == 0 and dx < 0)


@njit(cache=True)
def _cross(mesh: _Mesh, rays: tuple[_Whole, _Whole], count: _Count, crossings: _Crossings) -> None:  # pragma: no cover
    """Count each ray's crossings with the surface, and store them if the arrays for them are not empty.

    Args:
        mesh: (V, 2) x and y in units, (V,) depths in voxels, (T, 3) triangles.
        rays: x and y of the rays, in units.
        count: (Y, X), initially 0.
        crossings: (Y, X) start of each ray's crossings, and arrays for all depths and signs.
    """
    places, depth, triangles = mesh
    x, y = rays
    starts, hits, signs = crossings
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        dx, dy = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
        area = dx * (places[c, 1] - places[a, 1]) - dy * (places[c, 0] - places[a, 0])
        if area == 0:
            continue
        sign = 1
        if area < 0:
            b, c, area, sign = c, b, -area, -1
        ax, ay, bx, by, cx, cy = places[a, 0], places[a, 1], places[b, 0], places[b, 1], places[c, 0], places[c, 1]
        # A point on an edge or a corner belongs to exactly one of the triangles that meet there.
        least_u, least_v = 1 - _belongs(cx - bx, cy - by), 1 - _belongs(ax - cx, ay - cy)
        least_w = 1 - _belongs(bx - ax, by - ay)
        columns = np.searchsorted(x, min(ax, bx, cx)), np.searchsorted(x, max(ax, bx, cx), side="right")
        rows = np.searchsorted(y, min(ay, by, cy)), np.searchsorted(y, max(ay, by, cy), side="right")
        for row in range(rows[0], rows[1]):
            for column in range(columns[0], columns[1]):
                px, py = x[column], y[row]
                u = (cx - bx) * (py - by) - (cy - by) * (px - bx)
                v = (ax - cx) * (py - cy) - (ay - cy) * (px - cx)
                w = area - u - v
                if u >= least_u and v >= least_v and w >= least_w:
                    if len(hits) > 0:
                        place = starts[row, column] + count[row, column]
                        hits[place] = (u * depth[a] + v * depth[b] + w * depth[c]) / area
                        signs[place] = sign
                    count[row, column] += 1


@njit(cache=True)
def _fill(block: Block, samples: int, count: _Count, crossings: _Crossings) -> None:  # pragma: no cover
    """Add to each voxel the segments of its rays whose winding number is not 0."""
    rows, depths, columns = block.shape
    starts, hits, signs = crossings
    share = 1.0 / (samples * samples)
    line = np.zeros(depths)
    for row in range(rows):
        for column in range(columns):
            line[:] = 0.0
            crossed = False
            for ray in range(samples * samples):
                i, j = row * samples + ray // samples, column * samples + ray % samples
                first, stop = starts[i, j], starts[i, j] + count[i, j]
                _sort(hits, signs, first, stop)
                winding = 0
                for n in range(first, stop - 1):
                    winding += signs[n]
                    if winding != 0:
                        _add(line, hits[n], hits[n + 1])
                        crossed = True
            if crossed:
                for k in range(depths):
                    block[row, k, column] = min(line[k] * share, 1.0)


@njit(cache=True)
def _sort(hits: Floats, signs: NDArray[np.int8], first: int, stop: int) -> None:  # pragma: no cover
    """Sort one ray's few crossings by depth (insertion sort)."""
    for n in range(first + 1, stop):
        hit, sign, m = hits[n], signs[n], n
        while m > first and hits[m - 1] > hit:
            hits[m], signs[m] = hits[m - 1], signs[m - 1]
            m -= 1
        hits[m], signs[m] = hit, sign


@njit(cache=True)
def _add(line: Floats, start: float, stop: float) -> None:  # pragma: no cover
    """Add a segment of a ray to its voxels."""
    start, stop = max(start, 0.0), min(stop, float(len(line)))
    if stop <= start:
        return
    first, last = int(start), min(int(stop), len(line) - 1)
    if first == last:
        line[first] += stop - start
        return
    line[first] += first + 1 - start
    for k in range(first + 1, last):
        line[k] += 1.0
    line[last] += stop - last
