"""Simple phantoms for the tests of scans: bodies of ellipsoids and capsules in numpy, with a scanner's table.

Camera frame, mm: x right (the patient's left), y down (to the feet), z away from a viewer in front.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations, product

import numpy as np

from synthgen.training.scans.formats.image_types import Volume

TO_LPS = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From the camera frame to LPS, of a viewer at A with S up."""


@dataclass(frozen=True)
class Limb:
    """A capsule whose radius changes from one end to the other; ``flat`` squeezes it along z."""

    start: tuple
    end: tuple
    radii: tuple
    flat: float = 1.0

    def box(self):
        ends = np.array([self.start, self.end], dtype=float)
        return ends.min(axis=0) - max(self.radii), ends.max(axis=0) + max(self.radii)

    def outside(self, x, y, z):
        """Signed distance in mm, about."""
        a, b = np.array(self.start, dtype=float), np.array(self.end, dtype=float)
        along = b - a
        dx, dy, dz = x - a[0], y - a[1], (z - a[2]) / self.flat
        t = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / max(along @ along, 1e-9), 0, 1)
        distance = np.sqrt((dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 + (dz - t * along[2]) ** 2)
        return distance - (self.radii[0] + t * (self.radii[1] - self.radii[0]))


@dataclass(frozen=True)
class Blob:
    """An ellipsoid."""

    centre: tuple
    radii: tuple

    def box(self):
        return np.subtract(self.centre, self.radii), np.add(self.centre, self.radii)

    def outside(self, x, y, z):
        (a, b, c), (p, q, r) = self.radii, self.centre
        scaled = np.sqrt(((x - p) / a) ** 2 + ((y - q) / b) ** 2 + ((z - r) / c) ** 2)
        return (scaled - 1) * min(self.radii)


@dataclass(frozen=True)
class Table:
    """Plates from depth to depth, across x; tilt and sag along y, a curve along x."""

    plates: tuple = ((0, 4), (30, 34))
    """From the top of the table, mm."""
    top: float = 0.0
    sides: tuple = (-240, 240)
    hu: float = 0.0
    foam: float = -930.0
    tilt: float = 0.0
    sag: float = 0.0
    curve: float = 0.0
    """How far it rises towards the viewer at its sides, mm."""
    skew: float = 0.0
    """How far its sides go to the right with y."""
    ends: tuple = (-1e4, 1e4)
    """From y to y."""

    def values(self, x, y, z, step):
        middle, half = np.mean(self.sides), np.ptp(self.sides) / 2
        x = x - self.skew * y
        bend = self.tilt * y + self.sag * (y / 900) ** 2 - self.curve * ((x - middle) / half) ** 2
        deep = z - self.top - bend

        def within(low, high):
            return np.clip((np.minimum(deep + step / 2, high) - np.maximum(deep - step / 2, low)) / step, 0, 1)

        across = np.clip(0.5 + (half - np.abs(x - middle)) / step, 0, 1)
        value = sum(within(*plate) for plate in self.plates) * (self.hu + 1000)
        for (_, low), (high, _) in zip(self.plates[:-1], self.plates[1:], strict=True):
            value = value + within(low, high) * (self.foam + 1000)
        return value * across * ((y >= self.ends[0]) & (y < self.ends[1]))


@dataclass(frozen=True)
class Scene:
    """What is scanned, and the box that is scanned."""

    parts: tuple
    low: tuple
    high: tuple
    table: Table | None = None
    air_inside: tuple = field(default=())
    """Parts full of air: lungs."""


def moved(point, *by):
    return tuple(a + b for a, b in zip(point, by, strict=True))


def whole_body(arm=0.0, **box):
    """A supine body whose back lies at z = 0 at the lowest, arms beside the trunk, thin fingers; head at y = -870."""
    parts = [
        Blob((0, -760, -90), (75, 110, 95)),
        Limb((0, -650, -75), (0, -600, -75), (55, 60)),
        Limb((-70, -560, -95), (-60, -250, -95), (95, 90), 0.95),
        Limb((70, -560, -95), (60, -250, -95), (95, 90), 0.95),
        Limb((-75, -150, -95), (75, -150, -95), (95, 95)),
    ]
    for side in (-1, 1):
        hip, knee, ankle = (side * 90, -100, -90), (side * 105, 330, -70), (side * 110, 740, -60)
        parts += [Limb(hip, knee, (85, 55)), Limb(knee, ankle, (55, 38))]
        parts.append(Limb(ankle, (side * 135, 800, -170), (35, 18)))
        out = side * (215 + arm)
        parts += [
            Limb((side * 175, -570, -80), (out, -290, -60), (48, 38)),
            Limb((out, -290, -60), (out + side * 15, -40, -40), (38, 24)),
        ]
        wrist = (out + side * 15, -40, -30)
        parts.append(Limb(wrist, moved(wrist, side * 5, 90, 0), (36, 40), 0.4))
        for finger in range(4):
            base = moved(wrist, side * (5 + (finger - 1.5) * 20), 95, 0)
            tip = moved(base, side * (finger - 1.5) * 6, 75, 4)
            parts.append(Limb(base, tip, (9, 7), 0.9))
        thumb = moved(wrist, -side * 28, 20, 0)
        parts.append(Limb(thumb, moved(thumb, -side * 30, 60, -10), (12, 9)))
    lungs = tuple(Blob((side * 65, -480, -100), (45, 110, 65)) for side in (-1, 1))
    wide = 290 + arm
    scene = Scene(tuple(parts), (-wide, -900, -260), (wide, 850, 60), None, lungs)
    return Scene(**{**scene.__dict__, **box})


def coverage(parts, low, step, size):
    """How much of each voxel (H, W, D) the union of some parts fills, from 0 to 1, about."""
    total = np.zeros((size[1], size[0], size[2]), dtype=np.float32)
    axes = [low[k] + (np.arange(size[k]) + 0.5) * step[k] for k in range(3)]
    for part in parts:
        lo, hi = part.box()
        first = [max(0, int(np.searchsorted(axes[k], lo[k] - step[k]) - 1)) for k in range(3)]
        last = [min(size[k], int(np.searchsorted(axes[k], hi[k] + step[k])) + 1) for k in range(3)]
        if any(a >= b for a, b in zip(first, last, strict=True)):
            continue
        x, y, z = (axes[k][first[k] : last[k]].astype(np.float32) for k in range(3))
        distance = part.outside(x[None, :, None], y[:, None, None], z[None, None, :])
        part_of = total[first[1] : last[1], first[0] : last[0], first[2] : last[2]]
        np.maximum(part_of, np.clip(0.5 - distance / np.mean(step), 0, 1), out=part_of)
    return total


filled = lru_cache(maxsize=8)(coverage)


def scan_ct(scene, step, noise=15.0, seed=0):
    """A CT of a scene, (H, W, D) Hounsfield units with H along y, and the camera-frame corner of its first voxel."""
    low, high = np.array(scene.low, dtype=float), np.array(scene.high, dtype=float)
    step = np.broadcast_to(step, 3).astype(float)
    size = np.ceil((high - low) / step).astype(int)
    body, lungs = (filled(parts, tuple(low), tuple(step), tuple(size)) for parts in (scene.parts, scene.air_inside))
    x, y, z = (low[k] + (np.arange(size[k]) + 0.5) * step[k] for k in range(3))
    around = np.float32(0)
    if scene.table is not None:
        around = scene.table.values(x[None, :, None], y[:, None, None], z[None, None, :], step[2]).astype(np.float32)
    values = around * (1 - body) + (1040 - 900 * lungs) * body - 1000
    rng = np.random.default_rng(seed)
    values += noise * rng.standard_normal(values.shape, dtype=np.float32)
    return np.clip(np.rint(values), -1024, 3071).astype(np.int16), low, step


def truth(scene, low, step, size):
    """The body's own silhouette (H, W), by the centres of pixels."""
    fine = np.array([step[0], step[1], min(step[2], 2.0)])
    deep = int(np.ceil((scene.high[2] - scene.low[2]) / fine[2]))
    return (filled(scene.parts, tuple(low), tuple(fine), (size[0], size[1], deep)) > 0.5).any(axis=2)


def as_volume(values, low, step):
    """Store a scan (H, W, D) as a supine CT usually is: i to the left, j to the back, k to the head."""
    voxels = np.ascontiguousarray(values[::-1].transpose(0, 2, 1)).transpose(2, 1, 0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = (
        TO_LPS[:, 0] * step[0],
        TO_LPS[:, 2] * step[2],
        -TO_LPS[:, 1] * step[1],
    )
    height = values.shape[0]
    corner = np.array([low[0] + step[0] / 2, low[1] + (height - 0.5) * step[1], low[2] + step[2] / 2])
    affine[:3, 3] = TO_LPS @ corner
    return Volume(voxels, affine)


def dice(a, b):
    return 2 * (a & b).sum() / max(a.sum() + b.sum(), 1)


def stored_as(volume, order, flips):
    """The same volume in another order of its axes, some of them backwards: no voxel moves in the patient."""
    step = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    voxels = np.asfortranarray(volume.voxels.transpose(order)[step])
    affine = np.eye(4)
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        affine[:3, new] = volume.affine[:3, old] * (-1 if flip else 1)
    corner = np.zeros(3)
    for old, flip in zip(order, flips, strict=True):
        corner[old] = volume.voxels.shape[old] - 1 if flip else 0
    affine[:3, 3] = volume.affine[:3, :3] @ corner + volume.affine[:3, 3]
    return Volume(voxels, affine)


STORAGES = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]


def hand_parts(spread=10.0, curl=0.0):
    """A left hand seen from its back (z away from the viewer), fingers up, and its five tips (3,) by name."""
    parts = [Limb((-14, 30, 0), (-10, -15, 0), (30, 24), 0.45), Limb((12, 30, 0), (12, -15, 0), (30, 24), 0.45)]
    parts.append(Limb((0, 60, 0), (0, 200, 0), (27, 32), 0.8))
    tips = {}
    for name, x, long in (("little", -30, 58), ("ring", -10, 75), ("middle", 10, 82), ("index", 30, 72)):
        angle = np.deg2rad(spread * x / 30)
        base = (x, -25, 0)
        tip = moved(base, long * np.sin(angle), -long * np.cos(angle), curl)
        parts.append(Limb(base, tip, (9, 7)))
        tips[name] = np.array(tip)
    parts.append(Limb((30, 20, 2), (72, -25, 10), (13, 9)))
    tips["thumb"] = np.array((72.0, -25, 10))
    return tuple(parts), tips


def scan_mr(parts, low, high, step, seed=0):
    """An MR of a hand, (H, W, D) magnitudes with H along y: noise, a bias field, specks in the air."""
    low, step = np.array(low, dtype=float), np.broadcast_to(step, 3).astype(float)
    size = np.ceil((np.array(high) - low) / step).astype(int)
    rng = np.random.default_rng(seed)
    signal = coverage(parts, low, step, size) * 600
    signal *= np.linspace(0.8, 1.1, size[1])[:, None, None]
    real, imaginary = rng.normal(0, 12, (2, *signal.shape))
    values = np.hypot(signal + real, imaginary)
    values[3, 4, 5:7] = 500
    return np.rint(values).astype(np.int16), low, step


def placed(values, low, step, turn):
    """A scan (H, W, D) in a volume whose camera axes lie along the columns of ``turn`` (3, 3) in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = turn * step
    affine[:3, 3] = turn @ (low + step / 2)
    return Volume(values.transpose(1, 0, 2), affine)


def radiograph(spread=10.0, step=0.5, seed=0, noise=2.0):
    """A radiograph of a left hand, (H, W) of about 0 to 255, bright bones, uneven background; its silhouette; its tips.

    The tips are continuous pixels by name.
    """
    parts, tips = hand_parts(spread)
    bones = tuple(Limb(p.start, p.end, tuple(0.35 * r for r in p.radii), p.flat) for p in parts)
    low, high = np.array([-75.0, -130, -40]), np.array([100.0, 120, 40])
    size = tuple(np.ceil((high - low) / [step, step, 2.0]).astype(int))
    tissue, bone = (filled(p, tuple(low), (step, step, 2.0), size).sum(axis=2) * 2.0 for p in (parts, bones))
    y, x = (np.linspace(-1, 1, n) for n in (size[1], size[0]))
    background = 60 + 12 * x[None, :] + 8 * y[:, None] + 6 * (x[None, :] * y[:, None]) - 5 * y[:, None] ** 2
    image = background + 120 * (1 - np.exp(-tissue / 40)) + 60 * (1 - np.exp(-bone / 8))
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    places = {name: (tip - low)[:2] / step for name, tip in tips.items()}
    return image, tissue > 1.0, places
