"""The artefacts in plain numpy, one mask at a time: the oracle of the compiled ones."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from synthgen.randomness.seeding import stream
from synthgen.specs.artefacts import Artefacts, Holes, NoisyBorder, RoughEdge, Side, Speckle, TableRemains
from synthgen.specs.distributions import Distribution

Mask = NDArray[np.bool_]
Field2D = NDArray[np.float32]
_CELLS = 2048


class Draws:
    """numpy's generator of a stream, with normal numbers by the method of `synthgen.randomness.philox`."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.random = generator.random
        self._word = generator.bit_generator.random_raw
        edges = [NormalDist().inv_cdf(i / _CELLS) for i in range(1, _CELLS)]
        self._low = np.array([edges[0], *edges], dtype=np.float32)
        self._width = np.array([0, *np.diff(edges), 0], dtype=np.float32)

    def normals(self, shape: tuple[int, ...]) -> Field2D:
        return np.array([self._normal(i) for i in range(math.prod(shape))], dtype=np.float32).reshape(shape)

    def _normal(self, i: int) -> float:
        if i % 2 == 0:
            self._last = self._word()
        half = (self._last >> (32 * (i % 2))) & 0xFFFFFFFF
        cell, within = divmod(half, 2**32 // _CELLS)
        if 0 < cell < _CELLS - 1:
            fraction = np.float32(within) * np.float32(_CELLS / 2**32)
            return self._low[cell] + self._width[cell] * fraction
        tail = -NormalDist().inv_cdf(1 / _CELLS)
        while True:
            over = -math.log1p(-self.random()) / tail
            if -2 * math.log1p(-self.random()) > over * over:
                return (tail + over) if cell else -(tail + over)


class NumpyDraws(Draws):
    """The same with numpy's normal numbers, which have the same distribution."""

    def __init__(self, generator: np.random.Generator) -> None:
        super().__init__(generator)
        self.normals = lambda shape: generator.standard_normal(shape, dtype=np.float32)


def apply_slowly(mask: Mask, artefacts: Artefacts, seed: int, epoch: int, index: int, draws=Draws) -> Mask:
    """Return a copy of a clean mask (H, W) with the artefacts of one sample in one epoch."""
    result = np.array(mask, dtype=bool)
    for name in type(artefacts).model_fields:
        section = getattr(artefacts, name)
        if section is None:
            continue
        rng = draws(stream(seed, index, f"artefact/{epoch}/{name}"))
        if rng.random() < section.probability:
            result = _APPLY[name](result, section, rng)
    return result


def _draw(distribution: Distribution, rng: Draws) -> float:
    return float(distribution.draw(rng, 1)[0])


def _table_remains(mask: Mask, remains: TableRemains, rng: Draws) -> Mask:
    count = round(_draw(remains.count, rng))
    right, height, length, thickness, slope, coverage = (
        rng.random(count) < 0.5,
        *(d.draw(rng, count) for d in (remains.height, remains.length, remains.thickness, remains.angle_deg)),
        remains.coverage.draw(rng, count),
    )
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return mask
    tall = rows[-1] + 1 - rows[0]
    result = mask.copy()
    for k in range(count):
        row = min(rows[0] + int(height[k] * tall), rows[-1])
        columns = np.flatnonzero(mask[row])
        if columns.size == 0:
            continue
        start = (columns[-1] + 0.5 if right[k] else columns[0] + 0.5, row + 0.5)
        angle = np.deg2rad(slope[k])
        direction = (np.cos(angle) * (1 if right[k] else -1), np.sin(angle))
        piece = _wedge(mask.shape, start, direction, (length[k] * tall, thickness[k] * tall))
        result |= piece & _patchy(mask.shape, coverage[k], rng)
    return result


def _wedge(
    shape: tuple[int, ...], start: tuple[float, float], direction: tuple[float, float], size: tuple[float, float]
) -> Mask:
    """Return a mask of a slab of (length, thickness) pixels that tapers from ``start`` along ``direction``."""
    x = (np.arange(shape[1], dtype=np.float32) + np.float32(0.5 - start[0]))[None, :]
    y = (np.arange(shape[0], dtype=np.float32) + np.float32(0.5 - start[1]))[:, None]
    along = x * np.float32(direction[0]) + y * np.float32(direction[1])
    across = np.abs(y * np.float32(direction[0]) - x * np.float32(direction[1]))
    length, half = np.float32(max(size[0], 1e-3)), np.float32(size[1] / 2)
    reached: Mask = (along >= 0) & (along <= length) & (across <= half * (1 - np.float32(0.6) * along / length))
    return reached


def _patchy(shape: tuple[int, ...], coverage: float, rng: Draws) -> Mask:
    """Return a mask (H, W) of 2 x 2 pixel patches, of which ``coverage`` are on."""
    coarse = rng.random(((shape[0] + 1) // 2, (shape[1] + 1) // 2)) < coverage
    return coarse.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def _rough_edge(mask: Mask, rough: RoughEdge, rng: Draws) -> Mask:
    smooth, length, white = (_draw(d, rng) for d in (rough.smooth_px, rough.smooth_length_px, rough.white_px))
    noise = np.float32(smooth) * _smooth_noise(mask.shape, length, rng)
    noise += np.float32(white) * rng.normals(mask.shape)
    steps = int(min(np.ceil(np.abs(noise).max()), 12))
    # Summing the eroded and the dilated masks gives the signed distance to the outline: 0.5 in the pixels just inside,
    # -0.5 just outside. Unlike a threshold of a blurred mask it keeps the slits between closed fingers.
    distance = mask.astype(np.float32) - np.float32(steps + 0.5)
    grown, shrunk = mask, ~mask
    for step in range(steps):
        grown, shrunk = _dilate(grown, step), _dilate(shrunk, step)
        distance += grown
        distance += ~shrunk
    roughened: Mask = distance + noise > 0
    return roughened


def _dilate(mask: Mask, step: int) -> Mask:
    """Grow a mask by a pixel: by 4 neighbours in even steps, by 8 in odd ones, which makes distances round."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    sideways = mask if step % 2 == 0 else grown.copy()
    grown[:, 1:] |= sideways[:, :-1]
    grown[:, :-1] |= sideways[:, 1:]
    return grown


def _smooth_noise(shape: tuple[int, ...], length: float, rng: Draws) -> Field2D:
    """Return (H, W) noise of zero mean and unit deviation that varies over ``length`` pixels (value noise)."""
    counts = [int(n / length) + 3 for n in shape]
    field = rng.normals(tuple(counts))
    for axis, n in enumerate(shape):
        position = (np.arange(n, dtype=np.float32) / np.float32(length)) + np.float32(rng.random())
        cell = position.astype(np.intp)
        weight = position - cell
        weight = weight.reshape((-1, 1) if axis == 0 else (1, -1))
        near, far = field.take(cell, axis=axis), field.take(cell + 1, axis=axis)
        field = (near * (1 - weight) + far * weight) / np.sqrt((1 - weight) ** 2 + weight**2)
    return field


def _holes(mask: Mask, holes: Holes, rng: Draws) -> Mask:
    return mask & ~_blobs(mask, holes, rng)


def _speckle(mask: Mask, speckle: Speckle, rng: Draws) -> Mask:
    return mask | _blobs(~mask, speckle, rng)


def _blobs(where: Mask, blobs: Speckle | Holes, rng: Draws) -> Mask:
    """Return a mask of irregular blobs whose centres lie in ``where``."""
    count = round(_draw(blobs.count, rng))
    radius = blobs.radius_px.draw(rng, count)
    place = rng.random(count)
    result = np.zeros_like(where)
    inside = np.flatnonzero(where)
    if count == 0 or inside.size == 0:
        return result
    row, column = np.divmod(inside[(place * inside.size).astype(np.intp)], where.shape[1])
    reach = int(np.ceil(radius.max() * 1.4))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, 1, -1)
    ragged = 0.6 + 0.8 * rng.random((count, dx.shape[1]))
    blob = np.sqrt(dx * dx + dy * dy) <= radius[:, None] * ragged
    y, x = (row[:, None] + dy)[blob], (column[:, None] + dx)[blob]
    seen = (y >= 0) & (y < where.shape[0]) & (x >= 0) & (x < where.shape[1])
    result[y[seen], x[seen]] = True
    return result


def _noisy_border(mask: Mask, border: NoisyBorder, rng: Draws) -> Mask:
    result = mask.copy()
    for side in border.sides:
        turned = _TO_BOTTOM[side](result)  # a view: changing its last rows changes the result
        rows = min(round(_draw(border.rows, rng)), turned.shape[0])
        add, remove = _draw(border.add, rng), _draw(border.remove, rng)
        chance = rng.random((rows, turned.shape[1]))
        strength = (np.arange(rows) + 1.0)[:, None] / max(rows, 1)
        last = turned[turned.shape[0] - rows :]
        last ^= chance < strength * np.where(last, remove, add)
    return result


_TO_BOTTOM: dict[Side, Callable[[Mask], Mask]] = {
    "bottom": lambda mask: mask,
    "top": lambda mask: mask[::-1],
    "right": lambda mask: mask.T,
    "left": lambda mask: mask[:, ::-1].T,
}
_APPLY: dict[str, Callable[..., Mask]] = {
    "table_remains": _table_remains,
    "rough_edge": _rough_edge,
    "holes": _holes,
    "speckle": _speckle,
    "noisy_border": _noisy_border,
}
