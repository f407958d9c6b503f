"""Compiled kernels are kept on disk: processes that begin at once on an empty cache do not spoil it for each other."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from synthgen.generator.pipeline import open_pipeline
from synthgen.specfile import load_spec

CHILD = """
import sys
import numba.core.event
from test_compile_cache import first_depth

with numba.core.event.install_recorder("numba:compile") as recorder:
    print("ready", flush=True)
    sys.stdin.readline()
    print(first_depth(), len(recorder.buffer))
"""


def first_depth() -> str:
    """Digest of a small depth image by the raster engine."""
    spec = load_spec("hand", {"engine": "raster"})
    spec = spec.model_copy(update={"image": spec.image.model_copy(update={"width": 48, "height": 48})})
    pipeline = open_pipeline(spec, "raster")
    return hashlib.sha256(pipeline.sample(0).depth_mm.tobytes()).hexdigest()


def render_at_once(processes, cache):
    """Return (digest, compilations) of processes that have loaded everything before any of them renders."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", CHILD]
    children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]
    ready = [child.stdout.readline() for child in children]
    for child, line in zip(children, ready, strict=True):
        if line == "ready\n":
            child.stdin.write("\n")
            child.stdin.flush()
    ended = [(*child.communicate(timeout=120), child.returncode) for child in children]
    assert [(err, status) for _, err, status in ended] == [("", 0)] * processes
    return [(out.split()[0], int(out.split()[1])) for out, _, _ in ended]


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_processes_that_compile_at_once_make_one_image_and_a_whole_cache(tmp_path):
    first = render_at_once(4, tmp_path)
    kept = files(tmp_path)
    later = render_at_once(1, tmp_path)

    assert {digest for digest, _ in first + later} == {first_depth()}
    assert all(compiled for _, compiled in first)
    assert kept
    assert not [path for path in kept if ".tmp." in path.name]
    assert later[0][1] == 0
    assert files(tmp_path) == kept
