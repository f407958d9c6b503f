"""The wheel: everything of the checkout that a user needs, nothing else, and it runs away from the checkout."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: dict[str, str] = PROJECT["tool"]["setuptools"]["package-dir"]
"""Folder of the checkout by the package that it installs as."""
FOLDERS = sorted({folder.partition("/")[0] for folder in PACKAGES.values()})
SHIPPED = {".py", ".yaml", ".json", ".txt", ".typed", ".xz"}
NOT_SHIPPED = {".pyc", ".nbi", ".nbc"}
"""What Python and numba keep beside the modules."""
PYTHONS = os.environ.get("SYNTHGEN_PYTHONS", os.pathsep.join(("python3.12", "python3.13"))).split(os.pathsep)
"""Interpreters that Blender is not built for; the variable names those that are not on the path."""
RENDER = ("render", "--spec", "hand", "--engine", "raster", "--count", "100", "--workers", "1", "--out")

pytestmark = pytest.mark.slow


def run(*arguments: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def checkout_files() -> dict[str, Path]:
    """Files of the packages in the checkout, by the names that they have in a wheel."""
    return {
        f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}": path
        for package, folder in PACKAGES.items()
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix not in NOT_SHIPPED
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing that an earlier build left is in it, and nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    (source / "tests").mkdir()
    (source / "tests" / "__init__.py").touch()
    out = tmp_path_factory.mktemp("wheel")
    # Without isolation, because with it the build downloads setuptools.
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-compile")
    run(sys.executable, "-m", "pip", "install", *options, "--target", target, wheel, cwd=target)
    return target


def test_every_package_of_the_checkout_is_listed():
    folders = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}

    assert {ROOT / folder for folder in PACKAGES.values()} == folders
    assert {path.parent for path in ROOT.glob("*/__init__.py")} <= {
        ROOT / name for name in (*FOLDERS, "tests", "benchmarks")
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(PACKAGES)


def test_the_wheel_holds_the_checkouts_files_and_no_others(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    files = checkout_files()

    assert sorted(held) == sorted(files)
    assert {Path(name).suffix for name in held} <= SHIPPED
    assert all(held[name] == path.read_bytes() for name, path in files.items())
    assert {
        "synthgen/py.typed",
        "synthgen/specs/presets/spec/hand.yaml",
        "synthgen/blender_assets/manifest.json",
        "synthgen/blender_assets/body.npz.xz",
    } <= held.keys()


def test_the_wheel_says_what_it_is_and_under_which_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(names["METADATA"]).decode()

    assert {"LICENSE", "NOTICE", "entry_points.txt"} <= names.keys()
    assert f"Version: {PROJECT['project']['version']}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata


def test_the_installed_command_runs_away_from_the_checkout(installed, tmp_path):
    def command(*arguments: object) -> str:
        return run(sys.executable, installed / "bin" / "synthgen", *arguments, cwd=tmp_path, PYTHONPATH=str(installed))

    where = (
        "import synthgen.generator.runs.run as run, synthgen.pose_spaces as poses; print(run.__file__, poses.__file__)"
    )
    for place in run(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(installed)).split():
        assert Path(place).is_relative_to(installed)

    assert command("--version") == f"synthgen {PROJECT['project']['version']}\n"
    command("spec", "init", "hand", "--out", "mine.yaml")
    shown = command("spec", "show", "mine.yaml")
    assert shown == command("spec", "show", "hand")
    assert "index_mcp.flexion_deg" in shown
    assert '"$schema"' in command("spec", "schema")


@pytest.mark.bpy
def test_the_installed_command_renders(installed, tmp_path):
    command = (sys.executable, installed / "bin" / "synthgen", "render", "--spec", "hand", "--count", 3)
    run(*command, "--workers", 1, cwd=tmp_path, PYTHONPATH=str(installed))

    assert (tmp_path / "data" / "hand" / "SHA256SUMS").is_file()


def test_the_version_stands_in_one_place_and_the_same_in_all(installed):
    code = "import synthgen; print(synthgen.__version__)"
    version = run(sys.executable, "-c", code, cwd=installed, PYTHONPATH=str(installed)).strip()

    assert version == PROJECT["project"]["version"] == importlib.metadata.version("synthgen")


def base_install(python: str, wheel: Path, folder: Path) -> Path:
    """Return the synthgen command of a new environment with no extra."""
    folder.mkdir()
    run(python, "-m", "venv", "venv", cwd=folder)
    pip = (folder / "venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*pip, "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return folder / "venv/bin/synthgen"


def archives(folder: Path) -> list[str]:
    return [line for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines() if line.endswith(".tar")]


@pytest.mark.parametrize("name", [sys.executable, *PYTHONS])
def test_a_base_install_renders_the_same_bytes_and_names_the_extra_for_the_rest(name, wheel, tmp_path):
    python = shutil.which(name)
    if (
        python is None
        or subprocess.run([python, "-c", "import ensurepip"], check=False, capture_output=True).returncode
    ):
        pytest.skip(f"{name} is not at hand; SYNTHGEN_PYTHONS may name one")
    here, there = Path(sys.executable).with_name("synthgen"), base_install(python, wheel, tmp_path / "other")

    run(here, *RENDER, tmp_path / "here", cwd=tmp_path)
    run(there, *RENDER, tmp_path / "there", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    run(there, "preview", "--spec", "hand", "-n", 1, "--out", tmp_path / "sheet.png", cwd=tmp_path)
    run(there, "doctor", cwd=tmp_path)

    assert archives(tmp_path / "here")
    assert archives(tmp_path / "there") == archives(tmp_path / "here")
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    for module in ("bpy", "torch", "anny", "h5py"):
        with pytest.raises(AssertionError, match=f"No module named '{module}'"):
            run(there.with_name("python"), "-c", f"import {module}", cwd=tmp_path)
    for arguments, extra in (
        (("train", "--data", tmp_path / "there", "--out", tmp_path / "run"), "train"),
        (("scans", "info", "x.h5"), "scans"),
    ):
        with pytest.raises(AssertionError, match=rf'error: .*: pip install "synthgen\[{extra}\]"'):
            run(there, *arguments, cwd=tmp_path)
