"""The compiled half of `synthgen.specs.artefacts`: draws what is done to a batch of masks, and changes their pixels.

Numbers that are drawn per sample or per piece come from numpy code, those per pixel from the loops. The tests hold a
plain numpy version, which gives the same pixels from the same streams.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthgen.geometry import Floats
from synthgen.randomness.philox import Sequences, States, fill_normals, next_double
from synthgen.randomness.seeding import Streams
from synthgen.specs.artefacts import Artefacts, Holes, NoisyBorder, RoughEdge, Speckle, TableRemains
from synthgen.specs.distributions import Distribution

Masks = NDArray[np.uint8]
"""(n, H, W), 0 or 1."""
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Pair = tuple[float, float]
_MOST_STEPS = 12
"""Pixels that an outline moves at most."""


def change_masks(masks: Masks, artefacts: Artefacts, seed: int, epoch: int, indices: Ints) -> None:
    """Apply artefacts in place; see `synthgen.specs.artefacts.apply_artefacts`."""
    for name in type(artefacts).model_fields:
        section = getattr(artefacts, name)
        if section is not None:
            streams = Sequences(Streams(seed, tuple(indices.tolist()), f"artefact/{epoch}/{name}").keys)
            hit = streams.each().random(len(masks)) < section.probability
            _APPLY[name](masks, section, streams, hit)


def _one(distribution: Distribution, streams: Sequences) -> Floats:
    """Draw one number for each sample, (n,)."""
    return distribution.draw(streams.each(), len(streams.states))


def _counts(distribution: Distribution, streams: Sequences, hit: Flags) -> Ints:
    """Draw a count for each sample, (n,), 0 where the artefact is not."""
    return np.where(hit, np.rint(_one(distribution, streams)), 0).astype(np.int64)


def _table_remains(masks: Masks, remains: TableRemains, streams: Sequences, hit: Flags) -> None:
    counts = _counts(remains.count, streams, hit)
    total = int(counts.sum())
    right = streams.each(counts).random(total) < 0.5
    height, length, thickness, slope, coverage = (
        distribution.draw(streams.each(counts), total)
        for distribution in (remains.height, remains.length, remains.thickness, remains.angle_deg, remains.coverage)
    )
    angle = np.deg2rad(slope)
    direction = np.stack([np.cos(angle) * np.where(right, 1, -1), np.sin(angle)], axis=1)
    pieces = np.column_stack([right, height, length, thickness, direction, coverage])
    _draw_remains(masks, streams.states, counts, pieces)


def _rough_edge(masks: Masks, rough: RoughEdge, streams: Sequences, hit: Flags) -> None:
    noise = np.stack([_one(d, streams) for d in (rough.smooth_px, rough.smooth_length_px, rough.white_px)], axis=1)
    _roughen(masks, streams.states, hit, noise)


def _holes(masks: Masks, holes: Holes, streams: Sequences, hit: Flags) -> None:
    _blobs(masks, holes, streams, hit, np.uint8(1))


def _speckle(masks: Masks, speckle: Speckle, streams: Sequences, hit: Flags) -> None:
    _blobs(masks, speckle, streams, hit, np.uint8(0))


def _blobs(masks: Masks, blobs: Speckle | Holes, streams: Sequences, hit: Flags, where: np.uint8) -> None:
    """Turn irregular blobs over whose centres lie where the masks have one value."""
    counts = _counts(blobs.count, streams, hit)
    total = int(counts.sum())
    radius = blobs.radius_px.draw(streams.each(counts), total)
    place = streams.each(counts).random(total)
    _draw_blobs(masks, streams.states, counts, np.column_stack([radius, place]), where)


def _noisy_border(masks: Masks, border: NoisyBorder, streams: Sequences, hit: Flags) -> None:
    for side in border.sides:
        turned = masks if side in {"bottom", "top"} else masks.transpose(0, 2, 1)
        turned = turned[:, ::-1] if side in {"top", "left"} else turned  # a view: its last rows are the border's
        counts = np.minimum(_counts(border.rows, streams, hit), turned.shape[1])
        chances = np.stack([_one(border.add, streams), _one(border.remove, streams)], axis=1)
        _disturb(turned, streams.states, counts, chances)


@njit(cache=True, nogil=True)
def _draw_remains(masks: Masks, states: States, counts: Ints, pieces: Floats) -> None:  # pragma: no cover
    """Add pieces (right, height, length, thickness, x, y, coverage), (p, 7), to the masks that have them."""
    tall, wide = masks.shape[1:]
    coarse = np.empty(((tall + 1) // 2, (wide + 1) // 2), dtype=np.bool_)
    end = 0
    for n in range(len(masks)):
        begin, end = end, end + counts[n]
        clean = masks[n].copy()
        first, last = _rows(clean)
        if last < first:
            continue
        for k in range(begin, end):
            right, height, length, thickness, dx, dy, coverage = pieces[k]
            row = min(first + int(height * (last + 1 - first)), last)
            start = _outermost(clean[row], right > 0)
            if start < 0:
                continue
            for i in range(coarse.shape[0]):
                for j in range(coarse.shape[1]):
                    coarse[i, j] = next_double(states[n]) < coverage
            size = (length * (last + 1 - first), thickness * (last + 1 - first))
            _wedge(masks[n], coarse, (start + 0.5, row + 0.5), (np.float32(dx), np.float32(dy)), size)


@njit(cache=True, nogil=True)
def _rows(mask: Bytes) -> tuple[int, int]:  # pragma: no cover
    """First and last row that is not empty; the last before the first where all are."""
    first, last = len(mask), -1
    for y in range(len(mask)):
        if mask[y].any():
            first, last = min(first, y), y
    return first, last


@njit(cache=True, nogil=True)
def _outermost(row: Bytes, right: Any) -> int:  # pragma: no cover
    """Column of the first pixel of a row that is on, or of its last; -1 where all are off."""
    found = -1
    for x in range(len(row)):
        if row[x]:
            found = x
            if not right:
                break
    return found


@njit(cache=True, nogil=True)
def _wedge(mask: Bytes, coarse: NDArray[np.bool_], start: Pair, direction: Any, size: Pair) -> None:  # pragma: no cover
    """Add a slab that tapers from its start, where the patches of 2 x 2 pixels are on."""
    dx, dy = direction
    length, half = np.float32(max(size[0], 1e-3)), np.float32(size[1] / 2)
    left, top = np.float32(0.5 - start[0]), np.float32(0.5 - start[1])
    reach = int(length + half) + 2
    for row in range(max(int(start[1]) - reach, 0), min(int(start[1]) + reach, mask.shape[0])):
        y = np.float32(row) + top
        for column in range(max(int(start[0]) - reach, 0), min(int(start[0]) + reach, mask.shape[1])):
            x = np.float32(column) + left
            along = np.float32(x * dx) + np.float32(y * dy)
            across = abs(np.float32(y * dx) - np.float32(x * dy))
            if np.float32(0) <= along <= length:
                taper = np.float32(1) - np.float32(np.float32(0.6) * along) / length
                if across <= half * taper and coarse[row // 2, column // 2]:
                    mask[row, column] = 1


@njit(cache=True, nogil=True)
def _roughen(masks: Masks, states: States, hit: Flags, noise: Floats) -> None:  # pragma: no cover
    """Move the outlines by noise (smooth, length, white), (n, 3)."""
    height, width = masks.shape[1:]
    white, both = np.empty(height * width, dtype=np.float32), np.empty((height, width))
    padded = (height + 2) * (width + 2)  # a margin of a pixel saves the loops their borders
    spare = (np.zeros(padded, np.uint8), np.zeros(padded, np.uint8), np.zeros(padded, np.uint8))
    upright, distance = np.zeros(padded, np.uint8), np.zeros(padded, np.int8)
    for n in range(len(masks)):
        if not hit[n]:
            continue
        _smooth_noise(both, states[n], noise[n, 1])
        fill_normals(states[n], white)
        largest = _add_noise(both, white, np.float64(np.float32(noise[n, 0])), np.float32(noise[n, 2]))
        # At least as many steps as the definition's: from there on, more of them change nothing.
        steps = min(largest + 1, _MOST_STEPS)
        _signed_distance(masks[n], steps, distance, upright, spare)
        for y in range(height):
            start, row, moved = (y + 1) * (width + 2) + 1, masks[n, y], both[y]
            signed = distance[start : start + width]
            for x in range(width):
                row[x] = np.uint8(np.float64(signed[x]) - (steps + 0.5) + moved[x] > 0)


@njit(cache=True, nogil=True)
def _add_noise(both: Floats, white: NDArray[np.float32], smooth_px: Any, white_px: Any) -> Any:  # pragma: no cover
    """Scale the smooth noise (H, W), add the white one, and return the size of the largest sum, rounded down."""
    width, largest = both.shape[1], np.int32(0)
    for y in range(len(both)):
        row, more = both[y], white[y * width : (y + 1) * width]
        for x in range(width):
            row[x] = smooth_px * row[x] + np.float64(white_px * more[x])
            largest = max(largest, np.int32(abs(row[x])))
    return largest


@njit(cache=True, nogil=True)
def _signed_distance(
    mask: Bytes, steps: int, distance: NDArray[np.int8], upright: Bytes, spare: Any
) -> None:  # pragma: no cover
    """Sum up what the mask and its background become when they grow step by step; all but the mask with a margin."""
    height, width = mask.shape
    grown, shrunk, other = spare
    grown[:], shrunk[:] = 0, 0
    for y in range(height):
        start, row = (y + 1) * (width + 2) + 1, mask[y]
        inside, outside = grown[start : start + width], shrunk[start : start + width]
        for x in range(width):
            inside[x], outside[x] = row[x], np.uint8(1) - row[x]
    distance[:] = grown
    for step in range(steps):
        _dilate(grown, other, upright, width, step % 2 == 1)
        grown, other = other, grown
        _dilate(shrunk, other, upright, width, step % 2 == 1)
        shrunk, other = other, shrunk
        for i in range(len(distance)):
            distance[i] += np.int8(grown[i] + np.uint8(1) - shrunk[i])


@njit(cache=True, nogil=True)
def _smooth_noise(out: Floats, state: States, length: float) -> None:  # pragma: no cover
    """Fill (H, W) with noise of zero mean and unit deviation that varies over a length."""
    height, width = out.shape
    rows, columns = int(height / length) + 3, int(width / length) + 3
    coarse = np.empty(rows * columns, dtype=np.float32)
    fill_normals(state, coarse)
    half = np.empty((height, columns))
    cells, weights, norms = _places(height, length, next_double(state))
    for y in range(height):
        cell, weight, norm = cells[y], weights[y], norms[y]
        for x in range(columns):
            near, far = np.float64(coarse[cell * columns + x]), np.float64(coarse[(cell + 1) * columns + x])
            half[y, x] = (near * (1 - weight) + far * weight) / norm
    cells, weights, norms = _places(width, length, next_double(state))
    for y in range(height):
        row, source = out[y], half[y]
        for x in range(width):
            cell = cells[x]
            row[x] = (source[cell] * (1 - weights[x]) + source[cell + np.uint32(1)] * weights[x]) / norms[x]


@njit(cache=True, nogil=True)
def _places(count: int, length: float, shift: float) -> tuple[NDArray[np.uint32], Floats, Floats]:  # pragma: no cover
    """Where pixels lie in the coarse noise: cells, weights of the next cell, and what their mixture's deviation is."""
    cells, weights, norms = np.empty(count, dtype=np.uint32), np.empty(count), np.empty(count)
    for i in range(count):
        place = np.float32(i) / np.float32(length) + np.float32(shift)
        cells[i] = np.uint32(place)
        weights[i] = np.float64(place) - np.float64(cells[i])
        norms[i] = np.sqrt((1 - weights[i]) * (1 - weights[i]) + weights[i] * weights[i])
    return cells, weights, norms


@njit(cache=True, nogil=True)
def _dilate(mask: Bytes, out: Bytes, upright: Bytes, width: int, diagonal: Any) -> None:  # pragma: no cover
    """Grow a mask in a margin of a pixel, ((H + 2) * (W + 2),), by its 4 neighbours or by 8; the margin stays empty."""
    stride = width + 2
    inner = len(mask) - 2 * stride
    # Slices that are shifted against each other: their indices are never negative, which lets the loops be vectorized.
    here, above, below = mask[stride : stride + inner], mask[:inner], mask[2 * stride :]
    column = upright[stride : stride + inner]
    for i in range(inner):
        column[i] = here[i] | above[i] | below[i]
    source = upright if diagonal else mask
    before, after = source[stride - 1 : stride - 1 + inner], source[stride + 1 : stride + 1 + inner]
    result = out[stride : stride + inner]
    for i in range(inner):
        result[i] = column[i] | before[i] | after[i]
    for i in range(0, inner, stride):
        result[i], result[i + stride - 1] = 0, 0


@njit(cache=True, nogil=True)
def _draw_blobs(masks: Masks, states: States, counts: Ints, blobs: Floats, where: Any) -> None:  # pragma: no cover
    """Turn over blobs (radius, place), (p, 2), whose centres lie where the masks have a value."""
    height, width = masks.shape[1:]
    inside = np.empty(height * width, dtype=np.int64)
    end = 0
    for n in range(len(masks)):
        begin, end = end, end + counts[n]
        flat, size = masks[n].reshape(-1), 0
        if begin == end:
            continue
        for pixel in range(len(flat)):
            if flat[pixel] == where:
                inside[size] = pixel
                size += 1
        if size == 0:
            continue
        reach = int(np.ceil(blobs[begin:end, 0].max() * 1.4))
        for k in range(begin, end):
            row, column = divmod(inside[int(blobs[k, 1] * size)], width)
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    ragged = 0.6 + 0.8 * next_double(states[n])
                    y, x = row + dy, column + dx
                    within = 0 <= y < height and 0 <= x < width
                    if within and np.sqrt(np.float64(dx * dx + dy * dy)) <= blobs[k, 0] * ragged:
                        masks[n, y, x] = 1 - where


@njit(cache=True, nogil=True)
def _disturb(masks: Masks, states: States, counts: Ints, chances: Floats) -> None:  # pragma: no cover
    """Turn over pixels of the last rows by chances (to add, to remove), (n, 2)."""
    height, width = masks.shape[1:]
    for n in range(len(masks)):
        rows = counts[n]
        for i in range(rows):
            strength = (i + 1.0) / rows
            for x in range(width):
                y = height - rows + i
                chance = chances[n, 1] if masks[n, y, x] else chances[n, 0]
                if next_double(states[n]) < strength * chance:
                    masks[n, y, x] ^= 1


_APPLY: dict[str, Callable[[Masks, Any, Sequences, Flags], None]] = {
    "table_remains": _table_remains,
    "rough_edge": _rough_edge,
    "holes": _holes,
    "speckle": _speckle,
    "noisy_border": _noisy_border,
}
