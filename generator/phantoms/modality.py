"""Simulated scanners: CT with its table, MR with its coil. Blocks (R, D, C) in the camera frame, mm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.generator.phantoms.tissue import (
    Joints,
    Material,
    Solid,
    body_bones,
    chest,
    hand_bones,
    paint,
    ramp,
    skin_distance,
    skull,
    smooth_noise,
    upsample,
)
from synthgen.generator.phantoms.voxelize import Block, Grid, coarser, coverage
from synthgen.geometry import Floats
from synthgen.randomness.seeding import stream

AIR_HU = -1000
_HU_RANGE = (-1024, 3071)
_BONE_CT = Material(core=280.0, rind=1150.0, thickness=0.35, keep_mm=3.0)
_SKULL_CT = Material(core=35.0, rind=950.0, thickness=0.1, keep_mm=3.0)
_LUNGS_CT = Material(core=-860.0, rind=-700.0, thickness=0.1, keep_mm=15.0)
_HEART_CT = Material(core=45.0, rind=40.0, thickness=0.1, keep_mm=15.0)
_BONE_MR = Material(core=700.0, rind=70.0, thickness=0.25, keep_mm=3.5)
_SPECKLE_CLEAR_MM = 5.0
"""Minimum distance of speckle from the silhouette, so that it does not become part of it."""
_CT_COARSE_MM, _MR_COARSE_MM = 6.0, 2.0


@dataclass(frozen=True)
class Subject:
    """A posed body to scan, and the keys of its random streams."""

    points_mm: Floats
    """(V, 3) camera frame."""
    triangles: NDArray[np.int32]
    joints: Joints
    seed: int
    index: int

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator of one of the phantom's streams."""
        return stream(self.seed, self.index, f"phantom/{name}")


@dataclass(frozen=True)
class Table:
    """Two thin plates across the depth direction, with foam between them."""

    sides_mm: tuple[float, float]
    """Lowest and highest x."""
    plates_mm: tuple[tuple[float, float], tuple[float, float]]
    """Lowest and highest z of each."""
    plate_hu: float
    foam_hu: float

    def background(self, grid: Grid) -> Block:
        """Return the surroundings of the body in every row, (D, C) HU."""
        across = _overlap(grid, 0, self.sides_mm)
        first, second = (_overlap(grid, 2, plate) for plate in self.plates_mm)
        foam = _overlap(grid, 2, (self.plates_mm[0][1], self.plates_mm[1][0]))
        deep = (first + second) * (self.plate_hu - AIR_HU) + foam * (self.foam_hu - AIR_HU)
        return (AIR_HU + deep[:, None] * across).astype(np.float32)


def draw_table(subject: Subject) -> Table:
    """Draw a table that touches the body's back or is slightly below it."""
    rng = subject.rng("table")
    width, middle = rng.uniform(400, 530), rng.uniform(-15, 15)
    offset, gap = max(0.0, rng.uniform(-3, 10)), rng.uniform(15, 50)
    first, second = rng.uniform(1.5, 4.5, 2)
    top = float(subject.points_mm[:, 2].max()) + offset
    below = top + first + gap
    middle += float(subject.points_mm[:, 0].min() + subject.points_mm[:, 0].max()) / 2
    plate_hu, foam_hu = rng.uniform(-200, 60), rng.uniform(-960, -900)
    sides = (middle - width / 2, middle + width / 2)
    return Table(sides, ((top, top + first), (below, below + second)), plate_hu, foam_hu)


def ct_volume(subject: Subject, grid: Grid, table: Table) -> NDArray[np.int16]:
    """Simulate a CT scan of a body, in Hounsfield units (R, D, C)."""
    coarse = coarser(grid, _CT_COARSE_MM)
    skin = skin_distance(coverage(subject.points_mm, subject.triangles, coarse, 1) > 0.5, coarse)
    tissue = _soft_tissue_hu(subject, skin, coarse)
    solids = [
        *chest(subject.joints, _LUNGS_CT, _HEART_CT),
        *body_bones(subject.joints, _BONE_CT),
        skull(subject.joints, _SKULL_CT),
    ]
    background, rng = table.background(grid), subject.rng("noise")
    noise_air, noise_body = rng.uniform(1.5, 3), rng.uniform(9, 16)
    out = np.empty(grid.shape, dtype=np.int16)
    for first, stop in grid.slabs():
        slab = grid.rows(first, stop)
        cover = coverage(subject.points_mm, subject.triangles, slab)
        values = upsample(tissue, coarse, slab, cover)
        paint(values, upsample(skin, coarse, slab, cover), slab, solids)
        values -= background
        values *= cover
        values += background
        cover *= noise_body - noise_air
        cover += noise_air
        values += cover * rng.standard_normal(values.shape, dtype=np.float32)
        out[first:stop] = np.clip(np.rint(values, out=values), *_HU_RANGE, out=values)
    return out


def _soft_tissue_hu(subject: Subject, skin: Block, grid: Grid) -> Block:
    rng = subject.rng("tissue")
    fat_mm, muscle, fat = rng.uniform(6, 22), rng.normal(52, 5), rng.normal(-95, 5)
    layer = fat_mm * np.clip(1 + 0.35 * smooth_noise(rng, grid, 120), 0.3, 2)
    fatty = np.float32(0.8) * ramp(layer - skin, 0, 4)
    tissue = muscle + (fat - muscle) * fatty + 14 * smooth_noise(rng, grid, 30)
    return np.where(skin > 0, tissue, 20).astype(np.float32)


def mr_volume(subject: Subject, grid: Grid) -> NDArray[np.int16]:
    """Simulate an MR scan of a hand with a sandbag on it: T1-like magnitudes (R, D, C) in arbitrary units."""
    coarse = coarser(grid, _MR_COARSE_MM)
    inside = coverage(subject.points_mm, subject.triangles, coarse, 1) > 0.5
    skin = skin_distance(inside, coarse)
    tissue = _soft_tissue_signal(subject, skin, coarse)
    gain, haze = _coil_and_sandbag(subject, inside, coarse)
    bones = list(hand_bones(subject.joints, _BONE_MR, "L"))
    specks = list(_speckle(subject, inside, coarse))
    rng = subject.rng("noise")
    sigma = rng.uniform(9, 15)
    out = np.empty(grid.shape, dtype=np.int16)
    for first, stop in grid.slabs():
        slab = grid.rows(first, stop)
        cover = coverage(subject.points_mm, subject.triangles, slab)
        values = upsample(tissue, coarse, slab, cover)
        paint(values, upsample(skin, coarse, slab, cover), slab, bones)
        values *= cover
        values += (1 - cover) * upsample(haze, coarse, slab)
        paint(values, np.ones_like(cover), slab, specks)
        values *= upsample(gain, coarse, slab)
        real, imaginary = sigma * rng.standard_normal((2, *values.shape), dtype=np.float32)
        out[first:stop] = np.rint(np.hypot(values + real, imaginary))
    return out


def _soft_tissue_signal(subject: Subject, skin: Block, grid: Grid) -> Block:
    rng = subject.rng("tissue")
    muscle, fat, fat_mm = rng.uniform(480, 560), rng.uniform(680, 780), rng.uniform(2.5, 5)
    fatty = ramp(fat_mm - skin, 0, 3)
    tissue = muscle + (fat - muscle) * fatty + 35 * smooth_noise(rng, grid, 12)
    return np.where(skin > 0, tissue, (muscle + fat) / 2).astype(np.float32)


def _coil_and_sandbag(subject: Subject, inside: NDArray[np.bool_], grid: Grid) -> tuple[Block, Block]:
    """Draw the bias field, weaker just below the sandbag, and the faint signal of the sandbag above the hand."""
    from scipy.ndimage import gaussian_filter  # noqa: PLC0415 (slow to load, and not needed for rendering)

    rng = subject.rng("coil")
    x, y, z = (grid.centres(axis) for axis in range(3))
    along = 0.1 * rng.uniform(-1, 1) * (2 * (y - y[0]) / (y[-1] - y[0]) - 1)
    gain = np.clip(1 + 0.1 * smooth_noise(rng, grid, 160) + along[:, None, None], 0.75, 1.25)
    wrist, knuckle = subject.joints["wrist.L"], subject.joints["finger3-1.L"]
    middle = wrist + rng.uniform(0.4, 1.1) * (knuckle - wrist)
    wide, high, thick = rng.uniform(40, 60), rng.uniform(45, 70), rng.uniform(15, 30)
    far = np.hypot((x - middle[0]) / wide, (y[:, None] - middle[1]) / high).astype(np.float32)
    bag = ramp(1 - far, 0, 0.4)[:, None]
    front = np.where(inside.any(axis=1), z[inside.argmax(axis=1)], z[-1])
    front = gaussian_filter(front, 3.0)[:, None]  # the bag follows the hand's surface smoothly
    below = (z[:, None] - front).astype(np.float32)
    gain = gain * (1 - 0.2 * bag * ramp(12 - below, 0, 12) * (below > -6))
    haze = (
        28 * bag * ramp(below, -thick, -thick / 2) * (below < 0) * np.clip(1 + 0.5 * smooth_noise(rng, grid, 10), 0, 2)
    )
    return gain.astype(np.float32), haze.astype(np.float32)


def _speckle(subject: Subject, inside: NDArray[np.bool_], grid: Grid) -> list[Solid]:
    """Draw small blobs in the air, away from the silhouette."""
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 (as above)

    rng = subject.rng("speckle")
    clear = distance_transform_edt(~inside.any(axis=1), sampling=grid.spacing_mm[1::-1])
    wanted = int(rng.integers(4, 20))
    places = rng.uniform(0, 1, (20 * wanted, 3)) * grid.size
    radii = rng.uniform(0.7, 2.2, (len(places), 3))
    bright = rng.uniform(250, 800, len(places))
    rows, columns = places[:, 1].astype(int), places[:, 0].astype(int)
    free = np.flatnonzero(clear[rows, columns] > _SPECKLE_CLEAR_MM + radii.max(axis=1))[:wanted]
    centres = np.array(grid.origin_mm) + places * grid.spacing_mm
    materials = [Material(bright[n], bright[n], 0.5, 0.0) for n in free]
    return [Solid(centres[n], np.eye(3), radii[n], material) for n, material in zip(free, materials, strict=True)]


def _overlap(grid: Grid, axis: int, span_mm: tuple[float, float]) -> Floats:
    """Return the fraction of each voxel's extent along an axis that lies within a span."""
    half = grid.spacing_mm[axis] / 2
    centres = grid.centres(axis)
    inside = np.minimum(centres + half, span_mm[1]) - np.maximum(centres - half, span_mm[0])
    return np.clip(inside / (2 * half), 0, 1)
