import io
import multiprocessing
import os
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_samples import fake_sample

from synthgen.datasets.plan import find_plan, plan_shards, split_of
from synthgen.errors import DatasetError
from synthgen.generator.dataset.shards import find_sample, read_part, read_shard, shard_done, write_shard
from synthgen.storage.atomic_files import atomic_file, file_sha256, remove_abandoned
from synthgen.storage.sample import decode_sample, encode_sample, sample_key
from synthgen.storage.tar import pack_end, pack_member

counts = st.one_of(st.integers(1, 400), st.integers(1, 3_000_000))


@given(counts)
def test_every_sample_is_in_one_shard_of_its_split(count):
    plans = plan_shards("hand", 1, count)
    indices = np.concatenate([plan.indices for plan in plans])

    assert [plan.number for plan in plans] == list(range(len(plans)))
    assert np.array_equal(np.sort(indices), np.arange(count))
    for plan in plans:
        ends = plan.indices[[0, -1]]
        assert plan.samples == len(plan.indices) > 0
        assert (np.diff(plan.indices) > 0).all()
        assert {split_of(int(i)) for i in ends} == {plan.split}
        assert all(find_plan(plans, int(i)) == plan for i in ends)
    assert find_plan(plans, count) is None


@given(counts)
def test_shards_of_a_split_differ_by_at_most_one_sample(count):
    plans = plan_shards("hand", 1, count)

    for split in {plan.split for plan in plans}:
        sizes = [plan.samples for plan in plans if plan.split == split]
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == (1 if sum(sizes) < 160 else 16 * -(-sum(sizes) // 137_600))


@given(counts, counts)
def test_another_count_moves_no_sample_to_another_split(a, b):
    plans = {n: plan_shards("hand", 1, n) for n in (a, b)}
    for index in {0, 47, 48, 49, min(a, b) - 1}:
        splits = {plan.split for n in (a, b) if (plan := find_plan(plans[n], index))}
        assert splits == {split_of(index)} or index >= min(a, b)


def test_the_papers_hands_are_256_training_shards():
    train = [plan for plan in plan_shards("hand", 1, 2_200_000) if plan.split == "train"]

    assert [plan.samples for plan in train] == [8250] * 256
    assert train[7].path == "train/synthgen-hand-v1-train-00007-of-00256.tar"


@given(st.lists(st.tuples(st.integers(0, 10**9 - 1), st.binary(max_size=3000)), max_size=12))
def test_archive_is_what_tarfile_writes(files):
    expected, own = io.BytesIO(), b""
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index, data in files:
            info = tarfile.TarInfo(f"{sample_key(index)}.depth.png")
            info.size, info.mtime, info.mode, info.uid, info.gid = len(data), 0, 0o644, 0, 0
            tar.addfile(info, io.BytesIO(data))
            own += pack_member(info.name, data)

    assert own + pack_end(len(own)) == expected.getvalue()


PLANS = plan_shards("hand", 1, 60)
PLAN = PLANS[0]


def made(plan=PLAN):
    return [fake_sample(int(index)) for index in plan.indices]


def test_shard_is_read_back_whole_and_by_sample(tmp_path):
    samples = made()
    receipt = write_shard(PLAN, iter(samples), tmp_path, 20.0)
    path = tmp_path / PLAN.path

    assert shard_done(PLAN, tmp_path)
    assert (receipt.bytes, receipt.sha256, receipt.samples) == (path.stat().st_size, file_sha256(path), len(samples))
    expected = [(sample_key(s.index), encode_sample(s, 20.0)) for s in samples]
    assert list(read_shard(path)) == expected
    assert decode_sample(find_sample(path, 50)).index == 50
    with pytest.raises(DatasetError, match="sample 000000048 is missing"):
        find_sample(path, 48)
    with tarfile.open(path) as tar:
        assert [m.name for m in tar][:4] == [
            f"00000000{n}" for n in ("0.mask.png", "0.depth.png", "0.json", "1.mask.png")
        ]


def test_shard_has_the_same_bytes_again(tmp_path):
    receipts = [write_shard(PLAN, made(), tmp_path / name, 20.0) for name in "ab"]

    assert receipts[0] == receipts[1]


@pytest.mark.parametrize("remains", ["nothing", "garbage", "of another archive"])
def test_label_lines_are_made_again_from_the_archive(tmp_path, remains):
    receipt = write_shard(PLAN, made(), tmp_path, 20.0)
    part = tmp_path / PLAN.part
    expected, before = read_part(PLAN, tmp_path), part.read_bytes()
    if remains == "nothing":
        part.unlink()
    elif remains == "garbage":
        part.write_bytes(before[:-30])
    else:
        samples = made()
        samples[3] = fake_sample(3, 200, 200)
        write_shard(PLAN, samples, tmp_path / "other", 20.0)
        part.write_bytes((tmp_path / "other" / PLAN.part).read_bytes())

    assert read_part(PLAN, tmp_path) == expected
    assert expected[0] == receipt
    assert part.read_bytes() == before


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 20_000, -10_240, -512, -1])
def test_archive_that_is_cut_off_is_neither_done_nor_read(tmp_path, kept):
    write_shard(PLAN, made(), tmp_path, 20.0)
    (tmp_path / PLAN.part).unlink()
    path = tmp_path / PLAN.path
    data = path.read_bytes()
    # A whole number of records is how archives are often cut; the closing blocks alone tell it then.
    for cut in (data[:kept], data[: len(data) // 10_240 // 2 * 10_240]):
        path.write_bytes(cut)
        assert not shard_done(PLAN, tmp_path)
        with pytest.raises(DatasetError):
            read_part(PLAN, tmp_path)


def test_archive_of_other_samples_is_refused(tmp_path):
    other = plan_shards("hand", 1, 61)[0]
    write_shard(other, made(other), tmp_path, 20.0)
    assert (other.path, other.samples) == (PLAN.path, PLAN.samples + 1)

    with pytest.raises(DatasetError, match="does not hold the planned samples"):
        read_part(PLAN, tmp_path)


def failing(samples, after):
    yield from samples[:after]
    raise KeyboardInterrupt


def everything(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_nothing_stays_of_a_shard_that_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_shard(PLAN, failing(made(), 5), tmp_path, 20.0)

    assert everything(tmp_path) == []


@pytest.mark.parametrize("wrong", ["fewer", "more", "other", "unlike"])
def test_samples_must_be_the_planned_ones_and_alike(tmp_path, wrong):
    samples = made()
    odd = fake_sample(samples[4].index)
    odd.shape["gender"] = "male"
    lists = {
        "fewer": samples[:-1],
        "more": [*samples, fake_sample(58)],
        "other": [samples[1], *samples[1:]],
        "unlike": [*samples[:4], odd, *samples[5:]],
    }
    with pytest.raises(ValueError, match=r"planned|other keys or types"):
        write_shard(PLAN, lists[wrong], tmp_path, 20.0)

    assert everything(tmp_path) == []


def write_slowly(root: Path) -> None:
    def slow():
        for sample in made():
            yield sample
            if sample.index == 5:
                (root / "ready").touch()
                time.sleep(60)

    write_shard(PLAN, slow(), root, 20.0)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kill_in_the_middle_leaves_no_final_name_and_the_rest_is_cleaned(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=write_slowly, args=(tmp_path,))
    process.start()
    while not (tmp_path / "ready").exists():
        assert process.is_alive()
        time.sleep(0.02)
    partial = [name for name in everything(tmp_path) if name.endswith(".partial")]
    remove_abandoned(tmp_path)
    assert [name for name in everything(tmp_path) if name.endswith(".partial")] == partial  # its writer lives
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert len(partial) == 2
    assert not shard_done(PLAN, tmp_path)
    assert everything(tmp_path) == sorted([*partial, "ready"])
    remove_abandoned(tmp_path)
    assert everything(tmp_path) == ["ready"]


def test_file_appears_whole_and_replaces_the_old_one_last(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"

    assert path.read_bytes() == b"new"
    assert everything(tmp_path) == ["a.bin"]
