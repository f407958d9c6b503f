"""Who may import whom, and how large a file may grow: the design's table, read from the code's own imports."""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = "synthgen"
FOLDERS = (CORE, "pose_spaces", "shape_spaces", "blender_assets", "generator", "training")

OURS = {
    CORE: {CORE},
    "pose_spaces": {CORE, "pose_spaces"},
    "shape_spaces": {CORE, "shape_spaces"},
    "blender_assets": {CORE, "blender_assets"},
    "generator": {CORE, "pose_spaces", "shape_spaces", "blender_assets", "generator"},
    "training": {CORE, "training"},
}
EVERYTHING = {"synthgen/cli/main.py", "synthgen/cli/options.py", "synthgen/cli/data_options.py", "synthgen/cli/hub.py",
              "synthgen/cli/on_demand.py", "synthgen/cli/scans.py", "synthgen/cli/specs.py",
              "synthgen/cli/training.py"}  # fmt: skip
"""The command line: may import all of ours, inside its commands."""

THEIRS = {
    CORE: {"numpy", "scipy", "pydantic", "pydantic_core", "yaml", "PIL", "pyarrow", "filelock", "platformdirs"},
    "pose_spaces": {"numpy", "scipy", "yaml"},
    "shape_spaces": {"numpy", "scipy", "yaml"},
    "blender_assets": {"numpy", "scipy", "platformdirs", "filelock"},
    "generator": {"numpy", "scipy", "PIL", "pyarrow", "psutil", "filelock", "rich", "matplotlib"},
    "training": {"numpy", "scipy", "PIL", "pyarrow", "pydantic", "pydantic_core", "psutil", "torch", "safetensors",
                 "tensorboard", "SimpleITK", "h5py", "sklearn", "matplotlib", "webdataset"},
}  # fmt: skip
BLENDER = ("generator/engines/blender.py", "generator/exports/blend_file.py")
ONLY_IN = {
    "anny": ("blender_assets/bake.py",),
    "torch": ("blender_assets/bake.py", "training/"),
    "bpy": BLENDER,
    "bmesh": BLENDER,
    "mathutils": BLENDER,
    "dask": ("generator/runs/cluster.py",),
    "distributed": ("generator/runs/cluster.py",),
    "numba": ("synthgen/randomness/philox.py", "generator/", "training/"),
    "huggingface_hub": ("synthgen/remote/hub.py",),
    "httpx2": ("synthgen/remote/web.py",),
    "typer": tuple(sorted(EVERYTHING)),
    "rich": (*sorted(EVERYTHING), "generator/runs/terminal.py"),
    "SimpleITK": ("training/",),
}
INSIDE_FUNCTIONS = {"anny", "torch", "bpy", "bmesh", "mathutils", "matplotlib", "huggingface_hub", "httpx2"}
"""Never loaded with a module, except where a file of `training` is about torch."""
NOWHERE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "random"}
"""Files that run code when they are read, and randomness with a global state."""

LINES, FUNCTION_LINES, PARAMETERS = 350, 60, 6


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    in_function: bool
    for_types: bool


def sources() -> list[tuple[str, str]]:
    return [
        (path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def imports(source: str, path: str) -> Iterator[Import]:
    """Yield what a file imports, wherever in it, with the module's absolute name."""
    package = ("" if path.startswith(CORE) else f"{CORE}.") + path.rpartition("/")[0].replace("/", ".")

    def walk(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, in_function, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) + 1 - node.level]
                base = ".".join(filter(None, [*above, base]))
            # `from synthgen import spec` imports synthgen.specs.spec as well.
            yield from (Import(f"{base}.{alias.name}", node.lineno, in_function, for_types) for alias in node.names)
        function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types = for_types or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function, types)

    return walk(ast.parse(source), in_function=False, for_types=False)


def folder_of(module: str) -> str | None:
    """The folder of one of our modules; None for other people's."""
    first, *rest = module.split(".")
    if first != CORE:
        return None
    return rest[0] if rest and rest[0] in FOLDERS else CORE


def allowed(path: str, places: Iterable[str]) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def import_faults(path: str, source: str) -> list[str]:
    """What a file imports and may not, one line each."""
    home = path.split("/", maxsplit=1)[0]
    faults = []
    for found in imports(source, path):
        where = f"{path}:{found.line}: {found.module}"
        top = found.module.split(".")[0]
        ours = folder_of(found.module)
        if top in FOLDERS and top != CORE:
            faults.append(f"{where}: say synthgen.{top}, which is its name where it is installed")
        elif ours:
            everything = path in EVERYTHING and (ours == CORE or found.in_function or found.for_types)
            if ours not in OURS[home] and not everything:
                faults.append(f"{where}: {home} may import {', '.join(sorted(OURS[home]))}")
        elif top in NOWHERE:
            faults.append(f"{where}: nowhere")
        elif top in ONLY_IN:
            if not allowed(path, ONLY_IN[top]):
                faults.append(f"{where}: only in {', '.join(ONLY_IN[top])}")
        elif top not in sys.stdlib_module_names and top not in THEIRS[home]:
            faults.append(f"{where}: {home} may import {', '.join(sorted(THEIRS[home]))}")
        at_once = not found.in_function and not found.for_types
        if top in INSIDE_FUNCTIONS and at_once and not (top == "torch" and home == "training"):
            faults.append(f"{where}: inside a function")
    return faults


def style_faults(path: str, source: str) -> list[str]:
    """What a library never does: print, make its own randomness."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "print":
            faults.append(f"{path}:{node.lineno}: print; use logging, or typer.echo in the command line")
        if called.startswith(("np.random.", "numpy.random.", "random.")) and path != "synthgen/randomness/seeding.py":
            faults.append(f"{path}:{node.lineno}: {called}; only synthgen/randomness/seeding.py makes generators")
    return faults


def size_faults(path: str, source: str) -> list[str]:
    """What is too large to be read in one go."""
    faults = []
    lines = source.count("\n")
    if lines > LINES:
        faults.append(f"{path}: {lines} lines, more than {LINES}; divide it")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        where = f"{path}:{node.name}"
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        parameters = [name for name in names if name not in {"self", "cls"}]
        if length > FUNCTION_LINES:
            faults.append(f"{where}: {length} lines, more than {FUNCTION_LINES}; divide it")
        if len(parameters) > PARAMETERS and path not in EVERYTHING:  # a command's parameters are its options
            faults.append(f"{where}: {len(parameters)} parameters, more than {PARAMETERS}; make a noun of some")
    return faults


def faults(check) -> list[str]:
    return [fault for path, source in sources() for fault in check(path, source)]


def test_every_folder_is_looked_at():
    looked = {path.split("/")[0] for path, _ in sources()}

    assert looked == set(FOLDERS)
    assert len(sources()) > 40


def test_imports_keep_to_the_table():
    assert faults(import_faults) == []


def test_libraries_print_nothing_and_make_no_randomness_of_their_own():
    assert faults(style_faults) == []


def test_files_and_functions_can_be_read_in_one_go():
    assert faults(size_faults) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("synthgen/specs/spec.py", "from synthgen.generator.runs.run import run"),
        ("synthgen/specs/spec.py", "from synthgen import generator"),
        ("synthgen/specs/spec.py", "import synthgen.generator"),
        ("synthgen/specs/spec.py", "from .generator import run"),
        ("synthgen/cli/main.py", "from synthgen.generator.runs.run import run"),
        ("synthgen/specs/spec.py", "from synthgen.pose_spaces.draw import PoseDrawer"),
        ("synthgen/specs/spec.py", "def f():\n    from synthgen.generator import run"),
        ("synthgen/specs/spec.py", "if TYPE_CHECKING:\n    from synthgen.generator import run"),
        ("synthgen/specs/spec.py", "import rich"),
        ("synthgen/specs/spec.py", "import numba"),
        ("synthgen/specs/spec.py", "import typer"),
        ("synthgen/specs/spec.py", "import pickle"),
        ("synthgen/specs/spec.py", "from random import random"),
        ("synthgen/specs/spec.py", "import generator.run"),
        ("synthgen/specs/spec.py", "def f():\n    import huggingface_hub"),
        ("synthgen/remote/hub.py", "import huggingface_hub"),
        ("pose_spaces/draw.py", "from synthgen.shape_spaces.draw import ShapeDrawer"),
        ("pose_spaces/draw.py", "from ..shape_spaces import draw"),
        ("pose_spaces/draw.py", "import pyarrow"),
        ("shape_spaces/draw.py", "import synthgen.generator.bodies.shape_and_skin"),
        ("blender_assets/model.py", "def f():\n    import torch"),
        ("blender_assets/model.py", "def f():\n    import anny.paths"),
        ("blender_assets/bake.py", "import torch"),
        ("blender_assets/bake.py", "from synthgen.generator import body"),
        ("generator/engines/blender.py", "import bpy"),
        ("generator/bodies/shape_and_skin.py", "def f():\n    import bpy"),
        ("generator/bodies/shape_and_skin.py", "def f():\n    from mathutils.bvhtree import BVHTree"),
        ("generator/bodies/shape_and_skin.py", "def f():\n    import torch"),
        ("generator/bodies/shape_and_skin.py", "from synthgen.training.networks.paper_net import Model"),
        ("generator/runs/worker.py", "from distributed import get_worker"),
        ("generator/runs/worker.py", "import dask.config"),
        ("generator/exports/sample_pictures.py", "import matplotlib.pyplot as plt"),
        ("training/streaming/batches.py", "from synthgen.generator.bodies.shape_and_skin import rest_body"),
        ("training/streaming/batches.py", "def f():\n    import bpy"),
        ("training/streaming/batches.py", "import anny"),
    ],
)
def test_a_forbidden_import_is_found(path, source):
    assert len(import_faults(path, source)) >= 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("synthgen/specs/spec.py", "import json\nimport numpy as np\nfrom synthgen.errors import SpecError"),
        ("synthgen/cli/main.py", "def render():\n    from synthgen.generator.runs.run import run"),
        ("generator/engines/blender.py", "def f():\n    import bpy"),
        ("generator/exports/sample_pictures.py", "def f():\n    import matplotlib.pyplot as plt"),
        ("generator/runs/cluster.py", "import dask\nfrom distributed import Client"),
        ("blender_assets/bake.py", "def f():\n    import torch, anny"),
        ("training/networks/paper_net.py", "import torch"),
    ],
)
def test_an_allowed_import_is_not(path, source):
    assert import_faults(path, source) == []


@pytest.mark.parametrize(
    "source", ["print(1)", "rng = np.random.default_rng(1)", "x = numpy.random.rand(3)", "random.seed(0)"]
)
def test_prints_and_own_randomness_are_found(source):
    assert len(style_faults("generator/bodies/shape_and_skin.py", source)) == 1


def test_what_is_too_large_is_found():
    long = "def f():\n" + "    x = 1\n" * 60

    assert len(size_faults("generator/bodies/shape_and_skin.py", "x = 1\n" * 351)) == 1
    assert len(size_faults("generator/bodies/shape_and_skin.py", long)) == 1
    assert len(size_faults("generator/bodies/shape_and_skin.py", "def f(a, b, c, d, *, e, f, g): ...")) == 1
    assert size_faults("generator/bodies/shape_and_skin.py", "class C:\n    def f(self, a, b, c, d, e, f): ...\n") == []
