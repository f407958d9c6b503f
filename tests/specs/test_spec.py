# ruff: noqa: E501 (a table of mistakes reads best with one to a line)
"""The spec: what is written comes back, identities mean what they say, and every mistake is one clear line."""

import copy
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.laws import examples
from support.paths import ROOT

from synthgen.errors import SpecError
from synthgen.specs.builtin import names
from synthgen.specs.files import BUILTIN, dump_spec, init_text, json_schema, load_spec
from synthgen.specs.reference import reference_markdown
from synthgen.specs.safe_yaml import parse_yaml, to_yaml
from synthgen.specs.spec import PART_MODELS, CameraSpace, ResolvedSpec, Spec, difference, load_part, resolve, spec_hash

BASE = {
    "name": "mine",
    "model": "hand",
    "count": 10,
    "image": {"width": 96, "height": 64},
    "landmarks": {"model": "hand", "landmarks": [{"name": "tip", "vertex": 3}]},
    "shape": {"groups": [{"sex": "male", "age_years": {"kind": "uniform", "low": 13, "high": 24}}]},
    "pose": {"kind": "joints", "angles": {"index_mcp.flexion_deg": {"draw": 3}}},
    "camera": "hand_dorsal",
    "framing": "hand",
    "artefacts": "mr",
}


def with_value(path, value):
    data = copy.deepcopy(BASE)
    inner = data
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return data


def without(key):
    return {name: value for name, value in BASE.items() if name != key}


def written(folder: Path, data) -> Path:
    path = folder / "mine.yaml"
    path.write_text(data if isinstance(data, str) else to_yaml(data), encoding="utf-8")
    return path


def complaint(folder: Path, data, **overrides) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(written(folder, data), overrides)
    text = str(caught.value).replace(f"{folder}/", "")

    assert "\n" not in text
    return text


# Built-ins


@pytest.mark.parametrize("name", BUILTIN)
def test_every_built_in_spec_resolves_and_survives_being_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = load_spec(name)

    assert spec == load_spec(f"{name}.yaml") == load_spec(written(tmp_path, dump_spec(spec)))
    assert load_spec(written(tmp_path, init_text(name))) == spec
    assert spec.name == name
    assert type(spec) is ResolvedSpec
    assert (spec.count, spec.image.width, spec.image.height) == (
        (2_200_000, 96, 96) if "hand" in name else (600_000, 76, 160)
    )


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in PART_MODELS for name in names(kind)])
def test_every_built_in_part_is_valid(kind, name):
    assert load_part(kind, name) == load_part(kind, name)


def test_built_in_specs_are_all_that_lie_in_their_folder():
    assert set(BUILTIN) == set(names("spec"))


def test_a_file_of_the_users_comes_before_the_built_in_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hand.yaml").write_text(to_yaml(BASE))

    assert load_spec("hand.yaml").name == "mine"


# Reading and writing


def test_a_resolved_spec_survives_being_written(tmp_path):
    spec = load_spec(written(tmp_path, BASE))

    assert load_spec(written(tmp_path, dump_spec(spec))) == spec == resolve(spec)


words = st.text(max_size=8) | st.sampled_from(["no", "1e3", "0x1f", "1:30", "null", "~", "=", "<<", "2024-01-01", "-"])
printable = words.filter(lambda text: all(c.isprintable() for c in text))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | printable
trees = st.recursive(
    scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(printable, t, max_size=3), max_leaves=8
)


@examples(200)
@given(st.dictionaries(printable, trees, max_size=4))
def test_plain_data_survives_being_written_as_yaml(data):
    assert parse_yaml(to_yaml(data).encode(), "f").data == data


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!#|>'\"\t\n 01,?%@", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_line(content):
    try:
        parse_yaml(content, "f.yaml")
    except SpecError as error:
        assert str(error).startswith("f.yaml")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


def test_overrides_replace_the_files_values(tmp_path):
    path = written(tmp_path, {**BASE, "seed": 4})
    spec = load_spec(path, {"count": 3, "seed": None, "engine": "blender"})

    assert (spec.count, spec.seed) == (3, 4)
    assert load_spec(path, {"seed": 0}).seed == 0


# Identity


def base() -> ResolvedSpec:
    return resolve(Spec.model_validate(BASE))


def test_a_resolved_spec_holds_no_names_and_its_fields_in_the_same_order():
    named = load_spec("hand").model_dump() | {"camera": "hand_dorsal"}

    assert Spec.model_validate(named).camera == "hand_dorsal"
    with pytest.raises(ValidationError):
        ResolvedSpec.model_validate(named)
    assert list(ResolvedSpec.model_fields) == list(Spec.model_fields)


def test_the_hash_ignores_count_descriptions_and_how_it_was_written():
    camera = load_part("camera", "hand_dorsal")
    same = [
        {**BASE, "count": 99},
        {**BASE, "camera": camera},
        {**BASE, "camera": camera.model_copy(update={"description": "another text"})},
        {**BASE, "version": 1, "seed": 0, "depth_steps_per_mm": 20},
        with_value(("pose", "angles"), {"index_mcp.flexion_deg": {"draw": {"kind": "constant", "value": 3.0}}}),
    ]

    assert {spec_hash(resolve(Spec.model_validate(data))) for data in same} == {spec_hash(base())}


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("seed",), 1, "seed: 0 -> 1"),
        (("side",), "right", 'side: "left" -> "right"'),
        (("image", "width"), 97, "image.width: 96 -> 97"),
        (("shape", "groups", 0, "age_years"), 20, 'shape.groups[0].age_years: {"kind": "uniform", "low": 13.0, "high": 24.0} -> 20.0'),
        (("shape", "groups", 0, "age_years", "low"), 12, "shape.groups[0].age_years.low: 13.0 -> 12.0"),
        (("pose", "angles", "wrist.flexion_deg"), {"draw": 1}, 'pose.angles.wrist.flexion_deg: absent -> {"draw": 1.0, "factors": {}}'),
    ],
)  # fmt: skip
def test_what_differs_is_told_in_one_line_and_changes_the_hash(path, value, line):
    old, new = base(), resolve(Spec.model_validate(with_value(path, value)))

    assert difference(old, new) == [line]
    assert spec_hash(old) != spec_hash(new)


def test_a_difference_in_count_is_told_too_and_equal_specs_have_none():
    spec = base()

    assert difference(spec, spec.model_copy(update={"count": 11})) == ["count: 10 -> 11"]
    assert difference(spec, resolve(spec)) == []


# Target files


def with_target(path="nose.target", **more):
    return with_value(("shape", "target_files"), [{"name": "nose", "path": path, **more}])


def test_a_target_file_lies_beside_the_spec_and_counts_by_its_content(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "nose.target").write_bytes(b"0 1 2 3\n")
    monkeypatch.chdir(tmp_path)
    spec, moved = load_spec(written(here, with_target())), load_spec(written(there, with_target()))
    target = spec.shape.target_files[0]

    assert target.path == str((here / "nose.target").resolve())
    assert target.sha256 == hashlib.sha256(b"0 1 2 3\n").hexdigest()
    assert spec_hash(spec) == spec_hash(moved)
    assert difference(spec, moved) == []
    assert load_spec(written(there, dump_spec(spec))) == spec
    assert str(tmp_path) not in dump_spec(spec, portable=True)
    (here / "nose.target").write_bytes(b"0 1 2 4\n")
    assert spec_hash(load_spec(written(here, with_target()))) != spec_hash(spec)


def test_a_published_spec_is_readable_without_its_target_files_but_not_with_others(tmp_path):
    (tmp_path / "nose.target").write_bytes(b"0 1 2 3\n")
    spec = load_spec(written(tmp_path, with_target()))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    published = load_spec(written(elsewhere, dump_spec(spec, portable=True)))

    assert spec_hash(published) == spec_hash(spec)
    (elsewhere / "nose.target").write_bytes(b"other")
    assert "does not match sha256; restore the file" in complaint(elsewhere, dump_spec(spec, portable=True))


# Mistakes: each one line, with the line of the file, the field, the value and the fix

MISTAKES = [
    (with_value(("pose", "anlges"), {}), 'pose.anlges: unknown key; did you mean "angles"?'),
    (with_value(("cuont",), 3), 'cuont: unknown key; did you mean "count"?'),
    (with_value(("image",), {"width": 96, "hieght": 96}), 'image.hieght: unknown key; did you mean "height"? Known: width, height (1 more to fix)'),
    (with_value(("artefacts",), {"speckle": {"cuont": 3}}), 'artefacts.speckle.cuont: unknown key; did you mean "count"?'),
    (without("image"), "image: missing; add it (size of the images)"),
    (with_value(("count",), 0), "mine.yaml:3: count: value 0; give at least 1"),
    (with_value(("count",), -7), "count: value -7; give at least 1"),
    (with_value(("count",), "many"), 'count: value "many"; give a whole number'),
    (with_value(("count",), True), "count: value true; give a whole number"),
    (with_value(("count",), 2.5), "count: value 2.5; give a whole number"),
    (with_value(("image", "width"), 0), "image.width: value 0; give at least 16"),
    (with_value(("image", "height"), 4096), "image.height: value 4096; give at most 2048"),
    (with_value(("seed",), -1), "seed: value -1; give at least 0"),
    (with_value(("name",), "My Hand"), 'name: value "My Hand"; give a name that matches'),
    (with_value(("model",), "hnad"), 'model: value "hnad"; did you mean "hand"? Known: hand, body'),
    (with_value(("engine",), "cycles"), 'engine: value "cycles"; use one of: blender'),
    (with_value(("camera",), "hand_dosal"), 'camera: unknown camera "hand_dosal"; did you mean "hand_dorsal"? Known: body_ct,'),
    (with_value(("camera",), "../specs/hand"), 'camera: unknown camera "../specs/hand"; use one of: body_ct,'),
    (with_value(("camera",), 5), "camera: value 5; give a mapping, or a name"),
    (with_value(("camera",), {"yaw_deg": "x"}), 'camera.yaw_deg: value "x"; give a number, or a mapping with kind: constant, uniform'),
    (with_value(("camera",), {"yaw_deg": {"low": 1}}), "camera.yaw_deg: has no kind; add `kind:` with one of: constant, uniform"),
    (with_value(("camera",), {"yaw_deg": {"kind": "unifrom"}}), 'camera.yaw_deg: unknown kind "unifrom"; did you mean "uniform"?'),
    (with_value(("camera",), {"yaw_deg": {"kind": "uniform", "low": 9, "high": 1}}), "camera.yaw_deg: low 9 is above high 1; swap them"),
    (with_value(("camera",), {"yaw_deg": {"kind": "uniform", "low": -999, "high": 1}}), "camera.yaw_deg: draws from -999 to 1; keep it from -180 to 180"),
    (with_value(("camera",), {"yaw_deg": {"kind": "normal", "mean": 0, "sd": -1, "low": 0, "high": 1}}), "camera.yaw_deg.sd: value -1; give a number above 0"),
    (with_value(("camera",), {"yaw_deg": {"kind": "choice", "values": []}}), "camera.yaw_deg.values: value []; give at least 1"),
    (with_value(("camera",), {"yaw_deg": {"kind": "choice", "values": [1, 2], "weights": [1]}}), "camera.yaw_deg.weights: 1 weights for 2 values; give one weight"),
    (with_value(("camera",), {"yaw_deg": {"kind": "mixture", "parts": [1, {"kind": "beta", "alpha": 1, "beta": 0}]}}), "camera.yaw_deg.parts[1].beta: value 0; give a number above 0"),
    (with_value(("camera",), {"yaw_deg": {"kind": "beta", "alpha": 1, "beat": 2}}), 'camera.yaw_deg.beat: unknown key; did you mean "beta"? Known: kind, alpha, beta, low, high (1 more'),
    (with_value(("camera",), {"yaw_deg": float("nan")}), "camera.yaw_deg.value: value NaN; give a finite number"),
    (with_value(("framing",), "body"), "framing.forearm_mm: missing; hands require it, give 0 to 80"),
    (with_value(("framing",), {"forearm_mm": 200}), "framing.forearm_mm: value 200; keep it from 0 to 80"),
    (with_value(("landmarks", "model"), "body"), "landmarks: this set is for body, but the spec's model is hand; choose another set"),
    (with_value(("shape", "groups"), []), "shape.groups: value []; give at least 1"),
    (with_value(("shape", "groups", 0, "targets"), {"beta": {"kind": "uniform", "low": 1, "high": 0}}), "shape.groups[0].targets.beta: low 1 is above high 0"),
    (with_target("nope.target"), 'shape.target_files[0].path: value "nope.target" cannot be read (No such file or directory); give the path'),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), MISTAKES, ids=[expected[:40] for _, expected in MISTAKES])
def test_a_mistake_names_file_line_field_value_and_fix(data, expected, tmp_path):
    text = complaint(tmp_path, data)

    assert text.startswith("mine.yaml:")
    assert expected in text


def test_a_mistake_in_an_override_names_it_and_no_line(tmp_path):
    assert complaint(tmp_path, BASE, count=0) == "count: value 0; give at least 1"
    assert complaint(tmp_path, BASE, sede=0).startswith('override sede: unknown; did you mean "seed"?')


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 9)
)
TEXTS = {
    "tab": ("name: x\nimage:\n\twidth: 3\n", "mine.yaml:3: contains a tab; indent with spaces"),
    "duplicate": ("name: x\ncount: 1\nname: y\n", 'mine.yaml:3: duplicate key "name"; remove one of the two'),
    "syntax": ("name: [x\ncount: 1\n", "mine.yaml:2: invalid YAML ("),
    "list": ("- name: x\n", "mine.yaml: contains a list; write a mapping"),
    "empty": ("", "mine.yaml: contains nothing; write a mapping"),
    "word": ("hello", "mine.yaml: contains a single value; write a mapping"),
    "bomb": (BOMB, "aliases that repeat too much or contain themselves; write the values out"),
    "loop": ("a: &a [*a]", "mine.yaml:1: aliases that repeat too much or contain themselves"),
    "code": ("name: !!python/object/apply:os.system [ls]", "mine.yaml:1: tag !!python/object/apply:os.system; write the plain value"),
    "deep": ("a: " + "[" * 5000, "nested deeper than 40 levels; flatten it"),
    "two": ("a: 1\n---\na: 2\n", "mine.yaml:2: invalid YAML (but found another document)"),
    "binary": ("name: x\n\x00\x01", "mine.yaml:2: contains control characters; give a YAML file"),
    "many": ("a: [" + "1," * 60_000 + "]", "mine.yaml:1: invalid YAML (more than 50000 values)"),
    "huge": ("#" * 1_000_001, "mine.yaml: larger than 1 MB"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_what_is_no_spec_at_all_is_refused_in_one_line(case, tmp_path):
    text, expected = TEXTS[case]

    assert expected in complaint(tmp_path, text)


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: x\n\xff\xfe")
    with pytest.raises(SpecError, match=r"mine\.yaml:2: not UTF-8 text"):
        load_spec(path)


def test_an_unknown_file_names_the_nearest_built_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("hnad.yaml", "folder/hand.yaml"):
        with pytest.raises(SpecError) as caught:
            load_spec(source)
        expected = f'{source}: no such file and no built-in spec with that name; did you mean "hand"?'

        assert str(caught.value).startswith(expected)
    with pytest.raises(SpecError, match="is a folder"):
        load_spec(tmp_path)
    with pytest.raises(SpecError, match='unknown spec "hnad"; did you mean "hand"'):
        init_text("hnad")


def test_yaml_reads_numbers_and_words_as_people_mean_them():
    document = parse_yaml(b"a: 2.2e6\nb: no\nc: 010\nd: 1:30\ne: 2_200_000\nf: &x [1]\ng: *x\nh: ~\n", "f")

    assert document.data == {"a": 2.2e6, "b": "no", "c": 10, "d": "1:30", "e": 2_200_000, "f": [1], "g": [1], "h": None}
    assert document.place(("e",)) == "f:5"
    assert document.place(("f", 0, "below")) == "f:6"


# For editors and readers


def test_the_schema_knows_every_field_and_lets_a_number_be_a_constant():
    schema = json_schema()

    assert set(schema["properties"]) == set(Spec.model_fields)
    assert all("description" in field for field in schema["properties"].values())
    assert set(schema["$defs"]["CameraSpace"]["properties"]) == set(CameraSpace.model_fields)
    assert {"type": "number"} in schema["$defs"]["CameraSpace"]["properties"]["yaw_deg"]["anyOf"]


def test_the_reference_is_current():
    page = ROOT / "docs" / "spec.md"

    assert page.read_text(encoding="utf-8") == reference_markdown(), (
        "run: python -m synthgen.specs.reference > docs/spec.md"
    )
