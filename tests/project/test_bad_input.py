"""Mistakes through the real command line, with the real models: one line, exit status 2, nothing written.

Mistakes in a spec's form stand in test_spec.py, mistakes in options in test_cli.py, mistakes of the target in
test_run.py; here is what shows only when a spec meets the model, the disk or the cluster.
"""
# ruff: noqa: E501 (a mistake and its message are read on one line)

import copy
import gzip
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_line import call, refuse

from synthgen.specs.files import dump_spec, load_spec

HAND: dict[str, Any] = yaml.safe_load(dump_spec(load_spec("hand", {"count": 60})))
BODY: dict[str, Any] = yaml.safe_load(dump_spec(load_spec("body", {"count": 60})))
SHORT = {
    "name": "mine",
    "model": "hand",
    "count": 60,
    "image": {"width": 96, "height": 96},
    "landmarks": "fingertips",
    "shape": "hand_any",
    "pose": "hand_any",
    "camera": "hand_dorsal",
    "framing": "hand",
}
BOMB = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A spec with one value replaced or added, by its place: ``pose/angles/index_pip.flexion_deg``."""
    data = copy.deepcopy(base)
    *above, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    place = data
    for part in above:
        place = place[part]
    place[last] = value
    return data


def marks(model: str, *landmarks: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "landmarks": list(landmarks)}


def angle(name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "joints", "angles": {name: {"draw": 0, **fields}}}


TARGET = "hand/l-hand-scale-decr|incr"
CASES: dict[str, tuple[dict[str, Any] | str, tuple[str, ...]]] = {
    "unknown key": (changed(SHORT, "cuont", 3), ("mine.yaml:", "cuont", '"count"')),
    "unknown landmark set": (changed(SHORT, "landmarks", "fingertps"), ("mine.yaml:", "landmarks", '"fingertps"', '"fingertips"')),
    "unknown shape space": (changed(SHORT, "shape", "hand_ayn"), ("mine.yaml:", "shape", '"hand_ayn"', '"hand_any"')),
    "unknown pose space": (changed(SHORT, "pose", "mr_hnad"), ("mine.yaml:", "pose", '"mr_hnad"', '"mr_hand"')),
    "the joints' limits are no pose space": (changed(SHORT, "pose", "joints"), ("mine.yaml:", "pose", '"joints"')),
    "landmark set of the other model": (changed(SHORT, "landmarks", "body9"), ("landmarks", "body", "hand")),
    "landmark without a vertex": (changed(HAND, "landmarks", marks("hand", {"name": "a", "vertex": 99999})), ("landmarks", "99999")),
    "landmark off the hand": (changed(HAND, "landmarks", marks("hand", {"name": "a", "vertex": 881})), ("landmarks", "881", "hand")),
    "landmark of an unknown joint": (changed(HAND, "landmarks", marks("hand", {"name": "a", "joint": "fingr2-1.L"})), ("landmarks", "fingr2-1.L", "finger2-1.L")),
    "landmark twice": (changed(HAND, "landmarks", marks("hand", {"name": "a", "vertex": 8737}, {"name": "a", "vertex": 8738})), ("mine.yaml:", "landmarks", "a")),
    "unknown target": (changed(HAND, "shape/groups/0/targets", {"hand/no-such-thing": 0.5}), ("hand/no-such-thing",)),
    "unknown joint": (changed(HAND, "pose", angle("index_mpc.flexion_deg")), ("index_mpc.flexion_deg", "index_mcp.flexion_deg")),
    "a body's joint on a hand": (changed(HAND, "pose", angle("left_knee.flexion_deg")), ("left_knee.flexion_deg",)),
    "unknown factor": (changed(HAND, "pose", angle("index_pip.flexion_deg", factors={"crul": 3})), ("crul",)),
    "limits beyond the joint's": (changed(HAND, "pose", angle("index_pip.flexion_deg", limits_deg=[-40, 50])), ("index_pip.flexion_deg", "-40 to 50", "-7 to 110")),
    "limits exchanged": (changed(HAND, "pose", angle("index_pip.flexion_deg", limits_deg=[50, 20])), ("index_pip.flexion_deg", "low 50", "high 20", "swap")),
    "example beyond the joint's limits": (
        changed(HAND, "pose", {"kind": "examples", "position": 0.5, "jitter_deg": 0, "examples": [
            {"name": "flat", "angles": {"index_pip.flexion_deg": 0}}, {"name": "bent", "angles": {"index_pip.flexion_deg": 170}}]}),
        ("bent", "index_pip.flexion_deg", "170"),
    ),
    "low above high": (changed(SHORT, "camera", {"yaw_deg": {"kind": "uniform", "low": 9, "high": 1}}), ("mine.yaml:", "camera.yaw_deg", "9", "1", "swap")),
    "zero count": (changed(SHORT, "count", 0), ("mine.yaml:", "count", "value 0", "at least 1")),
    "negative count": (changed(SHORT, "count", -5), ("mine.yaml:", "count", "value -5", "at least 1")),
    "width 0": (changed(SHORT, "image/width", 0), ("mine.yaml:", "image.width", "value 0", "at least 16")),
    "width beyond": (changed(SHORT, "image/width", 1_000_000), ("mine.yaml:", "image.width", "at most 2048")),
    "hand below its forearm": (changed(HAND, "camera", {"roll_deg": 180}), ("camera.roll_deg", "180", "narrow")),
    "alias bomb": (BOMB, ("mine.yaml:", "aliases")),
    "not YAML": ("name: [hand\ncount: 3\n", ("mine.yaml:2", "invalid YAML")),
    "not a mapping": ("just some words", ("mine.yaml", "mapping")),
    "a program": ("name: !!python/object/apply:os.system ['touch pwned']\n", ("mine.yaml:1", "tag")),
}  # fmt: skip


def written(folder: Path, spec: dict[str, Any] | str) -> None:
    text = spec if isinstance(spec, str) else yaml.safe_dump(spec, sort_keys=False)
    (folder / "mine.yaml").write_text(text, encoding="utf-8")


def render(capsys, monkeypatch, folder: Path, *options: str) -> str:
    """Render a folder's spec, which is to be refused; return the complaint, having seen that nothing was written."""
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.rglob("*"))
    complaint = refuse(capsys, monkeypatch, "render", "--spec", "mine.yaml", "--out", "data", *options)

    assert sorted(path.name for path in folder.rglob("*")) == before
    assert len(complaint) < 500
    return complaint


@pytest.mark.parametrize("case", CASES)
def test_a_spec_that_cannot_be_rendered_is_refused(case, tmp_path, capsys, monkeypatch):
    spec, expected = CASES[case]
    written(tmp_path, spec)
    complaint = render(capsys, monkeypatch, tmp_path)

    assert [text for text in expected if text not in complaint] == [], complaint


def test_the_specs_that_the_mistakes_are_made_in_are_right(tmp_path, monkeypatch):
    from synthgen.generator.scene import Scene

    for spec in (HAND, BODY, SHORT):
        written(tmp_path, spec)
        assert Scene(load_spec(tmp_path / "mine.yaml")).posed(0).labels.in_frame.any()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"7 0.1 0 0\n8 0 zero 0\n", "nose.target:2"),
        (b"7 0.1 0\n", "nose.target:1"),
        (b"99999 0.1 0 0\n", "99999"),
        (b"7 nan 0 0\n", "nose.target:1"),
        (b"", "nose.target"),
        (gzip.compress(b"7 0.1 0 0\n")[:-9], "nose.target"),
        (b"\x00\xff\x00\xff", "nose.target"),
    ],
)
def test_a_broken_target_file_is_refused(content, expected, tmp_path, capsys, monkeypatch):
    (tmp_path / "nose.target").write_bytes(content)
    written(tmp_path, changed(HAND, "shape/target_files", [{"name": "nose", "path": "nose.target"}]))

    assert expected in render(capsys, monkeypatch, tmp_path)


def test_depths_beyond_16_bits_are_refused(tmp_path, capsys, monkeypatch):
    written(tmp_path, changed(BODY, "depth_steps_per_mm", 200))
    complaint = render(capsys, monkeypatch, tmp_path)

    assert "depth_steps_per_mm: value 200" in complaint
    assert "lower" in complaint


def test_other_commands_refuse_the_same_mistakes(tmp_path, capsys, monkeypatch):
    written(tmp_path, CASES["unknown joint"][0])
    monkeypatch.chdir(tmp_path)
    for command in (["preview", "--out", "sheet.png"], ["blend", "--index", "1", "--out", "a.blend"]):
        complaint = refuse(capsys, monkeypatch, *command, "--spec", "mine.yaml")
        assert "index_mcp.flexion_deg" in complaint
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_target_that_cannot_be_written_is_refused(tmp_path, capsys, monkeypatch):
    written(tmp_path, SHORT)
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    places = ["file", "file/data", *(["/proc/synthgen/data"] if sys.platform == "linux" else [])]
    for place in places:
        complaint = refuse(capsys, monkeypatch, "render", "--spec", "mine.yaml", "--out", place)
        assert "choose another --out" in complaint
        assert place.split("/data")[0] in complaint or "/proc" in complaint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine.yaml"]


def test_a_disk_that_is_too_small_is_refused(tmp_path, capsys, monkeypatch):
    written(tmp_path, changed(SHORT, "count", 2_200_000))
    monkeypatch.setattr("synthgen.generator.runs.resources.disk_free", lambda path: 50_000_000)
    complaint = render(capsys, monkeypatch, tmp_path)

    assert "50.0 MB are free" in complaint
    assert "--count" in complaint
    assert "--out" in complaint


def test_a_folder_of_another_spec_is_refused_with_the_difference(tmp_path, capsys, monkeypatch):
    from synthgen.generator.dataset.folder import start_dataset

    start_dataset(tmp_path / "data", load_spec("hand", {"count": 60, "seed": 7}))
    written(tmp_path, HAND)

    assert "seed: 7 -> 0" in render(capsys, monkeypatch, tmp_path)


@pytest.mark.slow
def test_an_unreachable_scheduler_is_refused_in_a_process_of_its_own(tmp_path):
    written(tmp_path, SHORT)
    done = call("render", "--spec", "mine.yaml", "--scheduler", "tcp://127.0.0.1:9", "--out", "data", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --scheduler: tcp://127.0.0.1:9 cannot be reached")
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
