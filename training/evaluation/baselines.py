"""What the paper compares networks with: nearest neighbours, a random regression forest, and the mean depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from synthgen.geometry import Floats
from synthgen.randomness.seeding import stream
from synthgen.storage.depth import normalize_depth
from synthgen.training.evaluation.errors import known_mean, landmark_depths_mm
from synthgen.training.scans.scan_set import Scan

NEIGHBOURS = 3
TREES, DEPTH, FEATURES = 8, 25, 4096
"""The forest: trees, their depth, and the pixel differences from which each node draws the root of their number."""
_WORD = 64
_BLOCK = 16
"""Masks that are compared with one query after another: 18 KB at 96 x 96, which stay in the nearest cache."""

Masks = NDArray[np.bool_]
"""(N, H, W)"""
Packed = NDArray[np.uint64]
"""(N, ceil(H * W / 64)): the pixels of each mask as bits, 1,152 bytes at 96 x 96."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest masks of Q queries, nearest first; of equally near ones the first."""

    rows: NDArray[np.int64]
    """(Q, k) position of the mask among all, -1 where there are fewer than k."""
    distances: NDArray[np.int64]
    """(Q, k) Hamming distance: pixels that differ."""


def pack_words(masks: Masks) -> Packed:
    """Pack masks (N, H, W) into bits; what is left of the last word is 0."""
    bits = np.packbits(masks.reshape(len(masks), -1), axis=1)
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % (_WORD // 8))))
    return np.ascontiguousarray(padded).view(np.uint64)


def nearest(
    queries: Packed, masks: Packed, k: int = NEIGHBOURS, *, found: Neighbours | None = None, start: int = 0
) -> Neighbours:
    """Return the k nearest masks of each query, by Hamming distance, exactly.

    A set that does not fit memory comes in parts, in order: each call takes what the last one found.

    Args:
        queries: (Q, W) packed.
        masks: (N, W) packed, of patches of the same size.
        k: How many.
        found: What was found among masks before these.
        start: How many masks there were before these.

    """
    if queries.shape[1:] != masks.shape[1:]:
        raise ValueError(f"queries of {queries.shape[1:]} words and masks of {masks.shape[1:]} are not of one size")
    if found is None:
        shape = (len(queries), k)
        found = Neighbours(np.full(shape, -1), np.full(shape, np.iinfo(np.int64).max))
    better = Neighbours(found.rows.copy(), found.distances.copy())
    _search(queries, masks, start, better.rows, better.distances)
    return better


def _ones(_typing: Any, _word: Any) -> Any:
    """Count the bits of a word that are 1, by the processor's own instruction."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


_count_ones: Any = intrinsic(_ones)


@njit(cache=True)
def _search(
    queries: Packed, masks: Packed, start: int, rows: NDArray[np.int64], distances: NDArray[np.int64]
) -> None:  # pragma: no cover
    """Insert masks into the sorted lists (Q, k) of the nearest so far."""
    k = rows.shape[1]
    for first in range(0, len(masks), _BLOCK):
        for q in range(len(queries)):
            query, worst = queries[q], distances[q, k - 1]
            for m in range(first, min(first + _BLOCK, len(masks))):
                mask, ones = masks[m], np.uint64(0)
                for word in range(len(query)):
                    ones += _count_ones(query[word] ^ mask[word])
                distance = np.int64(ones)
                if distance < worst:
                    place = k - 1
                    while place > 0 and distances[q, place - 1] > distance:
                        distances[q, place], rows[q, place] = distances[q, place - 1], rows[q, place - 1]
                        place -= 1
                    distances[q, place], rows[q, place] = distance, start + m
                    worst = distances[q, k - 1]


def mean_annotation(neighbours: Neighbours, landmarks_px: Floats) -> Floats:
    """Return the mean annotation of each query's neighbours.

    Args:
        neighbours: Of Q queries.
        landmarks_px: (N, K, 2) of all masks, NaN where missing.

    Returns:
        (Q, K, 2). Where no neighbour has a landmark it is the mean of all that have it, NaN if there are none.

    """
    near = np.where((neighbours.rows >= 0)[..., None, None], landmarks_px[neighbours.rows], np.nan)
    usual = known_mean(landmarks_px, axis=0)
    mean = known_mean(near, axis=1)
    return np.where(np.isfinite(mean), mean, usual)


@dataclass(frozen=True)
class Forest:
    """A random regression forest on pixel differences: the mean over trees of the mean vector of the leaf reached."""

    pixels: NDArray[np.int64]
    """(F, 2) the two pixels of each difference, counted along the rows of the patch."""
    parts: tuple[tuple[NDArray[np.int64], Any], ...]
    """Landmarks that the same scans have, and their trees; a single part where nothing is missing."""
    landmarks: int

    def predict(self, masks: Masks) -> Floats:
        """Predict the landmarks of masks (M, H, W): (M, K, 2), NaN for one that no training scan has."""
        features = _differences(masks, self.pixels)
        points = np.full((len(masks), self.landmarks, 2), np.nan)
        for columns, trees in self.parts:
            points[:, columns] = trees.predict(features).reshape(len(masks), len(columns), 2)
        return points


def grow_forest(masks: Masks, landmarks_px: Floats, seed: int = 0) -> Forest:
    """Grow a forest as the paper's group did (SCIA 2015): 8 trees of depth 25 on differences of two random pixels.

    Every tree sees all patches; what makes trees differ is what each node chooses from (Criminisi et al. 2011): 64
    differences, which do as well as more.

    Args:
        masks: (N, H, W), at least one.
        landmarks_px: (N, K, 2), NaN where missing.
        seed: Another seed grows another forest.

    """
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415 (slow to load, and neighbours do without it)

    rng = stream(seed, 0, "forest")
    pixels = rng.integers(0, masks[0].size, size=(FEATURES, 2))
    state = int(rng.integers(2**31))
    features = _differences(masks, pixels)
    known = np.isfinite(landmarks_px).all(axis=2)
    parts = []
    for pattern in np.unique(known.T, axis=0):
        if not pattern.any():
            continue
        columns = np.flatnonzero((pattern == known.T).all(axis=1))
        trees = RandomForestRegressor(
            TREES, max_depth=DEPTH, max_features="sqrt", bootstrap=False, random_state=state, n_jobs=1
        )
        targets = landmarks_px[pattern][:, columns].reshape(int(pattern.sum()), -1)
        parts.append((columns, trees.fit(features[pattern], targets)))
    return Forest(pixels, tuple(parts), landmarks_px.shape[1])


def _differences(masks: Masks, pixels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the pixel differences of masks, (N, F): -1, 0 or 1."""
    flat = masks.reshape(len(masks), -1).astype(np.float32)
    return flat[:, pixels[:, 0]] - flat[:, pixels[:, 1]]


def mean_depths(train: Sequence[Scan], test: Sequence[Scan], *, normalized: bool = False) -> Floats:
    """Predict the mean depth of the training scans' landmarks.

    Args:
        train: Scans with depth.
        test: Others, M.
        normalized: Average depths relative to the mean and the deviation of each scan's own depth image, which does not
            depend on where a scan lies in its volume; the paper averages depths as they are.

    Returns:
        (M, K) mm along the patches' depth, NaN for a landmark that no training scan has.

    """
    codings = [_coding(scan) if normalized else (0.0, 1.0) for scan in (*train, *test)]
    known = [(landmark_depths_mm(scan) - mean) / deviation
             for scan, (mean, deviation) in zip(train, codings[: len(train)], strict=True)]  # fmt: skip
    usual = known_mean(np.stack(known), axis=0)
    return np.stack([usual * deviation + mean for mean, deviation in codings[len(train) :]])


def _coding(scan: Scan) -> tuple[float, float]:
    if scan.depth_mm is None:
        return 0.0, 1.0
    _, mean, deviation = normalize_depth(np.where(np.isfinite(scan.depth_mm), scan.depth_mm, np.float32(np.inf)))
    return mean, deviation
