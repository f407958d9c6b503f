import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.training.streaming.shard_reader import decompress_all

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)


def packed(data: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return packer.compress(data) + packer.flush()


def unpacked(streams: list[bytes], size: int) -> list[bytes | None]:
    ends = np.cumsum([len(stream) for stream in streams])
    starts = ends - [len(stream) for stream in streams]
    rows, read = decompress_all(memoryview(b"".join(streams)), starts, ends, np.ones(len(streams), bool), size)
    return [row.tobytes() if one else None for row, one in zip(rows, read, strict=True)]


def mixed(rng: np.random.Generator, size: int) -> bytes:
    """Bytes with runs, repeats and noise, of few or of many values."""
    parts = []
    while sum(map(len, parts)) < size:
        n, values = int(rng.integers(1, 400)), int(rng.integers(1, 257))
        part = rng.integers(0, values, max(n // int(rng.integers(1, 30)), 1), dtype=np.uint8).tobytes()
        parts.append((part * n)[:n] if rng.random() < 0.7 else bytes([rng.integers(0, 256)]) * n)
    return b"".join(parts)[:size]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("level", [0, 1, 4, 9])
def test_every_kind_of_stream_unpacks_as_zlib_does(level, strategy):
    rng = np.random.default_rng(level)
    for size in (1, 2, 7, 8, 9, 300, 1248, 40_000):
        contents = [mixed(rng, size) for _ in range(8)] + [rng.integers(0, 256, size, dtype=np.uint8).tobytes()]

        assert unpacked([packed(content, level, strategy) for content in contents], size) == contents


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 9), st.sampled_from(STRATEGIES))
def test_any_bytes_come_back(content, level, strategy):
    assert unpacked([packed(content, level, strategy)] * 2, len(content)) == [content] * 2


def test_several_blocks_and_flushes_are_one_stream():
    rng, packer = np.random.default_rng(3), zlib.compressobj(9)
    parts = [mixed(rng, 5000), bytes(3000), mixed(rng, 7000)]
    stream = b"".join(packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts) + packer.flush()

    assert unpacked([stream], 15_000) == [b"".join(parts)]


def test_another_size_is_not_sound():
    content = bytes(range(200))

    assert unpacked([packed(content)], 199) == [None]
    assert unpacked([packed(content)], 201) == [None]


def test_streams_that_are_not_wanted_are_left_alone():
    stream = packed(bytes(200))
    ends = np.array([len(stream), 2 * len(stream)])
    _, read = decompress_all(memoryview(stream * 2), ends - len(stream), ends, np.array([False, True]), 200)

    assert read.tolist() == [False, True]


@pytest.mark.slow
def test_a_hostile_stream_takes_little_memory():
    bomb = packed(bytes(500_000_000), 9)
    short = packed(bytes(1_000_000), 9)
    tracemalloc.start()
    try:
        assert unpacked([bomb, short, packed(bytes(1248))], 1248) == [None, None, bytes(1248)]
        assert tracemalloc.get_traced_memory()[1] < len(bomb) + 4_000_000
    finally:
        tracemalloc.stop()


def damaged(rng: np.random.Generator) -> tuple[bytes, int]:
    """A stream in which a few bytes or the length are not what they were, and the size it should have."""
    size = int(rng.integers(1, 3000))
    stream = bytearray(packed(mixed(rng, size), int(rng.integers(0, 10)), STRATEGIES[rng.integers(len(STRATEGIES))]))
    kind = rng.integers(4)
    if kind == 0:
        stream = stream[: rng.integers(0, len(stream) + 1)]
    elif kind == 1:
        stream = bytearray(rng.integers(0, 256, len(stream), dtype=np.uint8).tobytes())
        stream[:2] = b"\x78\x9c"[: len(stream)]
    for _ in range(int(rng.integers(1, 4)) if kind > 1 else 0):
        stream[rng.integers(len(stream))] ^= 1 << rng.integers(8)
    return bytes(stream), size


def by_zlib(stream: bytes, size: int) -> bytes | None:
    """What Python's zlib makes of a stream."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(stream, size + 1)
    except zlib.error:
        return None
    return content if unpacker.eof and len(content) == size else None


def check_damaged(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    sound = 0
    for _ in range(count):
        stream, size = damaged(rng)
        found = unpacked([stream, packed(b"beside" * 9)], size)[0]
        assert found == by_zlib(stream, size), (stream, size)
        sound += found is not None
    assert 0 < sound < count


@pytest.mark.slow
def test_damaged_streams_are_told_as_zlib_tells_them():
    check_damaged(0, 4000)
