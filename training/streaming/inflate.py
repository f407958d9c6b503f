"""Unpacking the zlib streams of many small images in one call, compiled and without the interpreter's lock.

A 96 x 96 mask is 220 bytes of deflate (RFC 1951). Python's zlib needs a call for each image, and threads that make
such calls wait for the interpreter more than they unpack. Here one call unpacks the images of a shard. The bytes are
not trusted: every index is checked, nothing is written beyond the expected size, and a stream that is anything but
sound is reported, so that the caller can have the library say what is wrong with it. Its Adler sum is left to the
shard's SHA-256.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Code = tuple[NDArray[np.uint16], Ints, NDArray[np.uint16]]
"""A canonical Huffman code: a table of symbol * 16 + length by the next bits, in which 0 stands for a longer code; the
number of codes of each length; the symbols in the order of their codes."""
Bits = Any
"""A uint64 of which the lowest bits come next."""
Reader = tuple[int, Bits, int]
"""Where the next bytes are, the bits before them, and how many these are."""

SLACK = 64
"""Bytes that must follow the last stream in a buffer, because bytes are moved by eights."""
_ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])
_RUN_BITS = np.array([0] * 8 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4 + [0])
_RUN = np.append(3 + np.append(0, np.cumsum(1 << _RUN_BITS[:27])), 258)
_BACK_BITS = np.array([0, 0, *np.repeat(np.arange(14), 2)])
_BACK = 1 + np.append(0, np.cumsum(1 << _BACK_BITS[:29]))
_FIXED = np.array([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8 + [5] * 32, dtype=np.uint8)
_MIRRORED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)])
_SYMBOLS, _BACKS = 288, 30
_NARROW, _WIDE, _BACK_WIDTH = 9, 11, 7
"""Bits of the tables; the wide one pays in streams of this length at least."""
_LONG = 1024


def inflate(data: Bytes, starts: Ints, ends: Ints, size: int) -> tuple[Bytes, NDArray[np.bool_]]:
    """Unpack n zlib streams that have the same size unpacked.

    Args:
        data: What holds them, with at least `SLACK` bytes after the last.
        starts: (n,) where each begins.
        ends: (n,) where each ends.
        size: Bytes of each, unpacked.

    Returns:
        The n * size bytes and `SLACK` more, and (n,) whether the stream was sound and of that size; what stands for
        others is anything.

    """
    if len(starts) and (starts.min() < 0 or (ends < starts).any() or ends.max() + SLACK > len(data)):
        raise ValueError("a stream lies outside its buffer")
    out = np.empty(len(starts) * size + SLACK, dtype=np.uint8)
    sound = np.empty(len(starts), dtype=np.bool_)
    _inflate_all(data, starts, ends, size, out, sound)
    return out, sound


@njit(cache=True, nogil=True, forceinline=True)
def eight(data: Bytes, at: Any) -> Bits:  # pragma: no cover
    """Read eight bytes as a number, the first one lowest."""
    word, start = np.uint64(0), np.uint64(at)  # unsigned: numba asks signed indices whether they are negative
    for i in range(np.uint64(8)):
        word |= np.uint64(data[start + i]) << (np.uint64(8) * i)
    return word


@njit(cache=True, nogil=True, forceinline=True)
def put_eight(data: Bytes, at: Any, word: Bits) -> None:  # pragma: no cover
    """Write a number as eight bytes."""
    start = np.uint64(at)
    for i in range(np.uint64(8)):
        data[start + i] = np.uint8(word >> (np.uint64(8) * i))


@njit(cache=True, nogil=True)
def _inflate_all(
    data: Bytes, starts: Ints, ends: Ints, size: int, out: Bytes, sound: NDArray[np.bool_]
) -> None:  # pragma: no cover
    lengths, used, place = np.zeros(320, np.uint8), np.zeros(320, np.int64), np.zeros(16, np.int64)
    literals = (np.zeros(1 << _WIDE, np.uint16), np.zeros(16, np.int64), np.zeros(_SYMBOLS, np.uint16))
    backs = (np.zeros(1 << _BACK_WIDTH, np.uint16), np.zeros(16, np.int64), np.zeros(_BACKS + 2, np.uint16))
    fixed = _fixed_codes(place)
    for n in range(len(starts)):
        target = out[n * size : (n + 1) * size + 8]
        width = _NARROW if ends[n] - starts[n] < _LONG else _WIDE
        codes = (literals, backs, width)
        written = _inflate_one((data, starts[n], ends[n]), target, (lengths, used, place), codes, fixed)
        sound[n] = written == size


@njit(cache=True, nogil=True)
def _fixed_codes(place: Ints) -> Any:  # pragma: no cover
    """Make the codes of blocks that bring none of their own; 9 bits tell any of them."""
    literals = (np.zeros(1 << _NARROW, np.uint16), np.zeros(16, np.int64), np.zeros(_SYMBOLS, np.uint16))
    backs = (np.zeros(1 << _BACK_WIDTH, np.uint16), np.zeros(16, np.int64), np.zeros(_BACKS + 2, np.uint16))
    _build(_FIXED[:_SYMBOLS], np.arange(_SYMBOLS), literals, _NARROW, place)
    _build(_FIXED[_SYMBOLS:], np.arange(_BACKS + 2), backs, _BACK_WIDTH, place)
    return literals, backs, _NARROW


@njit(cache=True, nogil=True, forceinline=True)
def _refill(data: Bytes, at: int, word: Bits, count: int) -> Reader:  # pragma: no cover
    """Fill up to at least 56 bits; those beyond the end of the stream are whatever follows it."""
    word |= eight(data, at) << np.uint64(count)
    return at + (63 - count >> 3), word, count | 56


@njit(cache=True, nogil=True)
def _inflate_one(stream: Any, out: Bytes, work: Any, codes: Any, fixed: Any) -> int:  # pragma: no cover
    """Unpack a stream (data, start, end), and return how many bytes were written, -1 where it is unsound."""
    data, start, end = stream
    head = np.int64(data[start]) * 256 + np.int64(data[start + 1])
    if end - start < 2 or head % 31 or data[start] & 15 != 8 or data[start + 1] & 32:
        return -1
    at, word, count, written, last = start + 2, np.uint64(0), 0, 0, False
    while not last and written >= 0:
        if at > end + 8:
            return -1
        at, word, count = _refill(data, at, word, count)
        last, kind = word & np.uint64(1) != 0, np.int64(word >> np.uint64(1) & np.uint64(3))
        word, count = word >> np.uint64(3), count - 3
        if kind == 0:
            at, written = _copy_stored((data, at - count // 8, end), out, written)
            word, count = np.uint64(0), 0
            continue
        if kind == 1:
            at, word, count, written = _inflate_block((data, at, end), word, count, (out, written), fixed)
            continue
        sound = False
        if kind == 2:
            at, word, count, sound = _read_codes((data, at, end), word, count, work, codes)
        if not sound:
            return -1
        at, word, count, written = _inflate_block((data, at, end), word, count, (out, written), codes)
    return written if at - count // 8 + 4 <= end else -1  # its sum of four bytes follows


@njit(cache=True, nogil=True)
def _copy_stored(stream: Any, out: Bytes, written: int) -> Any:  # pragma: no cover
    """Copy a block that is not packed, and return where it ends and how many bytes there are, -1 where unsound."""
    data, at, end = stream
    if at + 4 > end:
        return at, -1
    length = np.int64(data[at]) | np.int64(data[at + 1]) << 8
    check = np.int64(data[at + 2]) | np.int64(data[at + 3]) << 8
    at += 4
    if length != check ^ 0xFFFF or at + length > end or written + length > len(out) - 8:
        return at, -1
    out[written : written + length] = data[at : at + length]
    return at + length, written + length


@njit(cache=True, nogil=True)
def _build(lengths: Bytes, used: Ints, code: Code, width: int, place: Ints) -> bool:  # pragma: no cover
    """Make a code with a table of ``2**width``; False where there are more or fewer codes than fit.

    Args:
        lengths: Of the codes, by symbol.
        used: The symbols whose length is not 0, ascending.
        code: What is made.
        width: Bits of the table.
        place: For 16 numbers.

    """
    table, number, symbols = code
    number[:] = 0
    for symbol in used:
        number[lengths[symbol]] += 1
    free, before = 1, 0
    for length in range(1, 16):
        free = free * 2 - number[length]
        if free < 0:
            return False
        place[length] = before
        before += number[length]
    if free > 0 and before > number[1]:  # as zlib, which takes an incomplete code only of one bit
        return False
    for symbol in used:
        symbols[place[lengths[symbol]]] = symbol
        place[lengths[symbol]] += 1
    table[0] = 0
    size, rank, word = 1, 0, 0
    for length in range(1, width + 1):
        for i in range(np.uint64(size)):  # codes that end earlier go for either next bit; a slice takes longer
            table[np.uint64(size) + i] = table[i]
        size *= 2
        for _ in range(number[length]):
            mirrored = (_MIRRORED[word & 255] << 8 | _MIRRORED[word >> 8]) >> (16 - length)
            table[mirrored] = symbols[rank] * 16 + length
            rank += 1
            word += 1
        word *= 2
    return True


@njit(cache=True, nogil=True)
def _long_code(word: Bits, number: Ints, symbols: NDArray[np.uint16]) -> Any:  # pragma: no cover
    """Find a code bit by bit, as symbol * 16 + length; 0 where there is none."""
    code, first, rank = np.int64(0), np.int64(0), np.int64(0)
    for length in range(1, 16):
        code |= np.int64(word & np.uint64(1))
        word >>= np.uint64(1)
        if code - number[length] < first:
            return np.int64(symbols[rank + code - first]) * 16 + length
        rank += number[length]
        first = (first + number[length]) * 2
        code *= 2
    return 0


@njit(cache=True, nogil=True)
def _read_codes(stream: Any, word: Bits, count: int, work: Any, codes: Any) -> Any:  # pragma: no cover
    """Read the two codes of a dynamic block: where it goes on, and whether they are sound."""
    data, at, end = stream
    lengths, used, place = work
    literals, backs, width = codes
    split = np.int64(word & np.uint64(31)) + 257
    total = split + np.int64(word >> np.uint64(5) & np.uint64(31)) + 1
    read = np.int64(word >> np.uint64(10) & np.uint64(15)) + 4
    at, word, count = _refill(data, at, word >> np.uint64(14), count - 14)
    if split > 286 or total - split > _BACKS:
        return at, word, count, False
    lengths[:19] = 0
    for i in range(read):
        if i == 16:
            at, word, count = _refill(data, at, word, count)
        lengths[_ORDER[i]] = np.uint8(word & np.uint64(7))
        word, count = word >> np.uint64(3), count - 3
    n = 0
    for symbol in range(19):
        if lengths[symbol]:
            used[n] = symbol
            n += 1
    if not _build(lengths[:19], used[:n], backs, _BACK_WIDTH, place):
        return at, word, count, False
    at, word, count, first, n = _read_lengths((data, at, end), word, count, work, (backs[0], split, total))
    sound = n > 0 and _build(lengths[split:total], used[first:n], backs, _BACK_WIDTH, place)
    return at, word, count, sound and _build(lengths[:split], used[:first], literals, width, place)


@njit(cache=True, nogil=True)
def _read_lengths(stream: Any, word: Bits, count: Any, work: Any, plan: Any) -> Any:  # pragma: no cover
    """Read the lengths of both codes and note the symbols that have one: how many of the first, and of both.

    There are none of both where the lengths are unsound.
    """
    data, at, end = stream
    lengths, used, _ = work
    table, split, total = plan
    i: Any = 0
    first: Any = 0
    n = 0
    while i < total:
        at, word, count = _refill(data, at, word, count)
        entry: Any = np.int64(table[word & np.uint64(127)])
        symbol, length = entry >> 4, entry & 15
        word, count = word >> np.uint64(length), count - length
        value: Any = np.uint8(symbol)
        repeat: Any = 1
        more = 0
        if symbol == 16:
            value, repeat, more = lengths[max(i - 1, 0)], 3, 2
        elif symbol >= 17:
            value, repeat, more = np.uint8(0), (3 if symbol == 17 else 11), (3 if symbol == 17 else 7)
        repeat += np.int64(word & np.uint64((1 << more) - 1))
        word, count = word >> np.uint64(more), count - more
        if length == 0 or at > end + 8 or (symbol == 16 and i == 0) or i + repeat > total:
            return at, word, count, 0, 0
        for k in range(i, i + repeat):
            lengths[k] = value
            if value:
                used[n] = k if k < split else k - split
                n += 1
                first = n if k < split else first
        i += repeat
    return at, word, count, first, n


@njit(cache=True, nogil=True)
def _inflate_block(stream: Any, word: Bits, count: Any, target: Any, codes: Any) -> Any:  # pragma: no cover
    """Unpack a block behind ``written`` bytes: where it ends, and how many bytes there are, -1 where it is unsound."""
    data, at, end = stream
    out, written = target
    (table, number, symbols), (back_table, back_number, back_symbols), width = codes
    mask, size = np.uint64((1 << width) - 1), len(out) - 8
    while at <= end + 8:
        at, word, count = _refill(data, at, word, count)
        entry: Any = np.int64(table[word & mask])
        while 0 < entry < 4096 and count > 21 and written < size:  # single bytes, while two codes' bits are there
            out[np.uint64(written)] = entry >> 4
            written += 1
            word, count = word >> np.uint64(entry & 15), count - (entry & 15)
            entry = np.int64(table[word & mask])
        at, word, count = _refill(data, at, word, count)
        if entry == 0:
            entry = _long_code(word, number, symbols)
        symbol, length = entry >> 4, entry & 15
        word, count = word >> np.uint64(length), count - length
        if symbol < 256:
            if length == 0 or written >= size:
                break
            out[np.uint64(written)] = symbol
            written += 1
            continue
        if symbol == 256:
            return at, word, count, written
        if symbol > 285:
            break
        kind = np.uint64(symbol - 257)
        run = _RUN[kind] + np.int64(word & np.uint64((1 << _RUN_BITS[kind]) - 1))
        word, count = word >> np.uint64(_RUN_BITS[kind]), count - _RUN_BITS[kind]
        entry = np.int64(back_table[word & np.uint64(127)])
        if entry == 0:
            entry = _long_code(word, back_number, back_symbols)
        symbol, length = entry >> 4, entry & 15
        kind = np.uint64(symbol if symbol < _BACKS else 0)
        word = word >> np.uint64(length)
        back = _BACK[kind] + np.int64(word & np.uint64((1 << _BACK_BITS[kind]) - 1))
        word, count = word >> np.uint64(_BACK_BITS[kind]), count - length - _BACK_BITS[kind]
        if length == 0 or symbol >= _BACKS or back > written or written + run > size:
            break
        _repeat(out, written, run, back)
        written += run
    return at, word, count, -1


@njit(cache=True, nogil=True, forceinline=True)
def _repeat(out: Bytes, written: int, run: int, back: int) -> None:  # pragma: no cover
    """Write a run of bytes again that lie some bytes back, and perhaps up to seven more behind it."""
    if back == 1:
        same = np.uint64(out[written - 1]) * np.uint64(0x0101010101010101)
        for i in range(written, written + run, 8):
            put_eight(out, i, same)
    elif back < 8:
        for i in range(written, written + run):
            out[i] = out[i - back]
    else:
        for i in range(written, written + run, 8):
            put_eight(out, i, eight(out, i - back))
