"""Which room may import which, that no rooms import each other, and how large a room, a file and a function may grow.

A room is a folder with an ``__init__``. The modules at the root of ``generator`` are its spine.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
from support.paths import ROOT

CORE = "synthgen"
FOLDERS = (CORE, "pose_spaces", "shape_spaces", "blender_assets", "generator", "training")
SPINE = "generator"

_SPACES = {"pose_spaces", "shape_spaces", "blender_assets"}
_CORE = {CORE, "synthgen/randomness", "synthgen/storage", "synthgen/pictures", "synthgen/remote", "synthgen/specs",
         "synthgen/datasets"}  # fmt: skip
_MADE = {*_CORE, *_SPACES, "generator/bodies"}
OURS: dict[str, set[str]] = {
    CORE: set(),
    "synthgen/randomness": {CORE},
    "synthgen/storage": {CORE},
    "synthgen/pictures": {CORE, "synthgen/storage"},
    "synthgen/remote": {CORE, "synthgen/storage"},
    "synthgen/specs": {CORE, "synthgen/randomness", "synthgen/storage"},
    "synthgen/datasets": {CORE, "synthgen/remote", "synthgen/specs", "synthgen/storage"},
    "pose_spaces": {CORE, "synthgen/randomness", "synthgen/specs"},
    "shape_spaces": {CORE, "synthgen/randomness", "synthgen/specs"},
    "blender_assets": {CORE, "synthgen/randomness", "synthgen/specs", "synthgen/storage"},  # unpacks models to disk
    "generator/bodies": _CORE | _SPACES,
    "generator/engines": {CORE, "generator/bodies"},
    SPINE: {*_MADE, "generator/engines"},
    "generator/exports": {*_MADE, "generator/engines", SPINE},
    "generator/phantoms": {*_MADE, SPINE},
    "generator/dataset": {*_MADE, "generator/engines", "generator/exports", SPINE},
    "generator/runs": {*_MADE, "generator/engines", "generator/dataset", SPINE},
    "generator/hub": {*_CORE, "generator/dataset", "generator/runs"},
    "training": set(),
    "training/networks": {CORE},
    "training/streaming": {*_CORE, "training/networks"},
    "training/loop": {*_CORE, "training/networks", "training/streaming"},
    "training/scans/formats": _CORE,
    "training/scans": {*_CORE, "training/scans/formats"},
    "training/evaluation": {*_CORE, "training/scans"},
    "training/experiments": {*_CORE, "training/evaluation", "training/loop", "training/scans",
                             "training/scans/formats", "training/streaming"},
    "training/hub": {*_CORE, "training/evaluation", "training/experiments", "training/loop"},
}  # fmt: skip
"""What each room may import besides itself."""
EVERYTHING = {"synthgen/cli", "synthgen/api"}
"""May import all of ours, inside functions."""
DOOR = "synthgen/__init__.py"
"""Names the public functions of synthgen/api, for type checkers alone: it imports them when they are used."""

THEIRS = {
    CORE: {"numpy", "scipy", "pydantic", "pydantic_core", "yaml", "PIL", "pyarrow", "filelock", "platformdirs"},
    "pose_spaces": {"numpy", "scipy", "yaml"},
    "shape_spaces": {"numpy", "scipy", "yaml"},
    "blender_assets": {"numpy", "scipy", "platformdirs"},
    "generator": {"numpy", "scipy", "PIL", "pyarrow", "psutil", "filelock", "matplotlib", "nibabel"},
    "training": {"numpy", "scipy", "PIL", "pyarrow", "pydantic", "pydantic_core", "psutil", "torch", "safetensors",
                 "tensorboard", "SimpleITK", "nibabel", "pydicom", "h5py", "sklearn", "matplotlib", "webdataset"},
}  # fmt: skip
"""What the rooms of a root folder may import of other people's."""
BLENDER = ("generator/engines/blender.py", "generator/exports/blend_file.py")
ONLY_IN = {
    "anny": ("blender_assets/from_anny.py",),
    "torch": ("blender_assets/from_anny.py", "training/"),
    "bpy": BLENDER,
    "bmesh": BLENDER,
    "mathutils": BLENDER,
    "dask": ("generator/runs/cluster.py", "generator/runs/resources.py"),  # the second for the number of cores
    "distributed": ("generator/runs/cluster.py",),
    "numba": ("synthgen/randomness/", "synthgen/specs/artefact_kernels.py", "generator/", "training/"),
    "huggingface_hub": ("synthgen/remote/hub.py",),
    "httpx2": ("synthgen/remote/web.py",),
    "isal": ("training/streaming/shard_reader.py",),
    "typer": ("synthgen/cli/",),
    "rich": ("synthgen/cli/",),
    "SimpleITK": ("training/scans/formats/dicom_file.py",),
    "pydicom": ("training/scans/formats/dicom_file.py",),
    "nibabel": ("training/scans/formats/nifti.py", "generator/phantoms/nifti_writer.py"),
}
INSIDE_FUNCTIONS = {"anny", "torch", "bpy", "bmesh", "mathutils", "matplotlib", "huggingface_hub", "httpx2"}
"""Never loaded with a module, except where a file of `training` is about torch."""
NOWHERE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "random"}
"""Files that run code when they are read, and randomness with a global state."""

MODULES, LINES, FUNCTION_LINES, PARAMETERS = 19, 350, 60, 6


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


@cache
def rooms() -> dict[str, str]:
    """Return the room of each of our modules by the module's full name."""
    return {module_of(path): room_of(path) for path, _ in sources()}


def module_of(path: str) -> str:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name.split(".")[0] == CORE else f"{CORE}.{name}"


def room_of(path: str) -> str:
    return path.rpartition("/")[0]


def imported_room(module: str) -> str | None:
    """Return the room that an import reaches; None for other people's. What is not there counts as its folder."""
    if module.split(".", maxsplit=1)[0] != CORE:
        return None
    parts = module.split(".")
    while parts:
        found = rooms().get(".".join(parts))
        if found is not None:
            return found
        parts.pop()
    return CORE


def allowed(path: str, places: Iterable[str]) -> bool:
    return any(path == place or (place.endswith("/") and path.startswith(place)) for place in places)


def import_faults(path: str, source: str) -> list[str]:
    """Return what a file imports and may not, one line each."""
    return [
        fault for found in imports(source, path) for fault in [*our_faults(path, found), *their_faults(path, found)]
    ]


def our_faults(path: str, found: Import) -> Iterator[str]:
    where = f"{path}:{found.line}: {found.module}"
    room, other = room_of(path), imported_room(found.module)
    if found.module.split(".")[0] in set(FOLDERS) - {CORE}:
        yield f"{where}: say {CORE}.{found.module}, which is its name where it is installed"
    if other is None or other == room or is_public_name(path, found):
        return
    if room in EVERYTHING:
        if other not in _CORE and not found.in_function and not found.for_types:
            yield f"{where}: inside a function"
    elif other not in OURS[room]:
        yield f"{where}: {room} may import {', '.join(sorted(OURS[room])) or 'nothing of ours'}"


def is_public_name(path: str, found: Import) -> bool:
    return path == DOOR and found.for_types and imported_room(found.module) == "synthgen/api"


def their_faults(path: str, found: Import) -> Iterator[str]:
    where = f"{path}:{found.line}: {found.module}"
    top, home = found.module.split(".")[0], path.split("/", maxsplit=1)[0]
    if top in FOLDERS:
        return
    if top in NOWHERE:
        yield f"{where}: nowhere"
    elif top in ONLY_IN:
        if not allowed(path, ONLY_IN[top]):
            yield f"{where}: only in {', '.join(ONLY_IN[top])}"
    elif top not in sys.stdlib_module_names and top not in THEIRS[home]:
        yield f"{where}: {home} may import {', '.join(sorted(THEIRS[home]))}"
    at_once = not found.in_function and not found.for_types
    if top in INSIDE_FUNCTIONS and at_once and not (top == "torch" and home == "training"):
        yield f"{where}: inside a function"


def arrows() -> dict[str, set[str]]:
    """Return which rooms each room imports, whatever the table says; the command line is above all of them."""
    found: dict[str, set[str]] = {room: set() for room in rooms().values()}
    for path, source in sources():
        for item in imports(source, path):
            other = imported_room(item.module)
            if other is not None and other != room_of(path) and not is_public_name(path, item):
                found[room_of(path)].add(other)
    return found


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
        if len(parameters) > PARAMETERS and room_of(path) not in EVERYTHING:  # a command's parameters are its options
            faults.append(f"{where}: {len(parameters)} parameters, more than {PARAMETERS}; make a noun of some")
    return faults


def faults(check) -> list[str]:
    return [fault for path, source in sources() for fault in check(path, source)]


def test_every_folder_is_looked_at():
    looked = {path.split("/")[0] for path, _ in sources()}

    assert looked == set(FOLDERS)
    assert len(sources()) > 40


def test_the_table_names_every_room_and_no_other():
    assert set(OURS) | EVERYTHING == set(rooms().values())


def test_the_map_in_contributing_shows_every_room():
    shown = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    empty = {"training"}  # holds rooms, and no module

    assert [room for room in sorted(set(rooms().values()) - empty) if f"`{room}/`" not in shown] == []


def test_imports_keep_to_the_table():
    assert faults(import_faults) == []


def test_no_rooms_import_each_other():
    assert len(list(TopologicalSorter(arrows()).static_order())) == len(set(rooms().values()))
    assert len(list(TopologicalSorter(OURS).static_order())) == len(OURS)


def test_rooms_that_import_each_other_are_found():
    with pytest.raises(CycleError):
        TopologicalSorter({**OURS, "synthgen/specs": {"pose_spaces"}}).prepare()


def test_a_room_can_be_taken_in_at_one_sight():
    modules: dict[str, list[str]] = {}
    for path, _ in sources():
        if not path.endswith("__init__.py"):
            modules.setdefault(room_of(path), []).append(path)

    assert {room: len(paths) for room, paths in modules.items() if len(paths) > MODULES} == {}


def test_every_room_says_in_one_sentence_what_it_is_for():
    texts = {path: ast.get_docstring(ast.parse(source)) or "" for path, source in sources()}
    first = {path: text.split("\n\n")[0] for path, text in texts.items() if path.endswith("__init__.py")}

    assert [path for path, text in first.items() if not text.endswith(".") or len(text) < 20] == []


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
        ("synthgen/specs/spec.py", "from ..generator import run"),
        ("synthgen/__init__.py", "from synthgen.api.data import open_dataset"),
        ("synthgen/__init__.py", "if TYPE_CHECKING:\n    from synthgen.datasets.dataset import Dataset"),
        ("synthgen/errors.py", "if TYPE_CHECKING:\n    from synthgen.api.data import open_dataset"),
        ("synthgen/api/data.py", "from synthgen.generator.pipeline import Pipeline"),
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
        ("blender_assets/from_anny.py", "import torch"),
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
        ("synthgen/__init__.py", "if TYPE_CHECKING:\n    from synthgen.api.data import open_dataset"),
        ("generator/engines/blender.py", "def f():\n    import bpy"),
        ("generator/exports/sample_pictures.py", "def f():\n    import matplotlib.pyplot as plt"),
        ("generator/runs/cluster.py", "import dask\nfrom distributed import Client"),
        ("blender_assets/from_anny.py", "def f():\n    import torch, anny"),
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
