"""Compiled kernels are kept on disk: processes that begin at once on an empty cache do not spoil it for each other."""

import gc
import hashlib
import os
import subprocess
import sys
import time

import pytest
from support.paths import with_import_paths

from synthgen.generator.engines import compile_ahead
from synthgen.generator.pipeline import open_pipeline
from synthgen.specs.files import load_spec

CHILD = """
import sys
import numba.core.event
from project.test_compile_cache import first_depth

with numba.core.event.install_recorder("numba:compile") as recorder:
    print("ready", flush=True)
    sys.stdin.readline()
    digest = first_depth()
names = {event.data["dispatcher"].py_func.__name__ for _, event in recorder.buffer}
print(digest, len(recorder.buffer), ",".join(sorted(names)))
"""
LATTER_HALF = ("_deepest_pair", "_to_pixels", "_cast", "_fill_near", "_move", "box_above", "_shift_to_grid")


def first_depth() -> str:
    """Digest of a small depth image by the raster engine."""
    spec = load_spec("hand", {"engine": "raster"})
    spec = spec.model_copy(update={"image": spec.image.model_copy(update={"width": 48, "height": 48})})
    pipeline = open_pipeline(spec, "raster")
    return hashlib.sha256(pipeline.sample(0).depth_mm.tobytes()).hexdigest()


def render_at_once(processes, cache):
    """Return (digest, compilations, names) of processes that have loaded everything before any of them renders."""
    environment = with_import_paths(__file__) | with_cache(cache)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", CHILD]
    children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]
    ready = [child.stdout.readline() for child in children]
    for child, line in zip(children, ready, strict=True):
        if line == "ready\n":
            child.stdin.write("\n")
            child.stdin.flush()
    ended = [(*child.communicate(timeout=300), child.returncode) for child in children]
    assert [(err, status) for _, err, status in ended] == [("", 0)] * processes
    return [(words[0], int(words[1]), words[2:]) for words in (out.split() for out, _, _ in ended)]


def with_cache(folder):
    return os.environ | {"NUMBA_CACHE_DIR": str(folder)}


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_processes_that_compile_at_once_make_one_image_and_a_whole_cache(tmp_path):
    first = render_at_once(4, tmp_path)
    kept = files(tmp_path)
    later = render_at_once(1, tmp_path)

    assert {digest for digest, _, _ in first + later} == {first_depth()}
    assert all(compiled for _, compiled, _ in first)
    assert kept
    assert not [path for path in kept if ".tmp." in path.name]
    assert later[0][1] == 0
    assert files(tmp_path) == kept


@pytest.mark.slow
def test_what_the_other_process_compiles_is_what_an_image_needs(tmp_path):
    subprocess.run([sys.executable, "-P", "-m", compile_ahead.__name__], env=with_cache(tmp_path), check=True)

    ((digest, _, compiled),) = render_at_once(1, tmp_path)

    assert digest == first_depth()
    assert "_pose_hand" in compiled[0]
    assert not [name for name in LATTER_HALF if name in compiled[0].split(",")]


def test_no_other_process_is_started_where_all_is_compiled(monkeypatch):
    first_depth()
    monkeypatch.setattr(subprocess, "Popen", None)

    with compile_ahead.compiling_ahead():
        assert gc.isenabled()


@pytest.fixture
def nothing_compiled(monkeypatch):
    monkeypatch.setattr(compile_ahead, "is_compiled", lambda _: False)


@pytest.mark.usefixtures("nothing_compiled")
def test_a_failure_of_the_other_process_is_told_and_changes_nothing(monkeypatch, caplog):
    monkeypatch.setattr(compile_ahead, "_COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))

    with compile_ahead.compiling_ahead():
        assert not gc.isenabled()

    assert gc.isenabled()
    assert "exited with status 3" in caplog.text


@pytest.mark.usefixtures("nothing_compiled")
def test_the_other_process_ends_with_this_one(monkeypatch):
    monkeypatch.setattr(compile_ahead, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(1000)"))
    began = time.monotonic()

    with pytest.raises(KeyboardInterrupt), compile_ahead.compiling_ahead():
        raise KeyboardInterrupt

    assert gc.isenabled()
    assert time.monotonic() - began < 300
