import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from support.fake_dataset import make_dataset, plans_of, put_shard, small_spec, tree
from support.fake_samples import fake_sample

from synthgen.errors import DatasetError
from synthgen.generator.dataset import folder as dataset_module
from synthgen.generator.dataset.card import card, size_category
from synthgen.generator.dataset.folder import open_folder, seal_dataset, start_dataset, verify_checksums
from synthgen.generator.dataset.manifest import describe
from synthgen.generator.dataset.shards import write_shard
from synthgen.specs.spec import spec_hash
from synthgen.storage.dataset_paths import PARTS
from synthgen.storage.sample import FIELDS, decode_sample, encode_sample, sample_key

COUNT = 230
"""222 for training in 16 shards, 4 for validation and 4 for tests in one each."""


def render(plan, root, spec):
    put_shard(root, spec, plan, [fake_sample(int(index)) for index in plan.indices])


@pytest.fixture(scope="module")
def spec():
    return small_spec(COUNT)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, spec):
    root = tmp_path_factory.mktemp("sealed") / "hand"
    make_dataset(root, spec)
    return root


def test_folder_has_the_files_of_the_design_and_sums_of_all(sealed, spec):
    files = tree(sealed)
    around = """
        README.md LICENSE croissant.json _info.json manifest.json SHA256SUMS spec/spec.yaml spec/environment.lock
        labels/train-00000.parquet labels/validation-00000.parquet labels/test-00000.parquet
        preview/preview.parquet assets/contact_sheet.png assets/landmarks.png assets/people.png assets/poses.png"""
    sums = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())

    assert set(files) == set(around.split()) | {plan.path for plan in plans_of(spec)}
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "SHA256SUMS"}
    assert not (sealed / PARTS).exists()
    assert verify_checksums(sealed) == ()


def test_any_order_and_interruption_give_the_same_bytes(tmp_path, sealed, spec):
    root, plans = tmp_path / "again", list(plans_of(spec))
    random.Random(1).shuffle(plans)
    start_dataset(root, spec)
    for plan in plans[:9]:
        render(plan, root, spec)
    assert not seal_dataset(root, spec, plans_of(spec))
    assert "SHA256SUMS" not in tree(root)
    (root / plans[0].part).unlink()
    (root / "train" / ".x.tar.00000000.partial").write_bytes(b"of a killed run")
    start_dataset(root, spec)
    assert not (root / "train" / ".x.tar.00000000.partial").exists()
    for plan in plans[9:]:
        render(plan, root, spec)
    assert seal_dataset(root, spec, plans_of(spec))

    assert tree(root) == tree(sealed)


def test_sealing_again_writes_nothing(tmp_path, sealed, spec):
    root = tmp_path / "copy"
    shutil.copytree(sealed, root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}

    assert seal_dataset(root, spec, plans_of(spec), draw=None)

    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize("cut", ["while sealing", "while cleaning", "a shard lost", "a table lost"])
def test_seal_that_was_cut_off_or_broken_is_made_whole(tmp_path, sealed, spec, cut):
    root, plans = tmp_path / "copy", plans_of(spec)
    shutil.copytree(sealed, root)
    if cut == "while sealing":
        (root / "SHA256SUMS").unlink()
        (root / "README.md").write_text("old")
        (root / "labels" / "train-00000.parquet").unlink()
    elif cut == "while cleaning":
        render(plans[1], root, spec)
    elif cut == "a shard lost":
        (root / plans[2].path).unlink()
        assert not seal_dataset(root, spec, plans)
        render(plans[2], root, spec)
    else:
        (root / "labels" / "test-00000.parquet").unlink()

    assert seal_dataset(root, spec, plans)

    assert tree(root) == tree(sealed)
    assert not (root / PARTS).exists()


def test_seal_that_fails_leaves_no_sums(tmp_path, spec):
    def draw(samples, info):
        raise KeyboardInterrupt

    start_dataset(tmp_path, spec)
    for plan in plans_of(spec):
        render(plan, tmp_path, spec)
    with pytest.raises(KeyboardInterrupt):
        seal_dataset(tmp_path, spec, plans_of(spec), draw)

    assert "SHA256SUMS" not in tree(tmp_path)
    assert seal_dataset(tmp_path, spec, plans_of(spec), lambda samples, info: b"sheet")


def test_manifest_tells_the_shards_and_timm_finds_them(sealed, spec):
    told, info = (json.loads((sealed / name).read_text()) for name in ("manifest.json", "_info.json"))

    assert told["spec_sha256"] == spec_hash(spec)
    assert told["landmarks"] == ["thumb", "index", "middle", "ring", "little"]
    assert told["image"] == {"width": 20, "height": 24}
    assert {"bpy", "numpy", "python", "zlib", "synthgen"} <= set(told["versions"])
    assert sum(shard["samples"] for shard in told["shards"]) == COUNT
    first, last = told["shards"][0], told["shards"][-1]
    assert (first["first_key"], last["last_key"]) == (sample_key(0), sample_key(199))
    assert info["splits"]["train"]["num_samples"] == sum(info["splits"]["train"]["shard_lengths"])
    assert all((sealed / name).is_file() for split in info["splits"].values() for name in split["filenames"])


def test_label_tables_hold_what_the_shards_hold(sealed, spec):
    tables = [sealed / f"labels/{split}-00000.parquet" for split in ("train", "validation", "test")]
    rows = [row for table in tables for row in pq.read_table(table).to_pylist()]
    expected = [(sample_key(s.index), s) for s in open_folder(sealed).samples()]

    assert [row["key"] for row in rows] == [key for key, _ in expected]
    assert {row["shard"] for row in rows} == {plan.path for plan in plans_of(spec)}
    for row, (_, sample) in zip(rows, expected, strict=True):
        assert {field: row[field] for field in FIELDS} == json.loads(encode_sample(sample, 20.0)["json"])
    groups = pq.ParquetFile(sealed / "labels/train-00000.parquet").metadata
    assert groups.num_row_groups == 16


def test_preview_holds_images_and_labels(sealed):
    file = pq.ParquetFile(sealed / "preview/preview.parquet")
    rows = file.read().to_pylist()

    assert (len(rows), file.metadata.num_row_groups) == (100, 1)
    row = rows[7]
    assert row["depth.png"] == {
        "bytes": encode_sample(fake_sample(7), 20.0)["depth.png"],
        "path": "000000007.depth.png",
    }
    assert row["index"] == 7


def test_dataset_is_read_by_index_and_by_split(sealed):
    dataset = open_folder(sealed)

    assert len(dataset) == COUNT
    assert [s.index for s in dataset.samples("test")] == [49, 99, 149, 199]
    for index in (0, 48, 49, 101, COUNT - 1):
        assert dataset.members(index) == encode_sample(fake_sample(index), 20.0)
    for index in (-1, COUNT):
        with pytest.raises(DatasetError, match=f"value {index}; the dataset holds samples 0 to 229"):
            dataset.sample(index)


def test_unfinished_dataset_is_read_as_far_as_it_goes(tmp_path, spec):
    start_dataset(tmp_path, spec)
    plans = plans_of(spec)
    render(plans[1], tmp_path, spec)
    dataset = open_folder(tmp_path)

    assert dataset.manifest is None
    assert [s.index for s in dataset.samples()] == plans[1].indices.tolist()
    assert dataset.sample(int(plans[1].indices[2])).index == plans[1].indices[2]
    with pytest.raises(DatasetError, match="is missing; run `synthgen render`"):
        dataset.sample(0)
    with pytest.raises(DatasetError, match="not sealed"):
        verify_checksums(tmp_path)


def test_what_is_no_dataset_is_not_opened(tmp_path):
    with pytest.raises(DatasetError, match="is not a dataset folder"):
        open_folder(tmp_path)


def test_changed_and_missing_files_are_found(tmp_path, sealed):
    root = tmp_path / "copy"
    shutil.copytree(sealed, root)
    plan = plans_of(small_spec(COUNT))[0]
    data = bytearray((root / plan.path).read_bytes())
    data[700] ^= 1
    (root / plan.path).write_bytes(data)
    (root / "LICENSE").unlink()

    assert set(verify_checksums(root)) == {f"{plan.path}: has changed", "LICENSE: is missing"}


@pytest.mark.parametrize("line", ["0" * 64 + "  ../secret", "0" * 64 + "  /etc/passwd", "nonsense"])
def test_checksums_that_lead_out_of_the_folder_are_refused(tmp_path, line):
    (tmp_path / "SHA256SUMS").write_text(line + "\n")

    with pytest.raises(DatasetError, match="is not a line of checksum"):
        verify_checksums(tmp_path)


def test_another_spec_is_refused_with_the_difference(sealed):
    for other, line in (
        (small_spec(COUNT + 1), "count: 230 -> 231"),
        (small_spec(COUNT).model_copy(update={"seed": 5}), "seed: 0 -> 5"),
    ):
        with pytest.raises(DatasetError, match=rf"holds a dataset of another spec .*{line}.*--overwrite"):
            start_dataset(sealed, other)


def test_other_versions_are_refused(tmp_path, spec, monkeypatch):
    start_dataset(tmp_path, spec)
    monkeypatch.setattr(dataset_module, "environment", lambda engine: {"numpy": "9.9"})

    with pytest.raises(DatasetError, match=r"was started with other versions .*numpy: 1\.\S+ -> 9\.9"):
        start_dataset(tmp_path, spec)


def test_folder_of_something_else_is_refused_and_left_alone(tmp_path, spec):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(DatasetError, match=r"not a dataset folder .it holds thesis.txt"):
        start_dataset(tmp_path, spec)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_folder_that_cannot_be_made_is_refused(tmp_path, spec):
    (tmp_path / "file").write_text("")

    with pytest.raises(DatasetError, match="cannot be written"):
        start_dataset(tmp_path / "file" / "out", spec)


def test_start_that_was_killed_before_the_spec_is_gone_on_with(tmp_path, spec):
    start_dataset(tmp_path, spec)
    (tmp_path / "spec" / "spec.yaml").unlink()
    (tmp_path / "spec" / ".spec.yaml.0a0a0a0a.partial").write_text("nam")

    start_dataset(tmp_path, spec)

    assert open_folder(tmp_path).spec == spec


def test_shard_of_another_form_of_recipe_stops_the_seal(tmp_path, spec):
    start_dataset(tmp_path, spec)
    plans = plans_of(spec)
    for plan in plans:
        render(plan, tmp_path, spec)
    samples = [fake_sample(int(index)) for index in plans[3].indices]
    for sample in samples:
        sample.shape["gender"] = "male"
    write_shard(plans[3], samples, tmp_path, 20.0)

    with pytest.raises(DatasetError, match=r"00003-of-00016.tar: its samples do not have the first shard's fields"):
        seal_dataset(tmp_path, spec, plans)


@pytest.mark.parametrize(("count", "splits"), [(1, ["train"]), (49, ["train", "validation"])])
def test_dataset_without_some_splits_is_whole(tmp_path, count, splits):
    make_dataset(tmp_path, small_spec(count))
    front = front_matter(tmp_path)

    assert [split["name"] for split in front["dataset_info"][0]["splits"]] == splits
    assert sorted(path.stem for path in (tmp_path / "labels").iterdir()) == [f"{split}-00000" for split in splits]
    assert verify_checksums(tmp_path) == ()


def front_matter(root: Path):
    return yaml.safe_load((root / "README.md").read_text().split("---\n")[1])


def test_card_names_landmarks_in_order_and_hides_no_placeholder(sealed):
    text = (sealed / "README.md").read_text()

    assert re.findall(r"\| \d \| `(\w+)` \|", text) == ["thumb", "index", "middle", "ring", "little"]
    assert "$" not in text
    assert front_matter(sealed)["size_categories"] == ["n<1K"]
    assert "CC0 1.0 Universal" in (sealed / "LICENSE").read_text()


def test_size_categories():
    assert [size_category(n) for n in (999, 1000, 600_000, 2_200_000)] == ["n<1K", "1K<n<10K", "100K<n<1M", "1M<n<10M"]


def test_card_of_perspective_bodies_tells_their_own_facts(spec):
    info = replace(describe(spec), model="body", projection="perspective", landmarks=("navel",))
    text = card(info, (), (), [])

    assert "images of whole bodies of 20 \u00d7 24 pixels" in text
    assert "perspective projection" in text
    assert "px = " not in text


@pytest.mark.slow
def test_cards_code_decodes_the_shards(sealed):
    code = (sealed / "README.md").read_text().split("```python\n")[2].split("```")[0]
    script = code + "\nm, z, xy = next(iter(dataset))\nprint(m.sum(), z[m].min(), xy.shape)\n"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=sealed, capture_output=True, text=True, check=False, timeout=300
    )
    sample = open_folder(sealed).sample(0)
    hit = np.isfinite(sample.depth_mm)

    assert done.stdout.split() == f"{hit.sum()} {sample.depth_mm[hit].min()} (5, 2)".split(), done.stderr


def test_webdataset_reads_depth_at_full_16_bits(sealed):
    import webdataset as wds

    url = str(sealed / next(p.path for p in plans_of(small_spec(COUNT)) if p.split == "test"))
    samples = list(wds.WebDataset(url, shardshuffle=False))

    assert [s["__key__"] for s in samples] == [sample_key(i) for i in (49, 99, 149, 199)]
    for s in samples:
        sample = decode_sample({name: s[name] for name in ("mask.png", "depth.png", "json")})
        code = np.asarray(Image.open(io.BytesIO(s["depth.png"])))
        assert sample.index == int(s["__key__"])
        assert code.dtype == np.uint16
        assert code.max() > 256


HUGGING = """
import sys, json
import numpy as np
import datasets
from synthgen.storage.sample import decode_fields
datasets.disable_progress_bars()
root, way, streaming = sys.argv[1], sys.argv[2], sys.argv[3] == "streaming"
if way == "files":
    files = {"test": f"{root}/test/*.tar"}
    data = datasets.load_dataset("webdataset", data_files=files, split="test", streaming=streaming)
else:
    data = datasets.load_dataset(root, split="test", streaming=streaming)
rows = list(data)
print(json.dumps([{
    "key": row["__key__"], "columns": sorted(row), "json": row["json"], "mask": row["mask.png"].mode,
    "mode": row["depth.png"].mode, "sum": int(np.asarray(row["depth.png"]).astype(int).sum()),
} for row in rows]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("streaming", ["streaming", "prepared"])
@pytest.mark.parametrize("way", ["files", "folder"])
def test_datasets_reads_masks_depths_and_labels(tmp_path, sealed, way, streaming):
    env = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HUGGING, str(sealed), way, streaming],
        capture_output=True, text=True, check=False, timeout=300, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)

    assert [row["key"] for row in rows] == [sample_key(i) for i in (49, 99, 149, 199)]
    for row in rows:
        members = encode_sample(fake_sample(int(row["key"])), 20.0)
        assert set(row["columns"]) == {"mask.png", "depth.png", "json", "__key__", "__url__"}
        assert row["json"] == json.loads(members["json"])
        assert (row["mask"], row["mode"]) == ("1", "I;16")
        assert row["sum"] == np.asarray(Image.open(io.BytesIO(members["depth.png"]))).astype(int).sum()


@pytest.mark.slow
def test_tables_are_read_with_images(tmp_path, sealed):
    script = (
        "import sys, datasets\n"
        "rows = datasets.load_dataset('parquet', data_files=sys.argv[1] + '/preview/preview.parquet', split='train')\n"
        "print(len(rows), rows[7]['depth.png'].mode, rows[7]['index'])"
    )
    env = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(sealed)], capture_output=True, text=True, check=False, timeout=300, env=env
    )

    assert done.stdout.split() == ["100", "I;16", "7"], done.stderr


def test_croissant_is_valid_and_leads_to_images(sealed):
    mlcroissant = pytest.importorskip("mlcroissant")

    data = mlcroissant.Dataset(jsonld=sealed / "croissant.json")
    assert not data.metadata.issues.errors
    mask = next(iter(data.records("masks")))
    label = next(iter(data.records("labels-test")))

    assert mask["masks/image"].size == (20, 24)
    assert label["labels-test/index"] == 49
