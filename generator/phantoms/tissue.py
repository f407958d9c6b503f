"""The contents of phantoms: smooth fields on a coarse grid, and simple solids along the posed rig's bones.

Camera frame, mm. The anatomy is not realistic: bones are rounded cylinders, lungs are ellipsoids.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthgen.blender_assets.model import BodyModel
from synthgen.generator.phantoms.voxelize import Block, Grid
from synthgen.geometry import Floats, normalize

_Spots = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
_Numbers = tuple[Floats, Floats, tuple[bool, float, float, float, float]]
_ROUNDING = 0.6
"""Rounding of a cylinder's rim, as a fraction of its radius."""


@dataclass(frozen=True)
class Material:
    """The material of a solid: the voxel values of its core and of the rind around it."""

    core: float
    rind: float
    thickness: float
    """Thickness of the rind, as a fraction of the solid's smallest radius."""
    keep_mm: float
    """Minimum distance of the solid from the skin."""


@dataclass(frozen=True)
class Solid:
    """A core in a rind: an ellipsoid, or a rounded cylinder along its last axis."""

    centre_mm: Floats
    axes: Floats
    """(3, 3) unit rows."""
    radii_mm: Floats
    """(3,) along the axes."""
    material: Material
    cylinder: bool = False


class Joints:
    """The posed rig by bone name: the heads of bones, and the vertices that each carries."""

    def __init__(self, model: BodyModel, points_mm: Floats) -> None:
        self._model = model
        self._points_mm = points_mm

    def __getitem__(self, bone: str) -> Floats:
        return self._points_mm[self._model.n_vertices + self._model.bone(bone)]

    def flesh(self, bone: str) -> Floats:
        """Return the vertices (N, 3) whose skinning weight is largest for a bone."""
        return self._points_mm[: self._model.n_vertices][self._model.owners == self._model.bone(bone)]


_SIDED = (
    ("upperleg01", "lowerleg01", 0.033), ("lowerleg01", "foot", 0.036), ("foot", "toe1-1", 0.075),
    ("foot", "toe3-1", 0.07), ("foot", "toe5-1", 0.06), ("root", "upperleg01", 0.22), ("spine04", "upperleg01", 0.15),
    ("clavicle", "upperarm01", 0.05), ("upperarm01", "lowerarm01", 0.042), ("toe1-1", "toe1-2", 0.22),
)  # fmt: skip
_SPINE = ("root", "spine04", "spine03", "spine02", "spine01", "neck01", "neck02", "neck03", "head")
"""Chain of the spine's bones. `_SIDED` lists the other bones as (from, to, ratio of radius to length)."""


def body_bones(joints: Joints, material: Material) -> Iterator[Solid]:
    """Yield the long bones, hands and spine of a whole body."""
    yield from _spine(joints, material)
    for side in ("L", "R"):
        for start, end, ratio in _SIDED:
            first = start if start in _SPINE else f"{start}.{side}"
            yield rod(joints[first], joints[f"{end}.{side}"], ratio, material)
        yield from hand_bones(joints, material, side)


def hand_bones(joints: Joints, material: Material, side: str) -> Iterator[Solid]:
    """Yield the bones of forearm, wrist, metacarpals and phalanges."""
    elbow, wrist = joints[f"lowerarm01.{side}"], joints[f"wrist.{side}"]
    breadth = joints[f"finger2-1.{side}"] - joints[f"finger5-1.{side}"]
    yield rod(elbow + 0.09 * breadth, wrist + 0.17 * breadth, 0.03, material)
    yield rod(elbow - 0.09 * breadth, wrist - 0.17 * breadth, 0.025, material)
    bases = [joints[f"metacarpal{n}.{side}"] for n in range(1, 5)]
    along, wide = np.mean(bases, axis=0) - wrist, float(np.linalg.norm(breadth))
    radii = np.array([0.4, 0.2, 0.3]) * wide
    yield Solid(wrist + 0.5 * along, _axes_along(normalize(along), breadth), radii, material)
    for n in range(1, 6):
        first, second, third = (joints[f"finger{n}-{m}.{side}"] for m in (1, 2, 3))
        if n > 1:
            yield rod(bases[n - 2], first, 0.075, material)
        phalanges = (first, second), (second, third), (third, third + 0.6 * (third - second))
        for m, ((start, end), ratio) in enumerate(zip(phalanges, (0.1, 0.13, 0.17), strict=True), 1):
            yield _centred(rod(start, end, ratio, material), joints.flesh(f"finger{n}-{m}.{side}"))


def _centred(bone: Solid, flesh_mm: Floats) -> Solid:
    """Shift a bone sideways towards the centre of its flesh (N, 3): the rig's joints are near the back of a finger."""
    off = bone.axes @ (flesh_mm.mean(axis=0) - bone.centre_mm)
    return replace(bone, centre_mm=bone.centre_mm + 0.7 * off[:2] @ bone.axes[:2])


def _spine(joints: Joints, material: Material) -> Iterator[Solid]:
    points = np.array([joints[name] for name in _SPINE])
    length = float(np.linalg.norm(points[-1] - points[0]))
    back = chest_axes(joints)[1]
    points[1:6] += 0.035 * length * back
    for n in range(len(points) - 1):
        thick = (0.028 if n < 5 else 0.02) * length
        yield rod(points[n], points[n + 1], thick / float(np.linalg.norm(points[n + 1] - points[n])), material)


def rod(start_mm: Floats, end_mm: Floats, ratio: float, material: Material) -> Solid:
    """Return a bone from joint to joint; ``ratio`` is that of its radius to its length."""
    along = end_mm - start_mm
    length = float(np.linalg.norm(along))
    radius = ratio * length
    axes = _axes_along(along / length)
    radii = np.array([radius, radius, length / 2])
    return Solid((start_mm + end_mm) / 2, axes, radii, material, cylinder=True)


def chest_axes(joints: Joints) -> Floats:
    """Return the unit rows (3, 3) of the chest's left, back and up."""
    left = normalize(joints["upperarm01.L"] - joints["upperarm01.R"])
    up = joints["neck01"] - joints["spine02"]
    up = normalize(up - (up @ left) * left)
    return np.stack([left, np.cross(up, left), up])


def chest(joints: Joints, lungs: Material, heart: Material) -> Iterator[Solid]:
    """Yield two lungs and a heart."""
    axes = chest_axes(joints)
    left, back, up = axes
    half = float(np.linalg.norm(joints["upperarm01.L"] - joints["upperarm01.R"])) / 2
    height = float((joints["neck01"] - joints["spine02"]) @ up)
    middle = joints["spine01"] - 0.2 * half * back - 0.04 * height * up
    for side in (1, -1):
        radii = np.array([0.36 * half, 0.5 * half, 0.46 * height])
        yield Solid(middle + side * 0.44 * half * left, axes, radii, lungs)
    radii = np.array([0.33, 0.28, 0.36]) * half
    yield Solid(middle + half * (0.12 * left - 0.2 * back - 0.2 * up), axes, radii, heart)


def skull(joints: Joints, material: Material) -> Solid:
    """Return the brain with its rind of bone, inside the part of the head above the eyes."""
    left = normalize(joints["eye.L"] - joints["eye.R"])
    eyes = (joints["eye.L"] + joints["eye.R"]) / 2
    back = joints["head"] - eyes
    back = normalize(back - (back @ left) * left)
    axes = np.stack([left, back, np.cross(left, back)])
    places = (joints.flesh("head") - eyes) @ axes.T
    places = places[places[:, 2] > 0]
    low, high = places.min(axis=0), places.max(axis=0)
    low[2] = -0.2 * high[2]
    return Solid(eyes + (low + high) / 2 @ axes, axes, 0.47 * (high - low), material)


def smooth_noise(rng: np.random.Generator, grid: Grid, wavelength_mm: float) -> Block:
    """Return a random field (R, D, C) of zero mean and unit deviation, smooth on the scale of a wavelength."""
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415 (slow to load, and not needed for rendering)

    x, y, z = (wavelength_mm / 4 / step for step in grid.spacing_mm)
    field = gaussian_filter(rng.standard_normal(grid.shape, dtype=np.float32), (y, z, x), mode="wrap")
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def skin_distance(inside: NDArray[np.bool_], grid: Grid) -> Block:
    """Return the distance in mm of each inside voxel (R, D, C) to the nearest outside voxel; 0 outside."""
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 (as above)

    x, y, z = grid.spacing_mm
    # The lower border cuts the forearm, so that side is not padded: it does not count as skin.
    padded = np.pad(inside, ((1, 0), (1, 1), (1, 1)))
    distance = distance_transform_edt(padded, sampling=(y, z, x))[1:, 1:-1, 1:-1]
    return distance.astype(np.float32)


def ramp(x: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Return the smooth step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def upsample(field: Block, coarse: Grid, fine: Grid, where: Block | None = None) -> Block:
    """Interpolate a coarse field at the centres of finer voxels; the result is 0 where ``where`` is 0."""
    spots = []
    for axis in (1, 2, 0):
        place = (fine.centres(axis) - coarse.origin_mm[axis]) / coarse.spacing_mm[axis] - 0.5
        last = coarse.size[axis] - 1
        low = np.clip(np.floor(place), 0, max(last - 1, 0)).astype(np.int64)
        spots.append((low, np.minimum(low + 1, last), np.clip(place - low, 0, 1).astype(np.float32)))
    out = np.zeros(fine.shape, dtype=np.float32)
    if where is None:
        where = np.broadcast_to(np.float32(1), fine.shape)
    _interpolate(field, (spots[0], spots[1], spots[2]), where, out)
    return out


@njit(cache=True)
def _interpolate(
    field: Block, spots: tuple[_Spots, _Spots, _Spots], where: Block, out: Block
) -> None:  # pragma: no cover
    """Interpolate at spots per axis (rows, depths, columns): lower neighbour, upper neighbour, fraction between."""
    rows, depths, columns = spots
    for r in range(out.shape[0]):
        r0, r1, fr = rows[0][r], rows[1][r], rows[2][r]
        for d in range(out.shape[1]):
            d0, d1, fd = depths[0][d], depths[1][d], depths[2][d]
            a, b, e, f = (1 - fr) * (1 - fd), (1 - fr) * fd, fr * (1 - fd), fr * fd
            for c in range(out.shape[2]):
                if where[r, d, c] > 0:
                    c0, c1, fc = columns[0][c], columns[1][c], columns[2][c]
                    low = a * field[r0, d0, c0] + b * field[r0, d1, c0] + e * field[r1, d0, c0] + f * field[r1, d1, c0]
                    high = a * field[r0, d0, c1] + b * field[r0, d1, c1] + e * field[r1, d0, c1] + f * field[r1, d1, c1]
                    out[r, d, c] = low + fc * (high - low)


def paint(values: Block, skin_mm: Block, grid: Grid, solids: Iterable[Solid]) -> None:
    """Paint solids into a block in order, later ones over earlier ones.

    Args:
        values: (R, D, C), changed in place.
        skin_mm: (R, D, C) distance from the skin; nothing is painted where it is 0.
        grid: The block's grid.
        solids: The solids to paint.
    """
    origin, spacing = np.array(grid.origin_mm), np.array(grid.spacing_mm)
    for solid in solids:
        reach = np.abs(solid.axes).T @ solid.radii_mm + spacing
        low = np.floor((solid.centre_mm - reach - origin) / spacing).astype(int)
        high = np.ceil((solid.centre_mm + reach - origin) / spacing).astype(int)
        low, high = np.maximum(low, 0), np.minimum(high, grid.size)
        if (low < high).all():
            start = origin + (low + 0.5) * spacing - solid.centre_mm
            box = (slice(low[1], high[1]), slice(low[2], high[2]), slice(low[0], high[0]))
            material = solid.material
            rind_mm = material.thickness * float(solid.radii_mm.min())
            numbers = (solid.cylinder, material.core, material.rind, rind_mm, material.keep_mm)
            _paint(values[box], skin_mm[box], start, spacing, (solid.axes, solid.radii_mm, numbers))


@njit(cache=True)
def _paint(values: Block, skin: Block, start: Floats, spacing: Floats, solid: _Numbers) -> None:  # pragma: no cover
    """Paint one solid into its box; start (3,) is the first voxel's centre relative to the solid's centre."""
    axes, radii, (cylinder, core, rind, rind_mm, keep_mm) = solid
    soft = spacing.mean()
    smallest = radii.min()
    q = np.empty(3)
    for r in range(values.shape[0]):
        y = start[1] + r * spacing[1]
        for d in range(values.shape[1]):
            z = start[2] + d * spacing[2]
            for c in range(values.shape[2]):
                if skin[r, d, c] <= keep_mm:
                    continue
                x = start[0] + c * spacing[0]
                for i in range(3):
                    q[i] = abs(axes[i, 0] * x + axes[i, 1] * y + axes[i, 2] * z) / radii[i]
                across = np.sqrt(q[0] * q[0] + q[1] * q[1])
                if max(across, q[2]) > 1 + soft / smallest:
                    continue
                depth = (1 - np.sqrt(across * across + q[2] * q[2])) * smallest
                if cylinder:
                    depth = _in_cylinder((1 - across) * radii[0], (1 - q[2]) * radii[2], _ROUNDING * radii[0])
                part = min(max(depth / soft + 0.5, 0.0), 1.0) * min((skin[r, d, c] - keep_mm) / soft, 1.0)
                inner = min(max((depth - rind_mm) / soft + 0.5, 0.0), 1.0)
                values[r, d, c] += part * (rind + inner * (core - rind) - values[r, d, c])


@njit(cache=True)
def _in_cylinder(mantle: float, end: float, rounding: float) -> float:  # pragma: no cover
    """Return the depth below a rounded cylinder's surface, from the depths below its mantle and its nearer end."""
    a, b = max(rounding - mantle, 0.0), max(rounding - end, 0.0)
    if a == 0 or b == 0:
        return min(mantle, end)
    return rounding - np.sqrt(a * a + b * b)


def _axes_along(direction: Floats, across: Floats | None = None) -> Floats:
    """Return orthonormal rows (3, 3): the last is a unit direction (3,), the first as near as possible to across."""
    if across is None:
        across = np.eye(3)[int(np.argmin(np.abs(direction)))]
    first = normalize(across - (across @ direction) * direction)
    return np.stack([first, np.cross(direction, first), direction])
