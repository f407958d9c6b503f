"""The built-in specs, spaces and presets by name: YAML files in the installed packages."""

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from synthgen.errors import SpecError
from synthgen.specs.safe_yaml import Document, read_yaml

Kind = Literal["spec", "landmarks", "shape", "pose", "camera", "framing", "artefacts"]
_FOLDERS: dict[Kind, tuple[str, str]] = {
    "spec": ("synthgen.specs", "presets/spec"),
    "landmarks": ("synthgen.blender_assets", "landmarks"),
    "shape": ("synthgen.shape_spaces", ""),
    "pose": ("synthgen.pose_spaces", ""),
    "camera": ("synthgen.specs", "presets/camera"),
    "framing": ("synthgen.specs", "presets/framing"),
    "artefacts": ("synthgen.specs", "presets/artefacts"),
}
_NOT_SPACES = {"joints"}
"""The joints' limits, stored beside the pose spaces."""
TITLES: dict[Kind, str] = {
    "spec": "spec",
    "landmarks": "landmark set",
    "shape": "shape space",
    "pose": "pose space",
    "camera": "camera",
    "framing": "framing",
    "artefacts": "artefacts",
}


def folder(kind: Kind) -> Path:
    """Return the installed folder of one kind, without importing its package."""
    package, below = _FOLDERS[kind]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SpecError(f"package {package} is not installed; install synthgen again")
    return Path(next(iter(spec.submodule_search_locations)), below)


def names(kind: Kind) -> tuple[str, ...]:
    """Return the built-in names of one kind, sorted."""
    return tuple(sorted({path.stem for path in folder(kind).glob("*.yaml")} - _NOT_SPACES))


def read_named(kind: Kind, name: str) -> Document:
    """Read the built-in of this name; an unknown name raises a SpecError that lists the known ones."""
    known = names(kind)
    if name not in known:
        raise SpecError(f'unknown {TITLES[kind]} "{name[:60]}"; {suggestion(name, known)}')
    return read_yaml(folder(kind) / f"{name}.yaml", f"{TITLES[kind]} {name}.yaml")


def suggestion(name: str, known: tuple[str, ...]) -> str:
    """Return the fix for an unknown name: the closest known one, and the first 40 of all."""
    nearest = get_close_matches(name, known, n=1, cutoff=0.6)
    listed = ", ".join(known[:40]) + (" …" if len(known) > 40 else "") if known else "none"
    return f'did you mean "{nearest[0]}"? Known: {listed}' if nearest else f"use one of: {listed}"
