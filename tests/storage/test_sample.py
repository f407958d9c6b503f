import io
import json
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from support.fake_samples import fake_sample

from synthgen.errors import DatasetError, SynthgenError
from synthgen.storage.depth import decode_depth, encode_depth, nearest_depth, normalize_depth
from synthgen.storage.png import read_depth_png, read_mask_png, write_depth_png, write_mask_png
from synthgen.storage.sample import FIELDS, MEMBERS, decode_sample, encode_sample, sample_key

sides = st.tuples(st.integers(1, 40), st.integers(1, 40))


def depths(low: float = 100, high: float = 2000):
    numbers = st.one_of(st.floats(low, high, width=32), st.just(np.inf))
    return sides.flatmap(lambda size: hnp.arrays(np.float32, size, elements=numbers))


@given(depths(), st.sampled_from([10.0, 20.0, 33.3, 34.0]))
def test_depth_round_trip_is_within_half_a_step_and_exact_for_the_background(depth, steps):
    near = nearest_depth(depth, steps)
    code = encode_depth(depth, near, steps)
    back = decode_depth(code, near, steps)
    hit = np.isfinite(depth)

    assert code.dtype == np.uint16
    assert np.array_equal(code > 0, hit)
    assert np.array_equal(np.isfinite(back), hit)
    assert np.abs(back[hit] - depth[hit]).max(initial=0) <= 0.5 / steps + 2e-4  # float32 holds 2000 mm to 1.2e-4
    assert np.array_equal(encode_depth(back, nearest_depth(back, steps), steps), code)


def test_depth_codes_follow_the_formula_over_all_16_bits():
    depth = np.array([[1000.0, 1000.05, 1000.0 + 65534 / 20, np.inf]], dtype=np.float32)

    assert encode_depth(depth, 1000.0, 20.0).tolist() == [[1, 2, 65535, 0]]


@pytest.mark.parametrize("depth", [[1000.0, 4276.8], [999.9]])
def test_depth_that_does_not_fit_names_the_field(depth):
    with pytest.raises(SynthgenError, match=r"depth_steps_per_mm: value 20 .*lower"):
        encode_depth(np.array([depth], dtype=np.float32), 1000.0, 20.0)


@given(depths())
def test_normalized_depth_has_zero_mean_unit_deviation_and_background_3(depth):
    normalized, mean, deviation = normalize_depth(depth)
    hit = np.isfinite(depth)

    assert (normalized[~hit] == 3).all()
    assert np.allclose(normalized[hit] * deviation + mean, depth[hit], rtol=1e-5)
    if hit.any() and np.ptp(depth[hit]) > 0.1:
        assert abs(normalized[hit].mean(dtype=np.float64)) < 1e-4
        assert abs(normalized[hit].std(dtype=np.float64) - 1) < 1e-4


def test_normalizing_flat_or_empty_depth_does_not_divide_by_zero():
    flat, empty = np.full((2, 2), 0.1, np.float32), np.full((2, 2), np.inf, np.float32)

    assert normalize_depth(flat)[1:] == (pytest.approx(0.1), 1.0)
    assert (normalize_depth(flat)[0] == 0).all()
    assert normalize_depth(empty)[1:] == (0.0, 1.0)


@given(sides.flatmap(lambda size: hnp.arrays(np.uint16, size)))
def test_png_of_16_bits_reads_the_same_here_and_in_pillow(code):
    data = write_depth_png(code)

    assert np.array_equal(read_depth_png(data), code)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), code)


@given(sides.flatmap(lambda size: hnp.arrays(np.bool_, size)))
def test_png_of_1_bit_reads_the_same_here_and_in_pillow(mask):
    data = write_mask_png(mask)

    assert np.array_equal(read_mask_png(data), mask)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), mask)


def test_png_written_by_another_program_is_read():
    code = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    files = io.BytesIO(), io.BytesIO()
    Image.fromarray(code).save(files[0], "PNG")
    Image.fromarray(code % 2 == 0).save(files[1], "PNG")

    assert np.array_equal(read_depth_png(files[0].getvalue()), code)
    assert np.array_equal(read_mask_png(files[1].getvalue()), code % 2 == 0)


def png(width: int, height: int, pixels: bytes, bits: int = 16) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a PNG"),
        (png(50_000, 50_000, zlib.compress(b"")), "50000x50000 pixels exceed 4096x4096"),
        (png(4, 4, zlib.compress(bytes(8))), "is truncated"),
        (png(4, 4, b"nonsense"), "cannot be decompressed"),
        (png(4, 4, zlib.compress(bytes(36)), bits=8), "8 bits"),
        (write_depth_png(np.ones((4, 4), np.uint16))[:-30], "cannot be read"),
        (write_depth_png(np.ones((4, 4), np.uint16)).replace(b"IDATx", b"IDATy"), "checksum|cannot"),
    ],
)
def test_malicious_or_damaged_png_is_refused(data, words):
    with pytest.raises(DatasetError, match=words):
        read_depth_png(data)


def test_png_bomb_unpacks_no_more_than_its_size():
    bomb = png(4, 4, zlib.compress(bytes(10**8)))

    assert read_depth_png(bomb).shape == (4, 4)


@given(st.integers(0, 999_999_999), sides, st.integers(1, 30))
def test_sample_round_trip(index, size, k):
    sample = fake_sample(index, *size, k)
    members = encode_sample(sample, 20.0)
    back = decode_sample(members)

    assert tuple(members) == MEMBERS
    assert back.index == index
    assert back.mm_per_px == sample.mm_per_px
    assert np.abs(back.labels.landmarks_px - sample.labels.landmarks_px).max() <= 0.5001e-6
    assert np.abs(back.labels.landmarks_mm - sample.labels.landmarks_mm).max() <= 0.5001e-6
    assert np.array_equal(back.labels.visible, sample.labels.visible)
    assert np.array_equal(back.labels.in_frame, sample.labels.in_frame)
    assert (back.shape, back.pose, back.camera) == (sample.shape, sample.pose, sample.camera)
    assert encode_sample(back, 20.0) == members


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)))
def test_json_writes_floats_with_a_point_and_exactly(numbers):
    text = encode_sample(replace(fake_sample(3), shape=numbers), 20.0)["json"]
    fields = json.loads(text, parse_int=lambda digits: f"whole {digits}")

    assert fields["shape"] == numbers
    assert tuple(fields) == FIELDS
    assert fields["index"] == "whole 3"
    assert not re.search(rb"-0\.0[,}\]]", text)


@given(
    st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 1e-5, 1e16]))
)
def test_json_by_the_library_and_by_hand_is_the_same(numbers):
    by_hand = {name: np.float64(value) for name, value in numbers.items()}  # what the library cannot write
    one, other = (encode_sample(replace(fake_sample(3), pose=pose), 20.0)["json"] for pose in (numbers, by_hand))

    assert one == other


def test_json_has_numpy_values_as_plain_ones():
    camera = {"a": np.float32(0.5), "b": np.int64(2), "c": np.array([1.0, 2.0]), "d": np.bool_(True)}

    members = encode_sample(replace(fake_sample(0), camera=camera), 20.0)

    assert decode_sample(members).camera == {"a": 0.5, "b": 2, "c": [1.0, 2.0], "d": True}


@pytest.mark.parametrize("value", [None, [], {"a": 1.0}, float("nan"), float("inf"), object()])
def test_json_refuses_what_readers_would_misread(value):
    with pytest.raises(ValueError, match="odd"):
        encode_sample(replace(fake_sample(0), pose={"odd": value}), 20.0)


def edited(**fields: object) -> dict[str, bytes]:
    members = encode_sample(fake_sample(0), 20.0)
    return members | {"json": json.dumps(json.loads(members["json"]) | fields).encode()}


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({}, "mask.png"),
        (edited(index=-1), "index"),
        (edited(index=True), "index"),
        (edited(extra=1.0), "fields"),
        (edited(mm_per_px="1"), "mm_per_px"),
        (edited(depth_steps_per_mm=0.0), "depth_steps_per_mm"),
        (edited(landmarks_px=[[1.0]] * 5), "landmarks_px"),
        (edited(landmarks_mm=[[1.0, 2.0, "x"]] * 5), "landmarks_mm"),
        (edited(visible=[]), "visible"),
        (edited(in_frame=[1, 0, 1, 0, 1]), "in_frame"),
        (edited(shape=[]), "shape"),
        (edited() | {"json": b"[" * 100_000}, "json"),
        (edited() | {"json": b" " * 2**21}, "bytes exceed"),
        (edited() | {"json": edited()["json"].replace(b"true", b"NaN")}, "NaN"),
        (edited() | {"mask.png": write_mask_png(np.ones((24, 20), bool))}, "mask.png"),
    ],
)
def test_invalid_sample_is_refused(members, word):
    with pytest.raises(DatasetError, match=word):
        decode_sample(members)


def test_keys_sort_as_their_indices_and_have_no_dot():
    assert sample_key(1234) == "000001234"
    assert sorted(map(sample_key, [5, 999_999_999, 12])) == [sample_key(i) for i in (5, 12, 999_999_999)]
