"""Checks whether this machine can render: everything that can be missing, and how to fix it."""

import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from synthgen.errors import EXTRAS
from synthgen.generator.engines.availability import has_blender
from synthgen.generator.runs.resources import WORKER_MEMORY, disk_free, this_machine
from synthgen.quantities import byte_size

Status = Literal["ok", "warn", "fail"]

_PACKAGES = ("numba", "numpy", "distributed", "pyarrow", "pydantic")
_SCRATCH_BYTES = 16_000_000
_RENDER_TIMEOUT_S = 120
_BLENDER = """
from synthgen.generator.engines.blender import BlenderEngine
from synthgen.generator.engines.blender_process import exit_process
from synthgen.generator.runs.doctor import render_triangle
depth = render_triangle(BlenderEngine)
import bpy
print("bpy", bpy.app.version_string, "depth", depth, flush=True)
exit_process(0)
"""
_RASTER = """
import numba
from synthgen.generator.runs.doctor import render_triangle
from synthgen.generator.engines.raster import RasterEngine
print("numba", numba.__version__, "depth", render_triangle(RasterEngine), flush=True)
"""
_PYTHONS = ((3, 11), (3, 12), (3, 13))


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    status: Status
    found: str
    fix: str = ""


def examine() -> list[Check]:
    """Run all checks; takes a few seconds, most of them for the engines."""
    checks: tuple[Callable[[], Check], ...] = (
        check_python,
        check_packages,
        check_blender,
        check_raster,
        check_model,
        check_cores,
        check_memory,
        check_disk_here,
        check_scratch,
    )
    return [*(check() for check in checks), *map(check_extra, EXTRAS)]


def check_extra(extra: str) -> Check:
    """Check that the packages of an extra are installed; everything else works without them."""
    purpose, modules = EXTRAS[extra]
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        found = f"{extra}, for {purpose}: {', '.join(missing)} not installed"
        return Check("extra", "warn", found, f'pip install "synthgen[{extra}]"')
    return Check("extra", "ok", f"{extra}, for {purpose}")


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Check that synthgen supports this version of Python."""
    found = f"{platform.python_version()} on {platform.platform(terse=True)}"
    if version not in _PYTHONS:
        return Check("python", "fail", found, "create the environment with Python 3.11 (which Blender needs) to 3.13")
    return Check("python", "ok", found)


def check_packages(names: tuple[str, ...] = _PACKAGES) -> Check:
    """Check that the packages required for rendering are installed."""
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "ok", ", ".join(found))


def check_blender(code: str = _BLENDER, *, installed: bool | None = None) -> Check:
    """Render one tiny image with Blender, in a child process, because a broken Blender crashes its process."""
    if not (has_blender() if installed is None else installed):
        found = f"blender: no bpy in Python {platform.python_version()}"
        return Check(
            "engine",
            "warn",
            found,
            'not needed for --engine raster; for Blender use Python 3.11 and `pip install "synthgen[blender]"`',
        )
    fix = "reinstall bpy; on a bare Linux install libxkbcommon0, libsm6, libxi6, libxxf86vm1, libxfixes3 and libgl1"
    return _check_engine("blender", code, fix, "install bpy 4.5 or 5.0")


def check_raster(code: str = _RASTER) -> Check:
    """Render one tiny image with the raster engine."""
    fix = "reinstall numba and llvmlite in the versions of the project's constraints.txt"
    return _check_engine("raster", code, fix, fix)


def render_triangle(engine: Any) -> float:
    """Return the depth in mm that an engine, given as its class, renders at the centre of a triangle 70 mm away."""
    import numpy as np  # noqa: PLC0415 (not needed by the other checks)

    from synthgen.geometry import Camera  # noqa: PLC0415

    triangles = np.array([[0, 1, 2]], dtype=np.int32)
    vertices = np.array([[-20, -20, 70], [20, -20, 70], [0, 40, 70]], dtype=np.float32)
    renderer = engine(triangles, 3, 16, 16, "orthographic")
    depth = renderer.render(vertices, Camera("orthographic", 16, 16, (1.0, 1.0), 100.0))
    renderer.close()
    return round(float(depth[8, 8]), 3)


def _check_engine(name: str, code: str, fix: str, fix_image: str) -> Check:
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_RENDER_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Check("engine", "fail", f"{name}: no image in {_RENDER_TIMEOUT_S} s", fix)
    if done.returncode < 0:
        return Check("engine", "fail", f"{name}: crashed with signal {-done.returncode}", fix)
    if done.returncode:
        return Check("engine", "fail", f"{name}: {_last_line(done.stderr)}", fix)
    output = _last_line(done.stdout)
    if not output.endswith("depth 70.0"):
        return Check("engine", "fail", f"{name}: wrong image ({output})", fix_image)
    return Check("engine", "ok", f"{name}: {output.split(' depth')[0]} renders")


def check_model() -> Check:
    """Check whether the MakeHuman models are unpacked."""
    from synthgen.blender_assets.bake import MODELS, model_path  # noqa: PLC0415 - loads scipy

    missing = [name for name in MODELS if not model_path(name).exists()]
    if missing:
        found = f"not unpacked yet: {', '.join(missing)}"
        fix = "none needed: the first run unpacks them; or run `synthgen bake` now"
        return Check("models", "warn", found, fix)
    return Check("models", "ok", str(model_path(MODELS[0]).parent))


def check_cores() -> Check:
    """Count the cores that this process may use."""
    cores = this_machine().cores
    return Check("cores", "ok", f"{cores}, enough for {cores} workers")


def check_memory() -> Check:
    """Check that the memory suffices for one worker."""
    memory = this_machine().memory
    found = f"{byte_size(memory)} free, {byte_size(WORKER_MEMORY)} per worker"
    if memory < WORKER_MEMORY:
        return Check("memory", "fail", found, "close other programs, or raise the container's limit")
    return Check("memory", "ok", found)


def check_disk_here() -> Check:
    """Check the disk space in the current folder."""
    here = Path.cwd()
    free = disk_free(here)
    if free < 1e9:
        return Check(
            "disk", "warn", f"{byte_size(free)} free in {here}", "10,000 hands take about 100 MB: choose another --out"
        )
    return Check("disk", "ok", f"{byte_size(free)} free in {here}")


def check_scratch(memory_folder: Path = Path("/dev/shm")) -> Check:  # noqa: S108 - only looked at
    """Check the folder through which Blender passes its images: in memory, if the system has such a folder."""
    if not memory_folder.is_dir():
        return Check("scratch", "ok", f"{tempfile.gettempdir()} (no {memory_folder} here)")
    free = disk_free(memory_folder)
    if free < _SCRATCH_BYTES:
        fix = "rendering uses the temporary folder, which is a little slower; with Docker pass --shm-size 64m"
        return Check("scratch", "warn", f"{byte_size(free)} free in {memory_folder}", fix)
    return Check("scratch", "ok", f"{byte_size(free)} free in {memory_folder}")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no output"
