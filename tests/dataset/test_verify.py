"""What `synthgen verify` finds, and that it finds nothing in what is sound."""

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import call_here
from support.fake_dataset import change_file, make_dataset, plans_of, put_shard, small_spec, tree
from support.fake_samples import fake_sample
from support.laws import examples

from synthgen.datasets.plan import plan_shards
from synthgen.errors import DatasetError, EngineError
from synthgen.generator.dataset.folder import open_folder, seal_dataset, start_dataset
from synthgen.generator.dataset.rerender import choose_samples
from synthgen.generator.dataset.shards import read_shard, write_shard
from synthgen.generator.dataset.verify import VerifyOptions, verify_dataset
from synthgen.generator.pipeline import open_pipeline
from synthgen.specs.files import load_spec
from synthgen.specs.spec import Image
from synthgen.storage.sample import decode_sample, encode_sample
from synthgen.storage.tar import pack_end, pack_member

COUNT = 60
"""58 for training, one for validation, one for tests: a shard each."""


@pytest.fixture(scope="module")
def spec():
    return small_spec(COUNT)


def only_problem(root: Path) -> str:
    (problem,) = verify_dataset(root).problems
    return problem


def test_a_sound_dataset_has_no_problems_and_is_not_touched(sealed):
    before = {path: path.stat().st_mtime_ns for path in sealed.rglob("*")}
    report = verify_dataset(sealed)

    assert report.problems == ()
    assert (report.shards, report.samples) == (3, COUNT)
    assert report.bytes == sum((sealed / plan.path).stat().st_size for plan in open_folder(sealed).plans)
    assert {path: path.stat().st_mtime_ns for path in sealed.rglob("*")} == before


def test_what_runs_leave_beside_a_dataset_is_no_problem(folder):
    (folder / "run.json").write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.pkl").write_text("of another tool")

    assert verify_dataset(folder).problems == ()


# What is around the archives.


def remove(path):
    return lambda root: (root / path).unlink()


def append(path):
    return lambda root: (root / path).write_bytes((root / path).read_bytes() + b"\n")


def add(path):
    return lambda root: (root / path).write_bytes(b"x")


def link(path):
    def spoil(root):
        outside = root.parent / "outside"
        shutil.move(root / path, outside)
        (root / path).symlink_to(outside)

    return spoil


def tell(path, **changes):
    def spoil(root):
        told = json.loads((root / path).read_text()) | changes
        change_file(root, path, json.dumps(told).encode())

    return spoil


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (remove("LICENSE"), "LICENSE: is missing"),
        (remove("labels/test-00000.parquet"), "labels/test-00000.parquet: is missing"),
        (append("README.md"), "README.md: has changed"),
        (append("labels/train-00000.parquet"), "labels/train-00000.parquet: has changed"),
        (add("notes.txt"), "'notes.txt': does not belong"),
        (add("train/x.pkl"), "'train/x.pkl': does not belong"),
        (add("labels/train-00001.parquet"), "'labels/train-00001.parquet': does not belong"),
        (link("README.md"), "README.md: is a link"),
        (link("test/synthgen-hand-v1-test-00000-of-00001.tar"), "test-00000-of-00001.tar: is a link"),
        (remove("SHA256SUMS"), "SHA256SUMS: is missing; run `synthgen render`"),
        (remove("test/synthgen-hand-v1-test-00000-of-00001.tar"), "1 of 3 shards are missing"),
        (tell("manifest.json", count=3), "manifest.json: count: does not match"),
        (tell("manifest.json", landmarks=["a"]), "manifest.json: landmarks: does not match"),
        (tell("manifest.json", format_version=2), "manifest.json: format_version: value 2; this synthgen reads 1"),
        (tell("manifest.json", shards=[]), "manifest.json: shards: does not match"),
        (tell("manifest.json", shards=5), "manifest.json: shards: does not match"),
        (tell("manifest.json", shards=[5, {"path": [1]}]), "manifest.json: shards: does not match"),
        (tell("_info.json", splits={}), "_info.json: does not match the spec"),
        (lambda root: change_file(root, "labels/test-00000.parquet", b"PAR1"), "test-00000.parquet: cannot be read"),
    ],
)
def test_what_is_wrong_around_the_archives_is_told(folder, spoil, line):
    spoil(folder)

    assert line in "\n".join(verify_dataset(folder).problems)


def test_a_file_in_no_checksum_is_told(folder):
    sums = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in sums if "LICENSE" not in line))

    assert only_problem(folder) == "LICENSE: is not listed in SHA256SUMS; remove it"


def test_a_manifest_that_cannot_be_read_is_an_error(folder):
    for content in (b"[" * 100_000, b"[]", b"\xff"):
        change_file(folder, "manifest.json", content)
        with pytest.raises(DatasetError, match=r"manifest\.json: (cannot be read|is not a JSON object)"):
            verify_dataset(folder)
        (folder / "manifest.json").write_text('{"shards": []}')  # which the next round reads


def test_what_is_no_dataset_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="is not a dataset folder"):
        verify_dataset(tmp_path)
    with pytest.raises(DatasetError, match="is not a dataset folder"):
        verify_dataset(tmp_path / "absent")


def rows(change):
    """Change the first row of a table."""

    def spoil(root, path):
        table = pq.read_table(root / path)
        first = table.slice(0, 1).to_pylist()[0]
        change(first)
        changed = pa.Table.from_pylist([first, *table.slice(1).to_pylist()], schema=table.schema)
        file = io.BytesIO()
        pq.write_table(changed, file)
        change_file(root, path, file.getvalue())

    return spoil


@pytest.mark.parametrize(
    ("path", "change", "line"),
    [
        ("labels/test-00000.parquet", lambda row: row["landmarks_px"][3].__setitem__(0, 1.0), "landmarks_px: does not"),
        ("labels/test-00000.parquet", lambda row: row["shape"].update(gender=0.0), "shape: does not match"),
        ("labels/train-00000.parquet", lambda row: row.update(key="000000059"), "key: does not match"),
        ("labels/train-00000.parquet", lambda row: row.update(shard="elsewhere.tar"), "shard: does not match"),
        ("preview/preview.parquet", lambda row: row["depth.png"].update(bytes=b"x"), "preview.parquet: does not match"),
        ("preview/preview.parquet", lambda row: row.update(index=5), "preview.parquet: does not match"),
    ],
)
def test_tables_that_differ_from_the_archives_are_told(folder, path, change, line):
    rows(change)(folder, path)

    assert line in only_problem(folder)


def test_a_table_of_other_columns_or_groups_is_told(folder):
    path = "labels/train-00000.parquet"
    table = pq.read_table(folder / path)
    for changed, size in ((table, 10), (table.drop_columns("camera"), len(table))):
        file = io.BytesIO()
        pq.write_table(changed, file, row_group_size=size)
        change_file(folder, path, file.getvalue())

        assert "its columns or row groups do not match the shards" in only_problem(folder)


# What is in the archives.


def spoil_sample(**changes):
    """Change fields of the json of the test split's sample."""

    def spoil(members):
        fields = json.loads(members["json"]) | changes
        return members | {"json": json.dumps(fields).encode()}

    return spoil


def archive(samples: dict[str, dict[str, bytes]]) -> bytes:
    packed = b"".join(pack_member(f"{key}.{name}", data) for key, own in samples.items() for name, data in own.items())
    return packed + pack_end(len(packed))


def last_shard(root: Path):
    """Return the path and the samples of the shard of the test split."""
    plan = open_folder(root).plans[-1]
    return plan.path, dict(read_shard(root / plan.path))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (spoil_sample(index=48), "index: value 48"),
        (spoil_sample(visible=[True], in_frame=[True], landmarks_px=[[1.0, 2.0]], landmarks_mm=[[1.0, 2.0, 3.0]]),
         "visible: 1 landmarks, not 5"),
        (spoil_sample(depth_steps_per_mm=10.0), "depth_steps_per_mm: value 10.0"),
        (spoil_sample(mm_per_px=2), "mm_per_px: is not a finite float"),
        (spoil_sample(shape={}), "its json has other fields or types"),
        (spoil_sample(pose={"redraws": 1.0}), "its json has other fields or types"),
        (spoil_sample(shape={"age_years": None}), "does not fit into a table"),
        (spoil_sample(shape={"age_years": [1.0, "x"]}), "a list is empty or mixes types"),
        (spoil_sample(more=1), "its fields are not index"),
        (lambda members: members | {"json": b"{"}, "json: cannot be read"),
        (lambda members: members | {"json": b"[" * 100_000}, "json: cannot be read"),
        (lambda members: members | {"json": b" " * 2**20 + members["json"]}, "bytes exceed"),
        (lambda members: members | {"mask.png": encode_sample(fake_sample(3), 20.0)["mask.png"][:-12]}, "truncated"),
        (lambda members: members | {"depth.png": encode_sample(fake_sample(3), 20.0)["depth.png"] + b"more"},
         "depth.png: is truncated or has trailing bytes"),
        (lambda members: members | {"depth.png": encode_sample(fake_sample(9, 12, 10), 20.0)["depth.png"]},
         "mask.png: does not match where depth.png is above 0"),
        (lambda members: encode_sample(fake_sample(49, 12, 10), 20.0), "depth.png: 10 x 12 pixels, not 20 x 24"),
    ],
)  # fmt: skip
def test_a_sample_that_is_wrong_is_told(folder, spoil, line):
    path, samples = last_shard(folder)
    change_file(folder, path, archive({key: spoil(members) for key, members in samples.items()}))
    problem = only_problem(folder)

    assert line in problem
    assert problem.startswith(path) or "labels" in problem


def test_a_sample_of_another_split_is_told(folder):
    path, samples = last_shard(folder)
    change_file(folder, path, archive({"000000048": next(iter(samples.values()))}))

    assert "contains '000000048.mask.png', which does not belong there" in only_problem(folder)


def member(name, data=b"x", **facts):
    def pack(info=None):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for fact, value in facts.items():
            setattr(info, fact, value)
        return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)

    return pack()


WICKED = {
    "an absolute path": (member("/etc/evil"), "points outside its folder"),
    "a path upwards": (member("../evil"), "points outside its folder"),
    "a path upwards inside": (member("train/../../evil"), "points outside its folder"),
    "a drive": (member("C:evil"), "points outside its folder"),
    "a pickle": (member("000000049.pkl"), "could run code when it is read"),
    "weights": (member("model.pth"), "could run code when it is read"),
    "a symbolic link": (
        member("000000049.mask.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "regular",
    ),
    "a hard link": (member("000000049.mask.png", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "regular"),
    "a device": (member("000000049.mask.png", b"", type=tarfile.CHRTYPE), "regular"),
    "a folder": (member("000000049.mask.png", b"", type=tarfile.DIRTYPE), "regular"),
    "10 GB": (tarfile.TarInfo("000000049.mask.png"), "regular file"),
    "a long name": (member("x", b"y" * 600, type=tarfile.GNUTYPE_LONGNAME), "regular file"),
    "nonsense": (b"nonsense" * 64, "no archive header"),
}
WICKED["10 GB"][0].size = 10 * 2**30
WICKED["10 GB"] = (WICKED["10 GB"][0].tobuf(tarfile.GNU_FORMAT), WICKED["10 GB"][1])


@pytest.mark.parametrize("where", ["first", "behind"])
@pytest.mark.parametrize("kind", WICKED)
def test_a_malicious_archive_is_refused_and_nothing_is_written(folder, kind, where):
    path, samples = last_shard(folder)
    wicked, line = WICKED[kind]
    packed = b"".join(pack_member(f"{k}.{n}", data) for k, own in samples.items() for n, data in own.items())
    data = wicked + packed if where == "first" else packed + wicked
    change_file(folder, path, data + pack_end(len(data)))
    before = tree(folder.parent)

    assert line in only_problem(folder)
    assert tree(folder.parent) == before


def test_a_member_twice_is_refused(folder):
    path, samples = last_shard(folder)
    ((key, members),) = samples.items()
    packed = b"".join(pack_member(f"{key}.{name}", members[name]) for name in ("mask.png", "depth.png", "mask.png"))
    change_file(folder, path, packed + pack_end(len(packed)))

    assert f"contains '{key}.mask.png' twice" in only_problem(folder)


@pytest.mark.parametrize("facts", [{"mtime": 1}, {"uid": 1}, {"mode": 0o755}, {"uname": "root"}])
def test_a_header_that_says_more_than_it_must_is_told(folder, facts):
    path, samples = last_shard(folder)
    ((key, own),) = samples.items()
    packed = b"".join(member(f"{key}.{name}", data, **facts) for name, data in own.items())
    change_file(folder, path, packed + pack_end(len(packed)))

    assert "is not the one that synthgen writes" in only_problem(folder)


@pytest.mark.parametrize("more", [bytes(10240), b"more", member("000000099.json")])
def test_bytes_behind_the_end_are_told(folder, more):
    path, _ = last_shard(folder)
    change_file(folder, path, (folder / path).read_bytes() + more)

    assert "has trailing bytes" in only_problem(folder)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("single") / "hand", small_spec(1))


@pytest.mark.slow
@examples(40)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_byte_of_an_archive_that_changes_is_found_whatever_the_checksums_say(single, place, flip):
    path, _ = last_shard(single)
    content = (single / path).read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= flip
    change_file(single, path, bytes(changed))
    found = verify_dataset(single).problems
    change_file(single, path, content)

    assert found
    assert verify_dataset(single).problems == ()


def test_an_archive_cut_off_anywhere_is_told(folder):
    path, _ = last_shard(folder)
    content = (folder / path).read_bytes()
    for length in (0, 100, 512, 700, 2000, len(content) - 512):
        change_file(folder, path, content[:length])

        assert only_problem(folder).startswith(path)


def test_only_the_first_problem_of_an_archive_is_told_and_the_others_are_checked(folder):
    for plan in open_folder(folder).plans[:2]:
        (folder / plan.path).write_bytes((folder / plan.path).read_bytes()[:-1] + b"x")
    found = verify_dataset(folder)

    assert [problem.split(": ")[1] for problem in found.problems] == ["has changed; restore it"] * 2
    assert found.samples == 1


# Rendering again.


@pytest.fixture(scope="module")
def rendered_spec():
    spec = load_spec("paper_hand", {"count": COUNT, "engine": "raster"})
    return spec.model_copy(update={"image": Image(width=48, height=48)})


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, rendered_spec):
    root = tmp_path_factory.mktemp("rendered") / "hand"
    pipeline = open_pipeline(rendered_spec, "raster")
    return make_dataset(root, rendered_spec, pipeline.sample)


@pytest.mark.slow
def test_samples_rendered_again_are_the_same_to_the_last_pixel(rendered):
    report = verify_dataset(rendered, VerifyOptions(rerender=12, engine="raster"))
    again = report.rerendered

    assert report.problems == ()
    assert (again.samples, again.pixels) == (12, 12 * 48 * 48)
    assert (again.mask_pixels, again.depth_mm, again.landmarks_px) == (0, 0.0, 0.0)
    assert str(again) == (
        "12 samples rendered again with raster: 0 of 27,648 mask pixels differ, "
        "largest depth difference 0.000 mm, landmarks within 0.0000 px"
    )


@pytest.mark.slow
def test_pixels_that_their_recipes_do_not_give_are_found(tmp_path, rendered, rendered_spec):
    root = Path(shutil.copytree(rendered, tmp_path / "hand"))
    for plan in plans_of(rendered_spec):
        samples = [decode_sample(members) for _, members in read_shard(root / plan.path)]
        wrong = [replace(s, depth_mm=np.where(np.isfinite(s.depth_mm), s.depth_mm + 1, np.inf)) for s in samples]
        put_shard(root, rendered_spec, plan, wrong)
    (root / "SHA256SUMS").unlink()
    assert seal_dataset(root, rendered_spec, plans_of(rendered_spec))

    assert verify_dataset(root).problems == ()
    report = verify_dataset(root, VerifyOptions(rerender=4, engine="raster"))
    assert "differs from what its recipes give (4 samples rendered again" in report.problems[0]
    assert report.rerendered.depth_mm == pytest.approx(1.0, abs=0.06)


def test_samples_that_cannot_be_rendered_here_are_a_problem(sealed):
    """The fake samples' recipes fit no body."""
    (problem,) = verify_dataset(sealed, VerifyOptions(rerender=1)).problems

    assert problem.endswith("its recipe does not fit the spec; restore the shard")


def test_an_unknown_engine_is_refused_before_any_work(sealed):
    with pytest.raises(EngineError, match="--engine: value cycles; give blender or raster"):
        verify_dataset(sealed, VerifyOptions(rerender=1, engine="cycles"))


@given(st.integers(1, 5000), st.integers(0, 40), st.integers(0, 2**32))
def test_chosen_samples_are_different_ones_of_the_shards_and_the_seed_decides(count, wanted, seed):
    plans = plan_shards("hand", 1, count)[::2]
    there = {int(index) for plan in plans for index in plan.indices}
    chosen = choose_samples(plans, wanted, seed)

    assert len(set(chosen)) == len(chosen) == min(wanted, len(there))
    assert set(chosen) <= there
    assert chosen == choose_samples(plans, wanted, seed)


# The command.


def test_the_command_tells_and_its_status_says_whether_all_is_well(folder, capsys, monkeypatch):
    fine = call_here(capsys, monkeypatch, "verify", folder)
    (folder / "LICENSE").unlink()
    wrong = call_here(capsys, monkeypatch, "verify", folder)

    assert (fine.status, wrong.status) == (0, 1)
    assert "sound; 60 samples in 3 shards" in fine.out
    assert "problem: LICENSE: is missing; restore it" in wrong.err
    assert "problems: 1; 60 samples" in wrong.out


def test_an_unfinished_folder_is_checked_as_far_as_it_goes(tmp_path, spec):
    start_dataset(tmp_path / "hand", spec)
    plan = plans_of(spec)[1]
    write_shard(plan, [fake_sample(int(index)) for index in plan.indices], tmp_path / "hand", 20.0)
    report = verify_dataset(tmp_path / "hand")

    assert "2 of 3 shards are missing; run `synthgen render` or `synthgen pull`" in report.problems[0]
    assert report.samples == plan.samples
