import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import with_import_paths

from synthgen.training.streaming.inflate import SLACK, inflate

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)


def packed(data: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return packer.compress(data) + packer.flush()


def unpacked(streams: list[bytes], size: int) -> list[bytes | None]:
    data = np.frombuffer(b"".join(streams) + b"\xff" * SLACK, dtype=np.uint8)
    ends = np.cumsum([len(stream) for stream in streams])
    starts = ends - [len(stream) for stream in streams]
    out, sound = inflate(data, starts, ends, size)
    return [out[n * size : (n + 1) * size].tobytes() if sound[n] else None for n in range(len(streams))]


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


def test_streams_outside_their_buffer_are_refused():
    for starts, ends in ([-1, 4], [5, 4], [0, 100 - SLACK + 1]):
        with pytest.raises(ValueError, match="outside"):
            inflate(np.zeros(100, np.uint8), np.array([starts]), np.array([ends]), 10)


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
    """What zlib makes of a stream, its sum not looked at."""
    unpacker = zlib.decompressobj(-15)
    head = int.from_bytes(stream[:2], "big")
    if len(stream) < 2 or head % 31 or stream[0] & 15 != 8 or stream[1] & 32:
        return None
    try:
        content = unpacker.decompress(stream[2:], size + 1)
    except zlib.error:
        return None
    whole = unpacker.eof and len(content) == size and len(unpacker.unused_data) >= 4
    return content if whole else None


def check_damaged(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    sound = 0
    for _ in range(count):
        stream, size = damaged(rng)
        found = unpacked([stream, packed(b"beside" * 9)], size)[0]
        assert found == by_zlib(stream, size), (stream, size)
        sound += found is not None
    assert 0 < sound < count


def test_damaged_streams_are_told_as_zlib_tells_them():
    check_damaged(0, 4000)


@pytest.mark.slow
def test_damaged_streams_touch_nothing_outside_their_arrays(tmp_path):
    """The same again with every index of the compiled code checked."""
    environment = with_import_paths(__file__) | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    script = "from test_inflate import check_damaged as c; c(1, 1500)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
