"""Philox 4x64-10 and its seeding, compiled: a uniform from each of many substreams of many samples at once.

Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*; O'Neill 2015, *Simple portable C++ seed entropy*. The
numbers are those of numpy's ``Philox`` and ``SeedSequence``, which the tests hold them to; numpy has to make a
generator for every sample, and to set its state anew for every substream.
"""

import numpy as np
from numba import njit
from numba.extending import register_jitable
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_MULTIPLY = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_BUMP = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_ROUNDS = 10
_NONE, _HALF, _LOW_HALF = np.uint64(0), np.uint64(32), np.uint64(0xFFFFFFFF)
_UNUSED, _UNIT = np.uint64(11), 2.0**-53
_POOL = 4
"""Words of a seed sequence's pool, and of a block of Philox."""
_FIRST, _FIRST_FACTOR = np.uint64(0x43B0D7E5), np.uint64(0x931E8875)
_LAST, _LAST_FACTOR = np.uint64(0x8B51F9DD), np.uint64(0x58F38DED)
_LEFT, _RIGHT, _SHIFT = np.uint64(0xCA01F9DD), np.uint64(0x4973F715), np.uint64(16)


@register_jitable
def _hashed(word: np.uint64, constant: np.uint64, factor: np.uint64) -> tuple[np.uint64, np.uint64]:  # pragma: no cover
    """Hash a word of 32 bits; the constant changes with every word."""
    word = word ^ constant
    constant = (constant * factor) & _LOW_HALF
    word = (word * constant) & _LOW_HALF
    return word ^ (word >> _SHIFT), constant


def stream_keys(entropy: Words) -> Words:
    """Return the keys (N, 2) that ``SeedSequence`` makes of words (N, at least 4) of 32 bits each."""
    pools = np.empty((len(entropy), _POOL), dtype=np.uint64)
    _mix(pools, entropy)
    return pools[:, ::2] | pools[:, 1::2] << _HALF


@njit(cache=True)
def _mix(pools: Words, entropy: Words) -> None:  # pragma: no cover
    """Fill pools (N, 4) with the words of 32 bits that make up the keys."""
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


@register_jitable
def _high(a: np.uint64, b: np.uint64) -> np.uint64:  # pragma: no cover
    """Return the upper half of the product of two 64-bit numbers."""
    a_high, a_low, b_high, b_low = a >> _HALF, a & _LOW_HALF, b >> _HALF, b & _LOW_HALF
    first, second = a_high * b_low, a_low * b_high
    carry = ((a_low * b_low) >> _HALF) + (first & _LOW_HALF) + (second & _LOW_HALF)
    return a_high * b_high + (first >> _HALF) + (second >> _HALF) + (carry >> _HALF)


def uniforms(keys: Words, codes: Words, place: int) -> NDArray[np.float64]:
    """Return a double in [0, 1), (N, C), of the substreams whose counters start at (0, 0, 0, code).

    Args:
        keys: (N, 2)
        codes: (C,)
        place: Which double of each substream, 0 the first.
    """
    out = np.empty((len(keys), len(codes)))
    block = np.uint64(place // _POOL + 1)  # counted up before a draw
    _fill_uniforms(out, keys, codes, block, place % _POOL)
    return out


@njit(cache=True)
def _fill_uniforms(
    out: NDArray[np.float64], keys: Words, codes: Words, block: np.uint64, lane: int
) -> None:  # pragma: no cover
    """Fill out (N, C) with one of the four doubles of a block."""
    for n in range(len(keys)):
        for i in range(len(codes)):
            a, b, c, d = block, _NONE, _NONE, codes[i]
            k, m = keys[n, 0], keys[n, 1]
            for _ in range(_ROUNDS):
                high_a, low_a = _high(_MULTIPLY[0], a), _MULTIPLY[0] * a
                high_c, low_c = _high(_MULTIPLY[1], c), _MULTIPLY[1] * c
                a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ m, low_a
                k, m = k + _BUMP[0], m + _BUMP[1]
            word = a if lane == 0 else b if lane == 1 else c if lane == 2 else d
            out[n, i] = (word >> _UNUSED) * _UNIT
