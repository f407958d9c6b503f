"""Phantom scans: posed bodies as CT and hands as MR, with their landmarks, so that scans can be tried without patients.

A phantom is its sample's very mesh in voxels: the patient lies in the scanner as the camera sees them, the depth
direction of the view along a voxel axis. Rendering ``as_scanned(scene, index)`` gives what a perfect scan would.
"""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import radians
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DatasetError, SpecError, SynthgenError
from synthgen.generator.bodies.vectors import about
from synthgen.generator.phantoms.modality import Subject, ct_volume, draw_table, mr_volume
from synthgen.generator.phantoms.nifti_writer import stored_as, write_nifti
from synthgen.generator.phantoms.tissue import Joints
from synthgen.generator.phantoms.voxelize import Grid, covering
from synthgen.generator.scene import PosedBody, Scene
from synthgen.geometry import Camera, Floats, normalize
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.atomic_files import write_file
from synthgen.storage.sample import sample_key

BODY_SPACING_MM = (1.5, 1.5, 1.5)
HAND_SPACING_MM = (1.0, 1.0, 1.0)
MAX_VOXELS = 2**29
"""1 GiB of voxels."""
MAX_OBLIQUE_DEG = 40.0
"""Beyond 45 degrees, the nearest axis is another one."""
COLUMNS = ("id", "subject", "image", "landmarks", "side", "up", "viewed_from")
_DIRECTIONS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
_NEAR_CUT_MM = 20.0
"""The mesh is followed so far beyond the cut, to find its extent."""
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_README = """Phantom scans, made by synthgen from the spec {spec!r} with seed {seed}. No patient was scanned.

Each image is a posed MakeHuman body in voxels, {what}.
Beside it are its landmarks (3D Slicer markups, LPS mm); scans.csv lists all. The surface is exact: it is the mesh that
synthgen renders for the same sample. Bones, organs, noise and artefacts are rough stand-ins that make scans look like
scans; nothing can be learnt from them about anatomy or scanners.
The same spec and seed give the same files. CC0 1.0, as is everything that synthgen renders.
"""
_WHAT = {
    "body": "CT-like, in Hounsfield units, supine on a scanner's table",
    "hand": "MR-like, in arbitrary units, with a sandbag on the hand",
}


@dataclass(frozen=True)
class PhantomOptions:
    """How phantoms are stored."""

    spacing_mm: tuple[float, float, float] | None = None
    """Voxels in the view's x (across), y (head to feet, fingers to arm) and depth; by default 1.5 mm, hands 1 mm."""
    oblique_deg: float = 15.0
    """The most that hands are turned out of the scanner's axes, 0 to 40."""


@dataclass(frozen=True)
class Phantom:
    """One phantom scan."""

    voxels: NDArray[np.int16]
    """(I, J, K)"""
    affine: Floats
    """(4, 4) from voxel centres (i, j, k, 1) to LPS mm."""
    landmarks_mm: dict[str, Floats]
    """LPS; those inside the volume."""
    side: str
    """Whose hand: left or right; empty for a body."""
    up: str
    """The patient's direction that is up in the view: L, R, A, P, S or I."""
    viewed_from: str
    """The patient's direction in which the viewer stands."""


@dataclass(frozen=True)
class Lie:
    """How a subject lies in the scanner."""

    up: str
    viewed_from: str
    turn: Floats
    """(3, 3) from the camera's axes to LPS."""
    centre_mm: Floats
    """(3,) of the volume, LPS."""


def phantom_scene(spec: ResolvedSpec) -> Scene:
    """Prepare the spec of phantoms: as the renderer does, but orthographic, as scans are.

    Raises:
        SpecError: The spec names what the model does not have.
    """
    camera = spec.camera.model_copy(update={"projection": "orthographic"})
    return Scene(spec.model_copy(update={"camera": camera}))


def as_scanned(scene: Scene, index: int) -> PosedBody:
    """Return the sample's body in the frame that scans get: the middle of the spec's margins, no offsets.

    Rendered, it is the truth of the index's phantom: mask and depth of the very mesh that was voxelized.
    """
    recipe = scene.recipe(index)
    low, high = scene.spec.framing.margin.support()
    place = {"margin": (low + high) / 2, "offset_x": 0.0, "offset_y": 0.0}
    return scene.posed_from(replace(recipe, camera=recipe.camera | place))


def make_phantom(scene: Scene, index: int, options: PhantomOptions | None = None) -> Phantom:
    """Make the phantom scan of one sample of a scene made by :func:`phantom_scene`.

    Raises:
        SynthgenError: The options cannot be used, or the spec has no possible pose.
    """
    options = checked(options or PhantomOptions())
    posed, model = scene.posed(index), scene.model
    is_body = scene.spec.model == "body"
    points = posed.points_mm[: model.n_vertices]
    subject = Subject(points, scene.triangles, Joints(model, posed.points_mm), scene.spec.seed, index)
    if is_body:
        grid, block = _scan_body(subject, options)
        lie, order, flips = _lie(subject, (("S", "A"),), 0.0), (0, 2, 1), (False, False, True)
    else:
        grid, block = _scan_hand(subject, posed.camera, options)
        lie, order, flips = (
            _lie(subject, _hand_ways(scene.spec.side), options.oblique_deg),
            (0, 1, 2),
            (False, False, False),
        )
    affine = _affine(grid, lie)
    names = scene.spec.landmarks.names
    landmarks = _landmarks(dict(zip(names, posed.labels.landmarks_mm, strict=True)), grid, affine)
    voxels, affine = stored_as(block.transpose(2, 0, 1), affine, order, flips)
    return Phantom(voxels, affine, landmarks, "" if is_body else scene.spec.side, lie.up, lie.viewed_from)


def make_phantoms(
    spec: ResolvedSpec,
    n: int,
    out: Path,
    options: PhantomOptions | None = None,
    on_file: Callable[[Path], None] | None = None,
) -> Path:
    """Write the phantom scans of a spec's first samples, their landmarks and a table of them; return the table.

    Args:
        spec: What to scan.
        n: How many.
        out: Folder to make; it may exist when it is empty.
        options: How they are stored.
        on_file: Told each file that is written.

    Raises:
        SynthgenError: The spec, the number or the options cannot be used.
        DatasetError: The folder holds something, or cannot be written.
    """
    if n < 1:
        raise SpecError(f"-n: value {n}; make at least 1 phantom")
    checked(options or PhantomOptions())
    _check_empty(out)
    tell = on_file or (lambda _: None)
    scene, rows = phantom_scene(spec), []
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        phantom, name = make_phantom(scene, index, options), f"{scene.spec.name}-{sample_key(index)}"
        image, landmarks = f"{name}.nii.gz", f"{name}.mrk.json"
        with _writing(out):
            write_nifti(out / image, phantom.voxels, phantom.affine)
            write_file(out / landmarks, markups(phantom.landmarks_mm).encode())
        tell(out / image)
        rows.append((name, name, image, landmarks, phantom.side, phantom.up, phantom.viewed_from))
    readme = _README.format(spec=scene.spec.name, seed=scene.spec.seed, what=_WHAT[scene.spec.model])
    with _writing(out):
        write_file(out / "README.txt", readme.encode())
        write_file(out / "scans.csv", _table(rows).encode())
    tell(out / "scans.csv")
    return out / "scans.csv"


def checked(options: PhantomOptions) -> PhantomOptions:
    """Return options that can be used.

    Raises:
        SynthgenError: They cannot.
    """
    spacing, oblique = options.spacing_mm, options.oblique_deg
    if spacing is not None and not (len(spacing) == 3 and all(0.1 <= step <= 20 for step in spacing)):
        raise SynthgenError(f"spacing_mm: value {spacing}; give three numbers from 0.1 to 20 mm")
    if not 0 <= oblique <= MAX_OBLIQUE_DEG:
        raise SynthgenError(f"oblique_deg: value {oblique:g}; give 0 to {MAX_OBLIQUE_DEG:g} degrees")
    return options


def markups(landmarks_mm: Mapping[str, Floats]) -> str:
    """Return 3D Slicer's markups file of points (3,) in LPS mm by name."""
    points = [
        {
            "id": str(n),
            "label": name,
            "position": [round(float(v), 6) + 0.0 for v in place],
            "positionStatus": "defined",
        }
        for n, (name, place) in enumerate(landmarks_mm.items(), 1)
    ]
    nodes = [{"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}]
    return json.dumps({"@schema": _SCHEMA, "markups": nodes}, indent=1) + "\n"


def view_turn(up: str, viewed_from: str) -> Floats:
    """Rotation (3, 3) from the camera's axes to LPS, of a viewer at one patient direction, with another up."""
    above, viewer = np.array(_DIRECTIONS[up], dtype=np.float64), np.array(_DIRECTIONS[viewed_from], dtype=np.float64)
    return np.stack([np.cross(above, viewer), -above, -viewer], axis=1)


def _scan_body(subject: Subject, options: PhantomOptions) -> tuple[Grid, NDArray[np.int16]]:
    table, air = draw_table(subject), subject.rng("grid").uniform(15, 45, (2, 3))
    low, high = subject.points_mm.min(axis=0), subject.points_mm.max(axis=0)
    low[0], high[0] = min(low[0], table.sides_mm[0]), max(high[0], table.sides_mm[1])
    high[2] = table.plates_mm[1][1]
    grid = _affordable(covering(low - air[0], high + air[1], options.spacing_mm or BODY_SPACING_MM))
    return grid, ct_volume(subject, grid, table)


def _scan_hand(subject: Subject, camera: Camera, options: PhantomOptions) -> tuple[Grid, NDArray[np.int16]]:
    """The volume ends where the framing cuts the forearm."""
    spacing = options.spacing_mm or HAND_SPACING_MM
    cut = camera.height / 2 * camera.mm_per_px[1]
    near = subject.points_mm[subject.points_mm[:, 1] < cut + _NEAR_CUT_MM]
    rng = subject.rng("grid")
    low, high = near.min(axis=0) - rng.uniform((10, 8, 25), (30, 25, 45)), near.max(axis=0) + rng.uniform(8, 25, 3)
    high[1] = cut
    low[1] = cut - np.ceil((cut - low[1]) / spacing[1]) * spacing[1]
    grid = _affordable(covering(low, high, spacing))
    return grid, mr_volume(subject, grid)


def _affordable(grid: Grid) -> Grid:
    if grid.voxels > MAX_VOXELS:
        text = " x ".join(str(size) for size in grid.size)
        msg = f"spacing_mm: value {grid.spacing_mm} makes {text} voxels, more than {MAX_VOXELS}; take larger voxels"
        raise SynthgenError(msg)
    return grid


def _hand_ways(side: str) -> tuple[tuple[str, str], ...]:
    """Where the fingers point and the back of the hand faces.

    Over the head of a prone patient; palm down at the side of a supine one; palm to the thigh.
    """
    return ("S", "P"), ("I", "A"), ("I", "L" if side == "left" else "R")


def _lie(subject: Subject, ways: tuple[tuple[str, str], ...], oblique_deg: float) -> Lie:
    """Draw in which of some ways, up and viewed from, a subject lies, where, and how oblique."""
    rng = subject.rng("lie")
    (up, viewed_from), angle = ways[rng.integers(len(ways))], rng.uniform(0, radians(oblique_deg))
    x, y, z = normalize(rng.normal(size=3))
    turn = np.array(about((x, y, z), angle)) @ view_turn(up, viewed_from)
    return Lie(up, viewed_from, turn, rng.uniform(-80, 80, 3))


def _affine(grid: Grid, lie: Lie) -> Floats:
    """From voxels (x, y, z, 1) of a grid to LPS mm, in numbers that NIfTI can hold."""
    spacing, size = np.array(grid.spacing_mm), np.array(grid.size)
    affine = np.eye(4)
    affine[:3, :3] = lie.turn * spacing
    affine[:3, 3] = lie.centre_mm - affine[:3, :3] @ ((size - 1) / 2)
    return affine.astype(np.float32).astype(np.float64)


def _landmarks(points_mm: Mapping[str, Floats], grid: Grid, affine: Floats) -> dict[str, Floats]:
    """Bring points from the camera frame to LPS; a forearm's may lie beyond the volume and are missing."""
    places = {name: (p - grid.origin_mm) / grid.spacing_mm - 0.5 for name, p in points_mm.items()}
    return {
        name: affine[:3, :3] @ place + affine[:3, 3]
        for name, place in places.items()
        if ((place >= -0.5) & (place <= np.array(grid.size) - 0.5)).all()
    }


def _check_empty(out: Path) -> None:
    with _writing(out):
        if out.exists() and not out.is_dir():
            raise DatasetError(f"--out: value {out}; it is a file, choose a folder")
        if out.is_dir() and any(out.iterdir()):
            raise DatasetError(f"--out: value {out}; the folder is not empty, choose another")


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(f"--out: value {out}; cannot be written ({why}), choose another or make room") from None


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()
