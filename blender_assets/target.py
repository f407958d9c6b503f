"""The plugin loader: reads MakeHuman and MPFB2 ``.target`` files as additional shape parameters.

A target file lists displacements of base-mesh vertices, one ``index dx dy dz`` per line, in decimetres, x to the left,
y up, z to the front (MakeHuman's convention; MPFB2's files are the same, gzipped). ``#`` starts a comment.
"""

import gzip
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from synthgen.blender_assets.model import BodyModel
from synthgen.errors import AssetError
from synthgen.geometry import Floats
from synthgen.specs.shape_space import ShapeSpace

N_BASE_VERTICES = 19158
MAX_BYTES = 16 * 1024 * 1024
_MAX_OFFSET_DM = 30.0
_MM_PER_DM = 100.0


@dataclass(frozen=True)
class Target:
    """The displacements of one target file."""

    vertices: NDArray[np.int64]
    """(N,) base-mesh vertices."""
    offsets_mm: Floats
    """(N, 3) body frame: x left, y back, z up."""


def read_target(path: Path) -> Target:
    """Read a ``.target`` or ``.target.gz`` file.

    Raises:
        AssetError: The file cannot be read or a line is malformed; the message names file and line.
    """
    text = _read_text(path)
    vertices: list[int] = []
    offsets: list[tuple[float, ...]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if words:
            vertex, offset = _parse(words, f"{path}:{number}")
            vertices.append(vertex)
            offsets.append(offset)
    if not vertices:
        msg = f"{path}: contains no displacements; add lines of `vertex dx dy dz`"
        raise AssetError(msg)
    if len(set(vertices)) != len(vertices):
        twice = next(v for v in vertices if vertices.count(v) > 1)
        msg = f"{path}: vertex {twice} is listed twice; keep one line per vertex"
        raise AssetError(msg)
    x, y, z = np.array(offsets).T * _MM_PER_DM
    return Target(np.array(vertices), np.stack([x, -z, y], axis=1))


def add_targets(model: BodyModel, space: ShapeSpace) -> BodyModel:
    """Return the model with a shape space's target files added; the negative end of a target is its opposite.

    Raises:
        AssetError: A file is malformed, moves no vertex of the model, or has the name of a MakeHuman target.
    """
    for file in space.target_files:
        if file.name in model.target_names:
            msg = f"shape.target_files: {file.name!r} is already a target of MakeHuman; choose another name"
            raise AssetError(msg)
        target = read_target(Path(file.path))
        place = {int(base): i for i, base in enumerate(model.base_vertices)}
        own = [
            (place[int(v)], offset)
            for v, offset in zip(target.vertices, target.offsets_mm, strict=True)
            if int(v) in place
        ]
        if not own:
            msg = f"{file.path}: moves no vertex of the {model.name} model; use it with the other model"
            raise AssetError(msg)
        row = np.zeros(model.template_mm.shape)
        for vertex, offset in own:
            row[vertex] = offset
        both = csr_matrix(np.stack([row.ravel(), -row.ravel()]))
        model = replace(
            model, target_names=(*model.target_names, file.name), target_mm=vstack([model.target_mm, both]).tocsr(),
        )  # fmt: skip
    return model


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()[: MAX_BYTES + 1]
        if raw[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            msg = f"{path}: larger than {MAX_BYTES // 2**20} MB; this is not a target file"
            raise AssetError(msg)
        return raw.decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path}: target file cannot be read ({error}); give the path of a .target or .target.gz file"
        raise AssetError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: not text; give a .target or .target.gz file"
        raise AssetError(msg) from error


def _parse(words: list[str], place: str) -> tuple[int, tuple[float, ...]]:
    try:
        vertex, *offset = int(words[0]), *(float(word) for word in words[1:])
    except ValueError:
        msg = f"{place}: {' '.join(words)[:60]!r} is not `vertex dx dy dz`; write four numbers"
        raise AssetError(msg) from None
    if len(offset) != 3:
        msg = f"{place}: {len(offset)} displacements instead of 3; write `vertex dx dy dz`"
        raise AssetError(msg)
    if not 0 <= vertex < N_BASE_VERTICES:
        msg = f"{place}: vertex {vertex} is not on the base mesh; use 0 to {N_BASE_VERTICES - 1}"
        raise AssetError(msg)
    if not all(np.isfinite(value) and abs(value) <= _MAX_OFFSET_DM for value in offset):
        msg = f"{place}: displacement {' '.join(words[1:])} dm; use numbers within {_MAX_OFFSET_DM:g} dm"
        raise AssetError(msg)
    return vertex, tuple(offset)
