import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import replace
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from support.fake_balls import COUNT, HEIGHT, WIDTH, ball, make_dataset, small_spec

from synthgen.datasets.opening import open_dataset, open_source
from synthgen.datasets.source import Folder
from synthgen.errors import DatasetError
from synthgen.generator.dataset.folder import open_folder
from synthgen.storage.depth import decode_depth, normalize_depth
from synthgen.storage.png import read_depth_png, read_mask_png, write_depth_png, write_mask_png
from synthgen.storage.sample import encode_sample, sample_key
from synthgen.storage.tar import pack_end, pack_member
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.streaming.augmentation import Augmentation, draw_moves, move_images, move_points
from synthgen.training.streaming.batches import Ranks, Stream, epoch_order, prefetched
from synthgen.training.streaming.packed_samples import join_blocks, mask_block, pack_masks, unpack_depths, unpack_masks
from synthgen.training.streaming.preparation import Preparation
from synthgen.training.streaming.shard_cache import ArrayBlocks, ShardBlocks
from synthgen.training.streaming.shard_reader import read_images

TRAIN = 222
LABELS = LabelSpace(WIDTH, HEIGHT)
DEPTH_LABELS = LabelSpace(WIDTH, HEIGHT, depth=True)


@pytest.fixture
def copy(balls, tmp_path):
    return shutil.copytree(balls, tmp_path / "copy")


def stream_of(dataset, batch=10, inputs="mask", split="train", **settings):
    labels = DEPTH_LABELS if inputs == "depth" else LABELS
    return Stream(ShardBlocks(dataset, split, inputs), Preparation(labels, dataset.spec.artefacts), batch, **settings)


def same(one, other) -> bool:
    fields = ("images", "targets", "indices")
    return all(torch.equal(getattr(one, field), getattr(other, field)) for field in fields)


def seen(batches) -> list[int]:
    return torch.cat([batch.indices for batch in batches]).tolist()


# The order


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(0, 2**63 - 1), st.integers(0, 99), st.data())
def test_an_epoch_has_every_sample_once_in_windows_of_whole_blocks(sizes, seed, epoch, data):
    window = data.draw(st.integers(0, 50))
    windows = epoch_order(sizes, seed, epoch, window)
    blocks = [set(pairs[:, 0].tolist()) for pairs in windows]
    pairs = [tuple(pair) for part in windows for pair in part.tolist()]
    every = [(block, row) for block, size in enumerate(sizes) for row in range(size)]

    assert sorted(pairs) == every
    assert sum(map(len, blocks)) == len(sizes)
    assert all(len(part) <= max(window, 1) for part in blocks)
    assert window or pairs == every


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return np.concatenate(epoch_order([50] * 40, seed, epoch)).tolist()

    assert order(3, 5) == order(3, 5)
    assert len({str(order(seed, epoch)) for seed in range(4) for epoch in range(4)}) == 16


def test_samples_of_one_window_lie_anywhere_in_it():
    first = np.concatenate([epoch_order([100] * 16, seed, 0)[0] for seed in range(30)]).reshape(30, 1600, 2)
    place = np.argsort(first[:, :, 0] * 100 + first[:, :, 1], axis=1)  # where each sample stands

    assert abs(place[:, :800].mean() - 799.5) < 15
    assert np.corrcoef(place[:, 0], place[:, 1])[0, 1] < 0.6


# The stream


@pytest.mark.parametrize("inputs", ["mask", "depth"])
def test_a_stream_gives_what_the_samples_hold(balls, dataset, inputs):
    stream = replace(
        stream_of(dataset, 7, inputs), preparation=Preparation(LABELS if inputs == "mask" else DEPTH_LABELS)
    )
    stored, count = open_folder(balls), 0
    for batch in stream.epoch(0):
        points = stream.preparation.labels.decode(batch.targets.double()).numpy()
        for n, index in enumerate(batch.indices.tolist()):
            sample, image = stored.sample(index), batch.images[n, 0].numpy()
            normalized, mean, deviation = normalize_depth(sample.depth_mm)
            assert np.allclose(points[n, :, :2], sample.labels.landmarks_px, atol=1e-5)
            if inputs == "mask":
                assert np.array_equal(image, np.isfinite(sample.depth_mm))
            else:
                depths = (sample.labels.landmarks_mm[:, 2] - mean) / deviation
                assert np.allclose(image, normalized, atol=1e-4)
                assert np.allclose(batch.depth_scale[n], (mean, deviation), atol=1e-4)
                assert np.allclose(points[n, :, 2], depths, rtol=1e-4, atol=1e-4)
            count += 1

    assert count == TRAIN


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_sample_of_a_split_comes_once_an_epoch(dataset, split):
    offsets = {"train": range(48), "validation": (48,), "test": (49,)}
    wanted = [i for i in range(COUNT) if i % 50 in offsets[split]]
    stream = stream_of(dataset, 10, split=split)
    epochs = [seen(stream.epoch(epoch)) for epoch in range(3)]

    assert [sorted(indices) for indices in epochs] == [wanted] * 3
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("batch", [1, 10, 37, 222, 1000])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_ranks_share_the_batches_of_one(dataset, batch, count):
    alone = stream_of(dataset, batch)
    ranks = [replace(alone, ranks=Ranks(rank, count)) for rank in range(count)]
    epochs = [stream.epoch(1) for stream in ranks]
    numbers = range(0, len(alone.epoch(1)), 5)

    assert {len(epoch) for epoch in epochs} == {len(alone.epoch(1))}
    for number in numbers:
        whole, parts = alone.epoch(1)[number], [epoch[number] for epoch in epochs]
        assert sorted(seen(parts)) == sorted(whole.indices.tolist())
        assert {part.total for part in parts} == {len(whole)}
        for rank, part in enumerate(parts):
            assert torch.equal(part.images, whole.images[rank::count])
            assert torch.equal(part.targets, whole.targets[rank::count])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_windows_in_memory_change_nothing(dataset, threads):
    plain = list(stream_of(dataset, 10, window=3).epoch(2))
    blocks = ShardBlocks(dataset, "train", "mask", budget=1)  # nothing stays that is not in use
    small = replace(stream_of(dataset, 10, window=3), blocks=blocks)
    threaded = list(prefetched(small.epoch(2), 0, threads))

    assert len(plain) == len(threaded) == 23
    assert all(map(same, plain, threaded))
    blocks._ahead.shutdown()  # a block is dropped after it was given out
    assert len(blocks._kept._blocks) <= 6


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(dataset, workers):
    stream = stream_of(dataset, 10)
    plain = list(stream.epoch(0))
    loader = torch.utils.data.DataLoader(stream.epoch(0), batch_size=None, num_workers=workers)

    assert all(map(same, plain, loader))


@pytest.mark.parametrize("start", [0, 1, 13, 22, 23])
def test_a_stream_goes_on_in_the_middle_of_an_epoch(dataset, start):
    whole = list(stream_of(dataset, 10, seed=4, window=2).epoch(6))
    rest = list(prefetched(stream_of(dataset, 10, seed=4, window=2).epoch(6), start))

    assert len(rest) == 23 - start
    assert all(map(same, whole[start:], rest))


def test_going_on_reads_no_shard_that_is_done(dataset, monkeypatch):
    read = []
    monkeypatch.setattr(
        Folder, "shard", lambda self, path, size, old=Folder.shard: read.append(path) or old(self, path, size)
    )
    epoch = stream_of(dataset, 10, window=2).epoch(0)
    list(prefetched(epoch, 20, 0))

    assert 0 < len(set(read)) <= 6


def test_a_reader_that_stops_early_leaves_no_thread_behind(dataset):
    batches = prefetched(stream_of(dataset, 1).epoch(0), 0, 2)
    next(batches)
    batches.close()

    assert next(prefetched(stream_of(dataset, 100).epoch(0), 2, 2)).total == 22


def test_artefacts_differ_between_epochs_and_not_between_runs(dataset):
    def masks(epoch):
        batches = list(stream_of(dataset, 500, window=0).epoch(epoch))
        return batches[0].images

    changed = (masks(0) != masks(1)).flatten(1).any(dim=1)

    assert torch.equal(masks(0), masks(0))
    assert changed.float().mean() > 0.5


@pytest.mark.parametrize("samples", [1, 14, 15, 100])
def test_only_the_first_samples_are_read_where_fewer_are_wanted(dataset, samples):
    blocks = ShardBlocks(dataset, "train", "mask", samples)
    stream = replace(stream_of(dataset, 10), blocks=blocks)

    assert sorted(seen(stream.epoch(0))) == [i for i in range(COUNT) if i % 50 < 48][:samples]
    assert sum(blocks.sizes) == samples


def test_right_hands_come_as_left_ones(balls, tmp_path):
    right = open_dataset(make_dataset(tmp_path / "right", small_spec(60, side="right")))
    for inputs in ("mask", "depth"):
        blocks = ShardBlocks(right, "train", inputs)
        for number in range(len(blocks.sizes)):
            block = blocks.block(number)
            for n, index in enumerate(block.indices.tolist()):
                sample = ball(index)
                image = block.images[n] > 0 if inputs == "depth" else unpack_masks(block.images[n : n + 1], WIDTH)[0]
                assert np.array_equal(image[:, ::-1], np.isfinite(sample.depth_mm))
                assert np.allclose(block.landmarks_px[n], (WIDTH, 0) + (-1, 1) * sample.labels.landmarks_px, atol=1e-5)


def test_arrays_in_memory_stream_like_shards(dataset):
    shards = ShardBlocks(dataset, "train", "mask")
    whole = ArrayBlocks(join_blocks([shards.block(n) for n in range(len(shards.sizes))]))
    one, other = (replace(stream_of(dataset, 10, window=0), blocks=blocks) for blocks in (shards, whole))

    assert all(map(same, one.epoch(0), other.epoch(0)))


# Depth


@given(st.integers(0, 2**32 - 1))
def test_depth_in_mm_is_that_of_the_core(seed):
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random((2, HEIGHT, WIDTH)) < 0.5, rng.integers(0, 65536, (2, HEIGHT, WIDTH)), 0)
    near, steps = rng.uniform(-100, 2000, 2), rng.uniform(1, 200, 2)
    block = mask_block(np.arange(2), codes > 0, rng.uniform(0, 20, (2, 5, 2)))
    with pytest.raises(ValueError, match="images: masks have no depth"):
        unpack_depths(block)
    block = replace(block, images=codes.astype(np.uint16), depth_near_mm=near, depth_steps_per_mm=steps)
    expected = [decode_depth(*one) for one in zip(block.images, near, steps, strict=True)]

    assert np.array_equal(unpack_depths(block), np.stack(expected))


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_depth_is_normalized_as_the_core_does(seed, kind):
    rng = np.random.default_rng(seed)
    near, steps = float(rng.integers(0, 2000)), float(rng.uniform(10, 200))
    hit = rng.random((HEIGHT, WIDTH)) < (0, 0.02, 0.5, 1)[kind]
    codes = np.where(hit, rng.integers(1, 65536, hit.shape) if rng.random() < 0.8 else 77, 0).astype(np.uint16)
    block = mask_block(np.array([3]), hit[None], rng.uniform(0, 20, (1, 5, 2)))
    block = replace(
        block, images=codes[None], landmarks_z_mm=rng.uniform(900, 1000, (1, 5)), depth_near_mm=np.array([near]),
        depth_steps_per_mm=np.array([steps]),
    )  # fmt: skip
    batch = Preparation(DEPTH_LABELS).batch(block, 0, 1)
    depth = np.where(hit, near + (codes - 1.0) / steps, np.inf)
    expected, mean, deviation = normalize_depth(depth)

    assert np.allclose(batch.images[0, 0], expected, atol=1e-5)
    assert np.allclose(batch.depth_scale[0], (mean, deviation))
    assert np.allclose(batch.targets[0].reshape(5, 3)[:, 2], (block.landmarks_z_mm[0] - mean) / deviation, rtol=1e-5)


def test_artefacts_cut_depth_away_and_add_the_mean(dataset):
    batch = next(iter(stream_of(dataset, 200, "depth", window=0).epoch(0)))
    clean = next(
        iter(replace(stream_of(dataset, 200, "depth", window=0), preparation=Preparation(DEPTH_LABELS)).epoch(0))
    )
    masks = next(iter(stream_of(dataset, 200, "mask", window=0).epoch(0))).images == 1
    was, images = clean.images != 3, batch.images

    assert torch.all((images != 3) == masks)
    assert torch.all(images[masks & ~was] == 0)
    assert abs(images[masks & was].mean()) < 1e-5


# Augmentation


@given(st.floats(-np.pi, np.pi), st.floats(0.5, 1.5), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.integers(0, 999))
def test_landmarks_go_where_their_pixels_go(angle, factor, shift_x, shift_y, seed):
    size, moves = (60, 50), np.array([[angle, factor, shift_x, shift_y]])
    centre = np.array(size) / 2 + np.random.default_rng(seed).uniform(-8, 8, 2)
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    disc = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 49).astype(np.uint8)
    expected = move_points(centre[None, None], moves, size)[0, 0]
    moved = move_images(disc[None], moves)[0]
    if moved[0].any() or moved[-1].any() or moved[:, 0].any() or moved[:, -1].any():
        return  # partly outside
    found = np.array(ndimage.center_of_mass(moved))[::-1] + 0.5

    assert np.abs(found - expected).max() < 0.35
    assert abs(moved.sum() - disc.sum() * factor**2) < 0.1 * disc.sum() * factor**2 + 6


def test_whole_moves_are_exact():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 3, (1, 40, 40)).astype(np.uint16)
    points = rng.uniform(0, 40, (1, 5, 2))

    def moved(angle, shift_x, shift_y):
        moves = np.array([[angle, 1.0, shift_x, shift_y]])
        return move_images(images, moves)[0], move_points(points, moves, (40, 40))[0]

    assert np.array_equal(moved(0, 0, 0)[0], images[0])
    assert np.array_equal(moved(0, 0, 0)[1], points[0])
    assert np.array_equal(moved(0, 0.1, -0.05)[0][:-2, 4:], images[0][2:, :-4])
    assert np.allclose(moved(0, 0.1, -0.05)[1], points[0] + (4, -2))
    assert np.array_equal(moved(np.pi / 2, 0, 0)[0], np.rot90(images[0], -1))
    assert np.allclose(moved(np.pi / 2, 0, 0)[1], np.stack([40 - points[0, :, 1], points[0, :, 0]], axis=1))


def test_a_cut_forearm_goes_on_beyond_the_border():
    image = np.zeros((1, 30, 20), np.uint8)
    image[0, 10:, 8:12] = 1
    moved = move_images(image, np.array([[0, 1.0, 0, -0.3]]))

    assert moved[0, -1, 8:12].all()


def test_moves_are_drawn_within_their_ranges_anew_in_each_epoch():
    augmentation = Augmentation(rotation_deg=20.0, scale=0.2, shift=0.1)
    first, second = (draw_moves(augmentation, 1, epoch, np.arange(4000)) for epoch in (0, 1))
    reach = np.array([np.deg2rad(20), 0.2, 0.1, 0.1])

    assert np.all(np.abs(first - (0, 1, 0, 0)) <= reach)
    assert np.all(np.abs(first - (0, 1, 0, 0)).max(axis=0) > 0.98 * reach)
    assert not np.any(first == second)
    assert np.array_equal(first[7:9], draw_moves(augmentation, 1, 0, np.array([7, 8])))


def test_augmented_streams_move_images_and_labels(dataset):
    moved = Preparation(LABELS, augmentation=Augmentation(shift=0.1))
    one, other = (replace(stream_of(dataset, 50, window=0), preparation=p) for p in (Preparation(LABELS), moved))
    plain, shifted = next(iter(one.epoch(0))), next(iter(other.epoch(0)))
    difference = LABELS.decode((shifted.targets - plain.targets).double()) - LABELS.decode(torch.zeros(50, 10).double())

    assert 0.5 < difference.abs().max() <= 0.1 * HEIGHT + 1e-4
    assert not torch.equal(plain.images, shifted.images)


# Shards that are not as they should be


def archive(count: int = 6, change=lambda name, data: (name, data)) -> bytes:
    members = b""
    for index in range(count):
        for suffix, data in encode_sample(ball(index), 20.0).items():
            name, content = change(f"{sample_key(index)}.{suffix}", data)
            members += pack_member(name, content) if name else b""
    return members + pack_end(len(members))


def read(data: bytes, inputs: str = "mask", count: int = 6):
    return read_images(memoryview(data), count, (WIDTH, HEIGHT), inputs, "shard.tar")


def by_pillow(name: str, data: bytes) -> tuple[str, bytes]:
    """The same picture, as another program writes it."""
    if name.endswith(".json"):
        return name, data
    picture, file = Image.open(io.BytesIO(data)), io.BytesIO()
    picture.load()
    picture.save(file, "PNG", optimize=True)
    return name, file.getvalue()


def other_filter(name: str, data: bytes) -> tuple[str, bytes]:
    """Our own form, but masks with a depth's level and a foreign filter in one row."""
    import struct
    import zlib

    if not name.endswith("mask.png"):
        return name, data
    rows = bytearray(zlib.decompress(data[41:-16]))
    rows[5 * 5] = 2  # the filter of row 5 is now "up" …
    for i in range(1, 5):
        rows[5 * 5 + i] = (rows[5 * 5 + i] - rows[4 * 5 + i]) % 256  # … and its bytes are told that way
    pixels = b"IDAT" + zlib.compress(bytes(rows))
    chunk = struct.pack(">I", len(pixels) - 4) + pixels + struct.pack(">I", zlib.crc32(pixels))
    return name, data[:33] + chunk + data[-12:]


@pytest.mark.parametrize("change", [by_pillow, other_filter])
def test_pngs_of_other_programs_are_read_too(change):
    for inputs in ("mask", "depth"):
        indices, images = read(archive(), inputs)
        others, foreign = read(archive(change=change), inputs)

        assert archive() != archive(change=change)
        assert np.array_equal(indices, others)
        assert np.array_equal(images, foreign)


@given(st.integers(1, 70), st.integers(1, 50), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_images_of_any_size_are_read_as_one_by_one(width, height, at_once, seed):
    rng = np.random.default_rng(seed)
    members = b""
    for index in range(3):
        codes = rng.integers(0, rng.integers(1, 65536), (height, width)).astype(np.uint16)
        files = {"mask.png": write_mask_png(codes > 9), "depth.png": write_depth_png(codes), "json": b"{}"}
        members += b"".join(pack_member(f"{sample_key(index)}.{name}", data) for name, data in files.items())
    data = members + pack_end(len(members))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar}
    masks = [read_mask_png(data) for name, data in files.items() if "mask" in name]
    codes = [read_depth_png(data) for name, data in files.items() if "depth" in name]

    with mock.patch("synthgen.training.streaming.shard_reader._AT_ONCE", at_once):
        found = [read_images(memoryview(data), 3, (width, height), inputs, "")[1] for inputs in ("mask", "depth")]

    assert np.array_equal(found[0], pack_masks(np.stack(masks)))
    assert np.array_equal(found[1], np.stack(codes))


def renamed(name, data):
    return name.replace("mask.png", "png"), data


def of_another(name, data):
    return name.replace("000000002", "000000007", 1) if "json" in name else name, data


def left_out(name, data):
    return "" if name == "000000003.depth.png" else name, data


def no_picture(name, data):
    return name, b"no picture" if name == "000000003.mask.png" else data


def small_picture(name, data):
    return name, write_mask_png(np.ones((9, 9), bool)) if "mask" in name else data


def spoiled_picture(name, data):
    return name, data[:60] + b"\0" + data[61:] if "mask" in name else data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, "'000000000.png' is not the expected mask.png"),
        (of_another, "000000007.json"),
        (left_out, "has 17 files, expected 18"),
        (no_picture, "000000003.mask.png: image: is not"),
        (small_picture, "9x9 pixels, not 28x32"),
        (spoiled_picture, "mask.png: image: (wrong checksum|cannot be)"),
    ],
)
def test_archives_that_are_not_of_samples_are_refused(change, message):
    with pytest.raises(DatasetError, match=message):
        read(archive(change=change))


@pytest.mark.parametrize("count", [5, 7, 1])
def test_another_number_of_samples_is_refused(count):
    with pytest.raises(DatasetError, match=f"has 18 files, expected {3 * count}"):
        read(archive(), count=count)


@pytest.mark.parametrize("cut", [0, 100, 511, 512, 3000, 20_000])
def test_an_archive_that_is_cut_off_is_refused(cut):
    with pytest.raises(DatasetError, match=r"truncated|has \d+ files"):
        read(archive()[:cut])


def test_no_damage_does_anything_but_give_an_error():
    rng, whole, refused = np.random.default_rng(0), archive(), []
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        for inputs in ("mask", "depth"):
            try:
                indices, images = read(bytes(data), inputs)
            except DatasetError as error:
                refused.append(str(error))
            else:
                assert len(indices) == len(images) == 6

    assert len(refused) > 300
    assert all("shard.tar" in text and "\n" not in text for text in refused)


# Folders that are not as they should be


def stream_all(root):
    data = open_dataset(root)
    return list(stream_of(data, 50).epoch(0))


def reseal(root, path):
    """Write the digest of a changed file into SHA256SUMS."""
    lines = [line.split("  ") for line in (root / "SHA256SUMS").read_text().splitlines()]
    digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
    text = "".join(f"{digest if name == path else sha}  {name}\n" for sha, name in lines)
    (root / "SHA256SUMS").write_text(text)


def shard_path(root, number=3):
    return sorted((root / "train").iterdir())[number]


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0, 5000, -1])
def test_a_flipped_byte_of_a_shard_is_found(copy, at):
    flip(shard_path(copy), at)

    with pytest.raises(
        DatasetError, match=r"train-00003-of-00016.tar: has changed \(its checksum differs from the manifest"
    ):
        stream_all(copy)


def test_a_flipped_byte_is_found_by_threads_too(copy):
    flip(shard_path(copy), 5000)

    with pytest.raises(DatasetError, match="has changed"):
        list(prefetched(stream_of(open_dataset(copy), 10).epoch(0), 0, 3))


def test_a_missing_shard_is_named(copy):
    shard_path(copy).unlink()

    with pytest.raises(DatasetError, match=r"train-00003-of-00016.tar: is missing; restore it"):
        stream_all(copy)


def test_a_shard_of_another_size_is_found(copy):
    shard_path(copy).write_bytes(b"short")

    with pytest.raises(DatasetError, match=r"has 5 bytes, the manifest says \d+"):
        stream_all(copy)


@pytest.mark.parametrize("path", ["manifest.json", "spec/spec.yaml", "labels/train-00000.parquet"])
def test_a_flipped_byte_around_the_shards_is_found(copy, path):
    flip(copy / path, 200)

    with pytest.raises(DatasetError, match=f"{path} has changed"):
        stream_all(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format_version 2 is newer than 1"),
        ({"format": "other"}, "is not of a synthgen dataset"),
        ({"landmarks": ["a", "b"]}, "manifest.json and spec/spec.yaml do not belong to the same dataset"),
        ({"side": "right"}, "do not belong to the same dataset"),
        ({"image": {"width": 28, "height": "32"}}, "image.height: Input should be a valid integer"),
        ({"image": {"width": 10**9, "height": 32}}, "image.width: Input should be less than"),
        ({"shards": []}, "shards: List should have at least 1 item"),
    ],
)
def test_manifests_are_checked(copy, change, message):
    told = json.loads((copy / "manifest.json").read_text()) | change
    (copy / "manifest.json").write_text(json.dumps(told))
    reseal(copy, "manifest.json")

    with pytest.raises(DatasetError, match=message):
        stream_all(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../outside.tar"}, "leads out of the dataset"),
        ({"path": "/etc/passwd"}, "leads out of the dataset"),
        ({"samples": 10**9}, "is too small for 1000000000 samples"),
        ({"bytes": 2**50}, "bytes: Input should be less than"),
        ({"sha256": "0"}, "sha256"),
    ],
)
def test_shards_of_manifests_are_checked(copy, change, message):
    told = json.loads((copy / "manifest.json").read_text())
    told["shards"][2] |= change
    (copy / "manifest.json").write_text(json.dumps(told))
    reseal(copy, "manifest.json")

    with pytest.raises(DatasetError, match=message):
        stream_all(copy)


def change_labels(root, change):
    path = "labels/train-00000.parquet"
    tables = [pq.ParquetFile(root / path).read_row_group(n) for n in range(16)]
    with pq.ParquetWriter(root / path, change(tables[0]).schema) as writer:
        for table in tables:
            writer.write_table(change(table))
    reseal(root, path)


def replaced(table, name, values):
    return table.set_column(table.schema.get_field_index(name), name, values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("landmarks_px"), "labels/train-00000.parquet: cannot be read"),
        (lambda t: replaced(t, "index", pa.array(np.arange(len(t)))), "its samples do not match labels/"),
        (lambda t: replaced(t, "landmarks_px", pa.array([[[1.0, 2.0]] * 4] * len(t))), "not match 5 landmarks per"),
        (lambda t: replaced(t, "landmarks_px", pa.array([[[1.0, None]] * 5] * len(t))), "not match 5 landmarks"),
        (lambda t: replaced(t, "landmarks_px", pa.array([[[1.0, np.nan]] * 5] * len(t))), "not match 5 landmarks"),
        (lambda t: replaced(t, "landmarks_px", pa.array(["far"] * len(t))), "not match 5 landmarks"),
        (lambda t: t.slice(1), "its row groups do not match the shards of the manifest"),
    ],
)  # fmt: skip
def test_labels_are_checked(copy, change, message):
    change_labels(copy, change)

    with pytest.raises(DatasetError, match=message):
        stream_all(copy)


def test_labels_that_are_no_parquet_are_refused(copy):
    (copy / "labels/train-00000.parquet").write_bytes(b"nothing" * 9)
    reseal(copy, "labels/train-00000.parquet")

    with pytest.raises(DatasetError, match="is not a Parquet file"):
        stream_all(copy)


def test_folders_that_are_no_dataset_are_refused(copy, tmp_path):
    with pytest.raises(DatasetError, match="is not a dataset folder"):
        open_source(tmp_path)
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(DatasetError, match="is not sealed"):
        open_source(copy)


def test_a_split_without_samples_is_named(tmp_path):
    data = open_dataset(make_dataset(tmp_path / "few", small_spec(40)))

    with pytest.raises(DatasetError, match="has no samples in split test"):
        stream_of(data, split="test")
