"""Philox 4x64-10, compiled: one uniform from each of many substreams at once.

Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*. The numbers are those of numpy's ``Philox``, which
the tests hold it to; numpy alone has to set a generator's state anew for every substream.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_MULTIPLY = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_BUMP = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_ROUNDS = 10
_HALF, _LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)
_UNUSED, _UNIT = np.uint64(11), 2.0**-53


@njit(cache=True)
def _high(a: np.uint64, b: np.uint64) -> np.uint64:  # pragma: no cover
    """Return the upper half of the product of two 64-bit numbers."""
    a_high, a_low, b_high, b_low = a >> _HALF, a & _LOW_HALF, b >> _HALF, b & _LOW_HALF
    first, second = a_high * b_low, a_low * b_high
    carry = ((a_low * b_low) >> _HALF) + (first & _LOW_HALF) + (second & _LOW_HALF)
    return a_high * b_high + (first >> _HALF) + (second >> _HALF) + (carry >> _HALF)


@njit(cache=True)
def first_uniforms(key: NDArray[np.uint64], codes: NDArray[np.uint64]) -> NDArray[np.float64]:  # pragma: no cover
    """Return the first double in [0, 1), (N,), of the substreams whose counters start at (0, 0, 0, code).

    Args:
        key: (2,)
        codes: (N,)
    """
    out = np.empty(len(codes))
    for n in range(len(codes)):
        a, b, c, d = np.uint64(1), np.uint64(0), np.uint64(0), codes[n]  # numpy counts up before it draws
        k, m = key[0], key[1]
        for _ in range(_ROUNDS):
            high_a, low_a = _high(_MULTIPLY[0], a), _MULTIPLY[0] * a
            high_c, low_c = _high(_MULTIPLY[1], c), _MULTIPLY[1] * c
            a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ m, low_a
            k, m = k + _BUMP[0], m + _BUMP[1]
        out[n] = (a >> _UNUSED) * _UNIT
    return out
