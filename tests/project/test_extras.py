"""A base install, without the extras: what needs none works, and everything else names the one that it needs."""

import os
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from support.command_line import call
from support.paths import ROOT

from synthgen.errors import EXTRAS, MissingPackageError, missing_text, need

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SITE = """
import sys
from importlib.machinery import PathFinder

ABSENT = {absent}


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """An environment in which no Python finds a package of an extra."""
    folder = tmp_path_factory.mktemp("absent")
    absent = {"anny", *(module for _, modules in EXTRAS.values() for module in modules)}
    (folder / "sitecustomize.py").write_text(SITE.format(absent=absent))
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory):
    """A folder with what the commands are given: a dataset, a scan table, a network by its name alone."""
    folder = tmp_path_factory.mktemp("here")
    done = call("render", "--spec", "hand", "--engine", "raster", "--count", 5, "--workers", 1, "--out", "data",
                cwd=folder, env=base)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "scans.csv").write_text("image,landmarks\n")
    (folder / "scans.h5").touch()
    (folder / "scan.nii.gz").touch()
    (folder / "network").mkdir()
    (folder / "network" / "checkpoint.json").write_text("{}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "preview --spec hand -n 1 --out sheet.png",
        "inspect data 1 --out 1.png",
        "verify data --rerender 1",
        "target list --model hand",
        "spec show body",
        "doctor",
        "--help",
    ],
)
def test_what_needs_no_extra_works(command, folder, base):
    done = call(*command.split(), cwd=folder, env=base)

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "extras"),  # commands that need two name one of them
    [
        ("train --data data --out run", "train"),
        ("train --spec hand --steps 2 --out run", "train"),
        ("finetune --init network --scans scans.h5 --out run", "train scans"),
        ("experiment --data data --scans scans.h5 --out results", "train scans"),
        ("predict scan.nii.gz --model network --out found", "train scans"),
        ("push network --repo tester/network --dry-run", "train"),
        ("scans build scans.csv --spec hand --out set.h5", "scans"),
        ("scans check scans.csv --spec hand", "scans"),
        ("scans info scans.h5", "scans"),
        ("scans preview scans.h5 --out scans.png", "scans"),
        ("scans phantom --spec hand -n 1 --out phantoms", "scans"),
        ("render --spec hand --count 2 --out new", "blender"),
        ("blend --spec hand --index 1 --out 1.blend", "blender"),
    ],
)
def test_what_needs_an_extra_names_it_in_one_line(command, extras, folder, base):
    before = sorted(folder.rglob("*"))
    done = call(*command.split(), cwd=folder, env=base)

    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert any(f'pip install "synthgen[{extra}]"' in done.stderr for extra in extras.split()), done.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_the_doctor_says_what_each_extra_adds(folder, base):
    text = " ".join(call("doctor", cwd=folder, env=base | {"COLUMNS": "200"}).stdout.split())

    for extra, (purpose, modules) in EXTRAS.items():
        assert f"{extra}, for {purpose}: {modules[0]}" in text
        assert f'pip install "synthgen[{extra}]"' in text


def test_the_modules_of_an_extra_are_those_that_it_installs():
    providers = metadata.packages_distributions()
    for extra, (_, modules) in EXTRAS.items():
        names = {name.lower() for module in modules for name in providers.get(module, [module])}
        installed = {requirement.split(";")[0].split(">")[0].split("<")[0].strip().lower()
                     for requirement in PROJECT["optional-dependencies"][extra]}  # fmt: skip
        assert names == installed - {"numpy"}
        assert not names & {requirement.split(">")[0] for requirement in PROJECT["dependencies"]}


def test_need_refuses_what_is_missing(monkeypatch):
    need("numpy", "json")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingPackageError, match=r'^training.*needs torch, .*: pip install "synthgen\[train\]"$'):
        need("numpy", "torch")


def test_only_modules_of_extras_have_one():
    assert missing_text("torch.nn") == missing_text("torch")
    assert missing_text("numpy") is missing_text(None) is None


@pytest.mark.slow
def test_reading_a_dataset_needs_no_extra(folder, base):
    code = "import synthgen; print(synthgen.open_dataset('data')[3].index)"
    run = {"cwd": folder, "env": base, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", code], check=False, **run)

    assert done.stdout == "3\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("load_network('network')", "train"),
        ("train('data', 'run')", "train"),
        ("finetune('scans.h5', 'run', init='network')", "train"),
        ("push('network', 'tester/network', dry_run=True)", "train"),
        ("build_scan_set('scans.csv', 'hand', 'set.h5')", "scans"),
        ("open_scan_set('scans.h5')", "scans"),
    ],
)
def test_the_python_interface_names_the_extra_too(code, extra, folder, base):
    program = f"import synthgen\ntry:\n    synthgen.{code}\nexcept synthgen.SynthgenError as error:\n    print(error)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=base, capture_output=True, text=True, check=False
    )

    assert f'pip install "synthgen[{extra}]"' in done.stdout, done.stderr
