"""Artefacts: what binarizing a real scan does to a silhouette, applied to clean masks when they are streamed.

`apply_artefacts` is a pure function of (mask, artefacts, seed, epoch, index). Each kind of artefact has a random stream
of its own, so changing one moves nothing of the others. Landmarks never move. Sizes in pixels are pixels of the patch,
because rough edges and speckle come from the pixel grid whatever the patch shows; the remains of a table scale with the
body.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from synthgen.randomness.seeding import stream
from synthgen.specs.distributions import Constant, Distribution, Uniform, Within

Mask = NDArray[np.bool_]
Field2D = NDArray[np.float32]
Side = Literal["left", "top", "right", "bottom"]
Probability = Annotated[float, Field(ge=0, le=1, description="Fraction of the images that have it.")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoughEdge(_Section):
    """The outline moves in and out by noise: smooth (partial volume) plus white (thresholding noise)."""

    probability: Probability = 1.0
    smooth_px: Annotated[Distribution, Within(0, 4)] = Field(
        Uniform(kind="uniform", low=0.2, high=0.8), description="Standard deviation of the smooth part, pixels."
    )
    smooth_length_px: Annotated[Distribution, Within(1, 256)] = Field(
        Uniform(kind="uniform", low=3, high=10), description="Length along which the smooth part varies, pixels."
    )
    white_px: Annotated[Distribution, Within(0, 2)] = Field(
        Uniform(kind="uniform", low=0.2, high=0.45), description="Standard deviation of the white part, pixels."
    )


class Speckle(_Section):
    """Small blobs in the background."""

    probability: Probability = 1.0
    count: Annotated[Distribution, Within(0, 500)] = Field(
        Uniform(kind="uniform", low=0, high=10), description="Number of blobs in the image."
    )
    radius_px: Annotated[Distribution, Within(0.1, 16)] = Field(
        Uniform(kind="uniform", low=0.4, high=1.6), description="Radius of each blob, pixels."
    )


class Holes(_Section):
    """Small holes in the silhouette."""

    probability: Probability = 1.0
    count: Annotated[Distribution, Within(0, 500)] = Field(
        Uniform(kind="uniform", low=0, high=4), description="Number of holes in the image."
    )
    radius_px: Annotated[Distribution, Within(0.1, 16)] = Field(
        Uniform(kind="uniform", low=0.4, high=1.3), description="Radius of each hole, pixels."
    )


class NoisyBorder(_Section):
    """Pixel noise in the last rows at a border of the image, where a scan loses its signal; weaker further in."""

    probability: Probability = 1.0
    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = Field(("bottom",), description="Borders that have it.")
    rows: Annotated[Distribution, Within(0, 256)] = Field(
        Uniform(kind="uniform", low=1, high=4), description="Depth of the noise from the border, pixels."
    )
    add: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.05, high=0.35), description="Fraction of the background that turns on, outermost."
    )
    remove: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.1, high=0.6), description="Fraction of the silhouette that turns off, outermost."
    )


class TableRemains(_Section):
    """Thin, slanted, ragged residue of a table or mattress that sticks out beside the body."""

    probability: Probability = 1.0
    count: Annotated[Distribution, Within(0, 16)] = Field(
        Uniform(kind="uniform", low=1, high=4), description="Number of pieces, each at a side by chance."
    )
    height: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.12, high=0.35),
        description="Where a piece leaves the body: 0 at the top of the silhouette, 1 at its lower end.",
    )
    length: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.02, high=0.1), description="How far it sticks out, in heights of the silhouette."
    )
    thickness: Annotated[Distribution, Within(0, 0.5)] = Field(
        Uniform(kind="uniform", low=0.006, high=0.025), description="At the body, in heights of the silhouette."
    )
    angle_deg: Annotated[Distribution, Within(-90, 90)] = Field(
        Uniform(kind="uniform", low=-50, high=70), description="Slope: 0 points outwards, positive slopes down."
    )
    coverage: Annotated[Distribution, Within(0, 1)] = Field(
        Constant(value=0.8), description="Fraction of a piece that is left of it; the rest is broken away."
    )


class Artefacts(_Section):
    """What is done to a clean mask, in this order; a part left out is not done."""

    table_remains: TableRemains | None = None
    rough_edge: RoughEdge | None = None
    holes: Holes | None = None
    speckle: Speckle | None = None
    noisy_border: NoisyBorder | None = None


def apply_artefacts(mask: Mask, artefacts: Artefacts, seed: int, epoch: int, index: int) -> Mask:
    """Return a copy of a clean mask (H, W) with the artefacts of one sample in one epoch.

    Args:
        mask: True on the silhouette.
        artefacts: What to do; the mask comes back as it was when every part is left out.
        seed: The spec's seed.
        epoch: Another epoch draws other artefacts.
        index: The sample's index.
    """
    result = np.array(mask, dtype=bool)
    for name in type(artefacts).model_fields:
        section = getattr(artefacts, name)
        if section is None:
            continue
        rng = stream(seed, index, f"artefact/{epoch}/{name}")
        if rng.random() < section.probability:
            result = _APPLY[name](result, section, rng)
    return result


def _draw(distribution: Distribution, rng: np.random.Generator) -> float:
    return float(distribution.draw(rng, 1)[0])


def _table_remains(mask: Mask, remains: TableRemains, rng: np.random.Generator) -> Mask:
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


def _patchy(shape: tuple[int, ...], coverage: float, rng: np.random.Generator) -> Mask:
    """Return a mask (H, W) of 2 x 2 pixel patches, of which ``coverage`` are on."""
    coarse = rng.random(((shape[0] + 1) // 2, (shape[1] + 1) // 2), dtype=np.float32) < coverage
    return coarse.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def _rough_edge(mask: Mask, rough: RoughEdge, rng: np.random.Generator) -> Mask:
    smooth, length, white = (_draw(d, rng) for d in (rough.smooth_px, rough.smooth_length_px, rough.white_px))
    noise = np.float32(smooth) * _smooth_noise(mask.shape, length, rng)
    noise += np.float32(white) * rng.standard_normal(mask.shape, dtype=np.float32)
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


def _smooth_noise(shape: tuple[int, ...], length: float, rng: np.random.Generator) -> Field2D:
    """Return (H, W) noise of zero mean and unit deviation that varies over ``length`` pixels (value noise)."""
    counts = [int(n / length) + 3 for n in shape]
    field = rng.standard_normal(counts, dtype=np.float32)
    for axis, n in enumerate(shape):
        position = (np.arange(n, dtype=np.float32) / np.float32(length)) + np.float32(rng.random())
        cell = position.astype(np.intp)
        weight = position - cell
        weight = weight.reshape((-1, 1) if axis == 0 else (1, -1))
        near, far = field.take(cell, axis=axis), field.take(cell + 1, axis=axis)
        field = (near * (1 - weight) + far * weight) / np.sqrt((1 - weight) ** 2 + weight**2)
    return field


def _holes(mask: Mask, holes: Holes, rng: np.random.Generator) -> Mask:
    return mask & ~_blobs(mask, holes, rng)


def _speckle(mask: Mask, speckle: Speckle, rng: np.random.Generator) -> Mask:
    return mask | _blobs(~mask, speckle, rng)


def _blobs(where: Mask, blobs: Speckle | Holes, rng: np.random.Generator) -> Mask:
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


def _noisy_border(mask: Mask, border: NoisyBorder, rng: np.random.Generator) -> Mask:
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
