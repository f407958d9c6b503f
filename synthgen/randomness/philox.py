"""Philox 4x64-10 and its seeding, compiled with numba: the random streams of many samples in one call.

Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*; O'Neill 2015, *Simple portable C++ seed entropy*. The
words and uniforms equal those of numpy's ``Philox`` and ``SeedSequence``, which tests compare bit for bit; numpy would
need a new generator for every sample, and a reset of its state for every substream. The normal variates differ from
numpy's: its method is longer and would have no benefit, because no stored byte depends on them.
"""

import math
from statistics import NormalDist
from typing import Any, cast

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, register_jitable
from numpy.typing import NDArray

from synthgen.geometry import Floats

Words = NDArray[np.uint64]
States = NDArray[np.uint64]
"""(n, 8) states of sequential streams: the key (two words), the counter, the number of used words of the current block,
and the block (four words)."""
_COUNTER, _USED, _BLOCK, _STATE_WORDS = 2, 3, 4, 8
_MULTIPLY = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_BUMP = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_ROUNDS = 10
_NONE, _HALF, _LOW_HALF = np.uint64(0), np.uint64(32), np.uint64(0xFFFFFFFF)
_UNUSED, _UNIT = np.uint64(11), 2.0**-53
_POOL = 4
"""Number of words in a seed sequence's pool, and in a block of Philox."""
_FIRST, _FIRST_FACTOR = np.uint64(0x43B0D7E5), np.uint64(0x931E8875)
_LAST, _LAST_FACTOR = np.uint64(0x8B51F9DD), np.uint64(0x58F38DED)
_LEFT, _RIGHT, _SHIFT = np.uint64(0xCA01F9DD), np.uint64(0x4973F715), np.uint64(16)


@register_jitable
def _hashed(word: np.uint64, constant: np.uint64, factor: np.uint64) -> tuple[np.uint64, np.uint64]:  # pragma: no cover
    """Hash a 32-bit word; the constant changes with every word."""
    word = word ^ constant
    constant = (constant * factor) & _LOW_HALF
    word = (word * constant) & _LOW_HALF
    return word ^ (word >> _SHIFT), constant


def stream_keys(entropy: Words) -> Words:
    """Return the keys (N, 2) that ``SeedSequence`` derives from 32-bit words (N, at least 4)."""
    pools = np.empty((len(entropy), _POOL), dtype=np.uint64)
    _mix(pools, entropy)
    return pools[:, ::2] | pools[:, 1::2] << _HALF


@njit(cache=True)
def _mix(pools: Words, entropy: Words) -> None:  # pragma: no cover
    """Fill pools (N, 4) with the 32-bit words of the keys."""
    for n in range(len(entropy)):
        constant, pool = _FIRST, pools[n]
        for i in range(_POOL):
            pool[i], constant = _hashed(entropy[n, i], constant, _FIRST_FACTOR)
        for source in range(entropy.shape[1]):
            for i in range(_POOL):
                if source != i:
                    word, constant = _hashed(
                        pool[source] if source < _POOL else entropy[n, source], constant, _FIRST_FACTOR
                    )
                    word = (_LEFT * pool[i] - _RIGHT * word) & _LOW_HALF
                    pool[i] = word ^ (word >> _SHIFT)
        constant = _LAST
        for i in range(_POOL):
            pool[i], constant = _hashed(pool[i], constant, _LAST_FACTOR)


def _upper_half(_: Any, first: Any, second: Any) -> Any:
    """Upper 64 bits of the product of two uint64, by LLVM's 128-bit integers, which numba lacks."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        single = values[0].type
        double = type(single)(128)
        product = builder.mul(*(builder.zext(value, double) for value in values))
        return builder.trunc(builder.lshr(product, double(64)), single)

    return types.uint64(first, second), generate


_high: Any = intrinsic(_upper_half)


@register_jitable
def _block(counter: Any, code: Any, key: Any, other: Any) -> Any:  # pragma: no cover
    """Return the four words of the counter (counter, 0, 0, code)."""
    a, b, c, d = counter, _NONE, _NONE, code
    for _ in range(_ROUNDS):
        a, b, c, d = (
            _high(_MULTIPLY[1], c) ^ b ^ key,
            _MULTIPLY[1] * c,
            _high(_MULTIPLY[0], a) ^ d ^ other,
            _MULTIPLY[0] * a,
        )
        key, other = key + _BUMP[0], other + _BUMP[1]
    return a, b, c, d


def uniforms(keys: Words, codes: Words, place: int) -> NDArray[np.float64]:
    """Return one double in [0, 1) per key and substream, (N, C); the counter of a substream starts at (0, 0, 0, code).

    Args:
        keys: (N, 2)
        codes: (C,)
        place: Position of the double in each substream, from 0.
    """
    out = np.empty((len(keys), len(codes)))
    block = np.uint64(place // _POOL + 1)  # the counter is incremented before a draw
    _fill_uniforms(out, keys, codes, block, place % _POOL)
    return out


@njit(cache=True)
def _fill_uniforms(
    out: NDArray[np.float64], keys: Words, codes: Words, block: np.uint64, lane: int
) -> None:  # pragma: no cover
    """Fill out (N, C) with one of the four doubles of a block."""
    for n in range(len(keys)):
        for i in range(len(codes)):
            a, b, c, d = _block(block, codes[i], keys[n, 0], keys[n, 1])
            word = a if lane == 0 else b if lane == 1 else c if lane == 2 else d
            out[n, i] = (word >> _UNUSED) * _UNIT


class Sequences:
    """Sequential streams of n samples, which numpy code and kernels may read in turn."""

    def __init__(self, keys: Words) -> None:
        self.states: States = np.zeros((len(keys), _STATE_WORDS), dtype=np.uint64)
        self.states[:, :_COUNTER], self.states[:, _USED] = keys, _POOL

    def each(self, counts: NDArray[np.int64] | int = 1) -> np.random.Generator:
        """Return a stand-in for a generator that draws the next ``counts`` numbers of each stream in one call.

        Args:
            counts: (n,), or one count for all streams. ``random`` must be called with their sum; it returns the
                numbers grouped by stream.

        """
        return cast("np.random.Generator", _Joined(self.states, counts))


class _Joined:
    """The part of the generator interface that `synthgen.specs.distributions` uses."""

    def __init__(self, states: States, counts: NDArray[np.int64] | int) -> None:
        self._states = states
        self._counts = np.broadcast_to(np.asarray(counts, dtype=np.int64), len(states))

    def random(self, n: int) -> Floats:
        if n != self._counts.sum():
            raise ValueError(f"n: value {n} is not the sum of the counts; use {self._counts.sum()}")
        out = np.empty(n)
        _fill_doubles(self._states, self._counts, out)
        return out


@njit(cache=True, nogil=True)
def _fill_doubles(states: States, counts: NDArray[np.int64], out: Floats) -> None:  # pragma: no cover
    place = 0
    for n in range(len(states)):
        for _ in range(counts[n]):
            out[place] = next_double(states[n])
            place += 1


@njit(cache=True, nogil=True)
def _next_block(state: States) -> None:  # pragma: no cover
    state[_COUNTER] += np.uint64(1)
    a, b, c, d = _block(state[_COUNTER], _NONE, state[0], state[1])
    state[_BLOCK], state[_BLOCK + 1], state[_BLOCK + 2], state[_BLOCK + 3] = a, b, c, d
    state[_USED] = _NONE


@njit(cache=True, nogil=True, forceinline=True)
def next_word(state: States) -> Any:  # pragma: no cover
    """Next 64 bits of a stream (8,)."""
    if state[_USED] >= np.uint64(_POOL):
        _next_block(state)
    used = state[_USED]
    state[_USED] = used + np.uint64(1)
    return state[_BLOCK + np.int64(used)]


@njit(cache=True, nogil=True, forceinline=True)
def next_double(state: States) -> Any:  # pragma: no cover
    """Next number in [0, 1) of a stream (8,)."""
    return np.float64(next_word(state) >> _UNUSED) * _UNIT


def _normal_cells() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lower bounds and widths of cells of equal probability; the first and the last are the tails."""
    edges = np.array([NormalDist().inv_cdf(i / _CELLS) for i in range(1, _CELLS)])
    edges = np.concatenate([edges[:1], edges, edges[-1:]])
    return edges[:-1].astype(np.float32), np.diff(edges).astype(np.float32)


_CELL_BITS = 11
_CELLS = 1 << _CELL_BITS
_EDGE, _WIDTH = _normal_cells()
_TAIL = -NormalDist().inv_cdf(1 / _CELLS)
_WITHIN_BITS = 32 - _CELL_BITS
_WITHIN, _WITHIN_UNIT = np.uint64((1 << _WITHIN_BITS) - 1), np.float32(2.0**-_WITHIN_BITS)


@njit(cache=True, nogil=True)
def fill_normals(state: States, out: NDArray[np.float32]) -> None:  # pragma: no cover
    """Fill an array (n,) with the next standard normal variates of a stream (8,), two per word.

    Inverts the distribution function, exactly at the bounds of cells of probability 1/2048 and linearly within them,
    with an error of the distribution function of at most 0.00005; the tails are exact.
    """
    word = _NONE
    for i in range(len(out)):
        word = word >> _HALF if i & 1 else next_word(state)
        half = word & _LOW_HALF
        cell = np.int64(half >> np.uint64(_WITHIN_BITS))
        out[i] = _EDGE[cell] + _WIDTH[cell] * (np.float32(half & _WITHIN) * _WITHIN_UNIT)
        if cell == 0 or cell == _CELLS - 1:  # numba would build a set for `in`
            out[i] = _upper_tail(state) if cell else -_upper_tail(state)


@njit(cache=True, nogil=True)
def _upper_tail(state: States) -> Any:  # pragma: no cover
    """Draw a normal variate from the upper tail (Marsaglia 1964, *Generating a variable from the tail*)."""
    while True:
        over = -math.log1p(-next_double(state)) / _TAIL
        if -2 * math.log1p(-next_double(state)) > over * over:
            return np.float32(_TAIL + over)
