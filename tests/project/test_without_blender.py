"""The raster engine on a machine without Blender: nothing on its way imports bpy, and what needs it says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthgen.errors import EngineError
from synthgen.generator.engines import availability as engine

ABSENT = """
import sys
sys.modules["bpy"] = None  # what `import bpy` then says is what it says where there is none
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment in which no Python, workers included, finds bpy."""
    folder = tmp_path_factory.mktemp("absent")
    (folder / "sitecustomize.py").write_text(ABSENT)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).strip(":")}


@pytest.fixture(scope="module")
def call(environment, tmp_path_factory):
    here = tmp_path_factory.mktemp("here")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from synthgen.cli.main import main; sys.argv[0] = 'synthgen'\n"
        code += "if __name__ == '__main__': main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True, text=True, cwd=here, env=environment, timeout=300, check=False,
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def hands(call, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "hand"
    done = call(
        "render", "--spec", "hand", "--engine", "raster", "--count", "20", "--workers", "1", "--out", str(folder)
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_dataset_is_rendered_sealed_and_verified(call, hands):
    done = call("verify", str(hands), "--rerender", "5")

    assert done.returncode == 0, done.stderr
    assert "5 samples rendered again with raster: 0 of" in done.stdout + done.stderr
    assert "\nbpy==" not in (hands / "spec" / "environment.lock").read_text()


def test_a_sheet_is_drawn(call, tmp_path):
    done = call("preview", "--spec", "hand", "-n", "2", "--engine", "raster", "--out", str(tmp_path / "sheet.png"))

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_sheet_of_a_spec_for_blender_says_which_engine_drew_it(call, tmp_path):
    done = call("preview", "--spec", "hand", "-n", "2", "--out", str(tmp_path / "sheet.png"))

    assert done.returncode == 0, done.stderr
    assert done.stderr == "Blender is not installed; using the raster engine, which gives the same pixels\n"
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_network_is_trained_with_nothing_stored(call, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text("arch: heatmap\nepochs: 1\nbatch_size: 4\nsamples: 8\n")
    spec = tmp_path / "few.yaml"
    spec.write_text(call("spec", "init", "hand", "--out", "-").stdout.replace("count: 2200000", "count: 40"))
    run = tmp_path / "run"
    done = call("train", "--spec", str(spec), "--steps", "2", "--config", str(config), "--out", str(run))

    assert done.returncode == 0, done.stderr
    assert "1 epochs, 2 steps" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "--spec", "hand", "--count", "5", "--workers", "1", "--out", "out"],
        ["blend", "--spec", "hand", "--index", "1", "--out", "1.blend"],
    ],
)
def test_what_needs_blender_says_in_one_line_what_to_do(call, arguments):
    done = call(*arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]

    assert done.returncode == 2
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    assert lines[0].startswith("error: engine: Blender's Python module cannot be loaded (")
    assert '`pip install "synthgen[blender]"`' in lines[0]
    assert ("--engine raster" in lines[0]) == (arguments[0] != "blend")


def test_a_dataset_is_not_rendered_again_by_an_engine_that_is_not_there(call, hands):
    done = call("verify", str(hands), "--rerender", "2", "--engine", "blender")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "engine: Blender's Python module cannot be loaded (" in done.stderr


def test_the_doctor_tells_which_engines_are_at_hand(call):
    done = call("doctor")
    text = " ".join(done.stdout.split())

    assert done.returncode == 0, done.stdout
    assert "blender: no bpy in Python" in text
    assert "raster: numba" in text


def test_another_python_is_named_where_blender_has_none():
    install = '`pip install "synthgen[blender]"`'
    for python, fix in (((3, 13), f"use Python 3.11 and {install}"), ((3, 11), f"use {install}")):
        error = engine.no_blender("no module bpy", python=python)
        assert isinstance(error, EngineError)
        assert f"(no module bpy); {fix}, or --engine raster (" in str(error)
        assert str(engine.no_blender("x", raster=False, python=python)).endswith(fix)


def test_only_a_missing_blender_is_refused(monkeypatch):
    monkeypatch.setattr(engine, "has_blender", lambda: False)
    engine.check_engine("raster")
    with pytest.raises(EngineError, match=r"no module bpy in Python 3\.\d+"):
        engine.check_engine("blender")
    monkeypatch.setattr(engine, "has_blender", lambda: True)
    engine.check_engine("blender")
