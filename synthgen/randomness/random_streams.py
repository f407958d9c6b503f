"""The random streams of `synthgen.randomness.seeding` for many samples, compiled: the same numbers, bit for bit.

numpy makes one generator in 17 microseconds, and a sample's artefacts take four of them. Here a stream is a row of ten
words, which compiled code starts in a hundredth of that time and reads without the interpreter. The algorithms are
numpy's: SeedSequence (O'Neill's seed_seq_fe), Philox 4x64 of ten rounds (Salmon et al. 2011) and, for normal numbers,
the ziggurat of 256 layers (Marsaglia and Tsang 2000) on 32 bits.
"""

import math
from typing import Any, cast
from zlib import crc32

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from synthgen.geometry import Floats

States = NDArray[np.uint64]
"""(n, 10): two words of key, the counter, how many of the block's words are used, the block's four words, whether half
a word is left over, and that half."""
_KEY, _COUNTER, _USED, _BLOCK, _HALF_LEFT, _HALF, _WORDS = 0, 2, 3, 4, 8, 9, 10
_LOW32 = np.uint64(0xFFFFFFFF)


class Streams:
    """One named stream for each of n samples.

    `each` makes it stand for a `numpy.random.Generator` whose draws are those of all samples, one sample after the
    other, so that distributions draw for a whole batch at once.
    """

    def __init__(self, seed: int, indices: NDArray[np.int64], name: str) -> None:
        # As numpy's SeedSequence(seed, spawn_key=(index, crc)): the seed is filled up to four words.
        words = np.zeros(4, dtype=np.uint32)
        words[0], words[1] = seed & 0xFFFFFFFF, seed >> 32
        self.states: States = np.zeros((len(indices), _WORDS), dtype=np.uint64)
        _start(self.states, words, np.ascontiguousarray(indices, dtype=np.int64), crc32(name.encode()))
        self._counts = np.ones(len(indices), dtype=np.int64)

    def each(self, counts: NDArray[np.int64] | int = 1) -> np.random.Generator:
        """Return a generator that gives ``counts`` numbers of each stream, (n,) or the same of all."""
        self._counts = np.broadcast_to(np.asarray(counts, dtype=np.int64), len(self.states))
        return cast("np.random.Generator", _Joined(self))

    def uniforms(self, count: int) -> Floats:
        """Return the next numbers in [0, 1) of each stream, (n, count)."""
        return self.each(count).random(len(self.states) * count).reshape(-1, count)

    def random(self, total: int) -> Floats:
        """Return the next numbers in [0, 1) of all streams, those of a stream side by side, (total,)."""
        out = np.empty(total)
        if total != int(self._counts.sum()):
            raise ValueError(f"{total} numbers of streams that stand for {int(self._counts.sum())}")
        _fill_doubles(self.states, self._counts, out)
        return out


class _Joined:
    """What `synthgen.specs.distributions` needs of a generator."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def random(self, n: int) -> Floats:
        return self._streams.random(n)


def _ziggurat() -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Return numpy's tables for 32-bit normal numbers: bounds, widths and heights of the 256 layers."""
    tail = _TAIL
    area = tail * math.exp(-0.5 * tail**2) + math.sqrt(math.pi / 2) * math.erfc(tail / math.sqrt(2))
    edge = np.empty(256)
    edge[255] = tail
    for i in range(254, 0, -1):
        edge[i] = math.sqrt(-2 * math.log(area / edge[i + 1] + math.exp(-0.5 * edge[i + 1] ** 2)))
    edge[0] = area / math.exp(-0.5 * tail**2)
    height = np.exp(-0.5 * edge**2)
    height[0] = 1.0
    inner = np.concatenate([[tail, 0.0], edge[1:255]])  # of layer 1 nothing is accepted at once
    bounds = np.rint(inner / edge * 2**23).astype(np.int32)
    widths = np.concatenate([edge, -edge]) / 2**23  # the ninth bit is the sign
    return bounds, widths.astype(np.float32), height.astype(np.float32)


_TAIL = 3.6541528853610088
_BOUND, _WIDTH, _HEIGHT = _ziggurat()
_TAIL32, _INVERSE_TAIL32 = np.float32(_TAIL), np.float32(1 / _TAIL)


def _product(_: Any, first: Any, second: Any) -> Any:
    """Upper 64 bits of the product of two uint64."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        single = values[0].type
        double = type(single)(128)
        product = builder.mul(*(builder.zext(value, double) for value in values))
        return builder.trunc(builder.lshr(product, double(64)), single)

    return types.uint64(first, second), generate


_high: Any = intrinsic(_product)


@njit(cache=True, nogil=True, forceinline=True)
def _hash(value: Any, constant: Any, multiplier: Any) -> Any:  # pragma: no cover
    value = np.uint32(value ^ constant)
    constant = np.uint32(constant * multiplier)
    value = np.uint32(value * constant)
    return np.uint32(value ^ (value >> np.uint32(16))), constant


@njit(cache=True, nogil=True, forceinline=True)
def _mix(x: Any, y: Any) -> Any:  # pragma: no cover
    value = np.uint32(np.uint32(np.uint32(0xCA01F9DD) * x) - np.uint32(np.uint32(0x4973F715) * y))
    return np.uint32(value ^ (value >> np.uint32(16)))


@njit(cache=True, nogil=True)
def _start(
    states: States, seed_words: NDArray[np.uint32], indices: NDArray[np.int64], crc: int
) -> None:  # pragma: no cover
    """Set each state (n, 10) to the start of its stream."""
    pool = np.empty(4, dtype=np.uint32)
    spawned = np.empty(3, dtype=np.uint32)
    for n in range(len(indices)):
        index = np.uint64(indices[n])
        count = 0
        spawned[count] = np.uint32(index & np.uint64(0xFFFFFFFF))
        count += 1
        if index >> np.uint64(32):
            spawned[count] = np.uint32(index >> np.uint64(32))
            count += 1
        spawned[count] = np.uint32(crc)
        count += 1
        constant = np.uint32(0x43B0D7E5)
        for i in range(4):
            pool[i], constant = _hash(seed_words[i], constant, np.uint32(0x931E8875))
        for source in range(4):
            for target in range(4):
                if source != target:
                    value, constant = _hash(pool[source], constant, np.uint32(0x931E8875))
                    pool[target] = _mix(pool[target], value)
        for source in range(count):
            for target in range(4):
                value, constant = _hash(spawned[source], constant, np.uint32(0x931E8875))
                pool[target] = _mix(pool[target], value)
        constant = np.uint32(0x8B51F9DD)
        for i in range(2):
            low, constant = _hash(pool[2 * i], constant, np.uint32(0x58F38DED))
            high, constant = _hash(pool[2 * i + 1], constant, np.uint32(0x58F38DED))
            states[n, _KEY + i] = np.uint64(low) | (np.uint64(high) << np.uint64(32))
        states[n, _USED] = 4


@njit(cache=True, nogil=True)
def _next_block(state: States) -> None:  # pragma: no cover
    state[_COUNTER] += np.uint64(1)
    a, b, c, d = state[_COUNTER], np.uint64(0), np.uint64(0), np.uint64(0)
    key, other = state[_KEY], state[_KEY + 1]
    first, second = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    for _ in range(10):
        a, b, c, d = _high(second, c) ^ b ^ key, second * c, _high(first, a) ^ d ^ other, first * a
        key += np.uint64(0x9E3779B97F4A7C15)
        other += np.uint64(0xBB67AE8584CAA73B)
    state[_BLOCK], state[_BLOCK + 1], state[_BLOCK + 2], state[_BLOCK + 3] = a, b, c, d


@njit(cache=True, nogil=True, forceinline=True)
def next_word(state: States) -> Any:  # pragma: no cover
    """Next 64 bits of a stream."""
    if state[_USED] >= np.uint64(4):
        _next_block(state)
        state[_USED] = np.uint64(0)
    used = state[_USED]
    state[_USED] = used + np.uint64(1)
    return state[_BLOCK + np.int64(used)]


@njit(cache=True, nogil=True, forceinline=True)
def next_half(state: States) -> Any:  # pragma: no cover
    """Next 32 bits of a stream: the lower half of a word, then its upper half."""
    if state[_HALF_LEFT]:
        state[_HALF_LEFT] = np.uint64(0)
        return np.uint32(state[_HALF])
    word = next_word(state)
    state[_HALF_LEFT], state[_HALF] = np.uint64(1), word >> np.uint64(32)
    return np.uint32(word & _LOW32)


@njit(cache=True, nogil=True, forceinline=True)
def next_double(state: States) -> Any:  # pragma: no cover
    """Next number in [0, 1)."""
    return np.float64(next_word(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True, forceinline=True)
def next_single(state: States) -> Any:  # pragma: no cover
    """Next float32 in [0, 1)."""
    return np.float32(next_half(state) >> np.uint32(8)) * np.float32(1.0 / 16777216.0)


@njit(cache=True, nogil=True)
def _rare_normal(state: States, bits: Any, x: Any) -> Any:  # pragma: no cover
    """Go on where one draw was not accepted at once, which is so in 1.5 % of them."""
    while True:
        layer, magnitude = np.int64(bits & np.uint32(0xFF)), np.int32(bits >> np.uint32(9))
        if magnitude < _BOUND[layer]:
            return x
        if layer == 0:
            while True:
                beyond = -_INVERSE_TAIL32 * np.float32(math.log1p(-next_single(state)))
                y = -np.float32(math.log1p(-next_single(state)))
                if y + y > beyond * beyond:
                    far = _TAIL32 + beyond
                    return -far if (magnitude >> 8) & 1 else far
        step = (_HEIGHT[layer - 1] - _HEIGHT[layer]) * next_single(state) + _HEIGHT[layer]
        if step < math.exp(-0.5 * np.float64(x) * np.float64(x)):
            return x
        bits = next_half(state)
        x = np.float32(np.int32(bits >> np.uint32(9))) * _WIDTH[np.int64(bits & np.uint32(0x1FF))]


@njit(cache=True, nogil=True)
def _fill_doubles(states: States, counts: NDArray[np.int64], out: Floats) -> None:  # pragma: no cover
    place = 0
    for n in range(len(states)):
        state = states[n]
        for _ in range(counts[n]):
            out[place] = next_double(state)
            place += 1


@njit(cache=True, nogil=True)
def fill_normals(state: States, out: NDArray[np.float32]) -> None:  # pragma: no cover
    """Fill an array (n,) with the next standard normal float32."""
    for i in range(len(out)):
        bits = next_half(state)
        magnitude = np.int32(bits >> np.uint32(9))
        x = np.float32(magnitude) * _WIDTH[np.int64(bits & np.uint32(0x1FF))]
        if magnitude >= _BOUND[np.int64(bits & np.uint32(0xFF))]:
            x = _rare_normal(state, bits, x)
        out[i] = x
