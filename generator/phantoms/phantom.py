"""Phantom scans: posed bodies as CT and hands as MR, with landmarks, for trying the scan pipeline without patient data.

A phantom is the voxelized mesh of its sample: the patient lies in the scanner as seen by the camera, with the view's
depth direction along a voxel axis. Rendering ``as_scanned(scene, index)`` gives the result of a perfect scan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import radians

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SynthgenError
from synthgen.generator.bodies.vectors import about
from synthgen.generator.phantoms.modality import Subject, ct_volume, draw_table, mr_volume
from synthgen.generator.phantoms.nifti_writer import stored_as
from synthgen.generator.phantoms.tissue import Joints
from synthgen.generator.phantoms.voxelize import Grid, covering
from synthgen.generator.scene import PosedBody, Scene
from synthgen.geometry import Camera, Floats, normalize
from synthgen.specs.spec import ResolvedSpec

BODY_SPACING_MM = (1.5, 1.5, 1.5)
HAND_SPACING_MM = (1.0, 1.0, 1.0)
MAX_VOXELS = 2**29
"""Maximum number of voxels: 1 GiB."""
MAX_OBLIQUE_DEG = 40.0
"""Maximum of oblique_deg; beyond 45 degrees, another axis would be the nearest."""
_DIRECTIONS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
_NEAR_CUT_MM = 20.0
"""Distance beyond the cut up to which vertices count for the mesh's extent."""


@dataclass(frozen=True)
class PhantomOptions:
    """How phantoms are stored."""

    spacing_mm: tuple[float, float, float] | None = None
    """Voxel size in the view's x (across), y (head to feet, fingers to arm) and depth; default 1.5 mm, hands 1 mm."""
    oblique_deg: float = 15.0
    """Maximum rotation of hands relative to the scanner's axes, 0 to 40."""


@dataclass(frozen=True)
class Phantom:
    """One phantom scan."""

    voxels: NDArray[np.int16]
    """(I, J, K)"""
    affine: Floats
    """(4, 4) from voxel centres (i, j, k, 1) to LPS mm."""
    landmarks_mm: dict[str, Floats]
    """LPS; only landmarks inside the volume."""
    side: str
    """Side of the hand: left or right; empty for a body."""
    up: str
    """The patient direction that is up in the view: L, R, A, P, S or I."""
    viewed_from: str
    """The patient direction from which the viewer looks."""


@dataclass(frozen=True)
class PatientPosition:
    """A subject's position and orientation in the scanner."""

    up: str
    viewed_from: str
    turn: Floats
    """(3, 3) from the camera's axes to LPS."""
    centre_mm: Floats
    """(3,) centre of the volume, LPS."""


@dataclass(frozen=True)
class _Acquired:
    """A scanner's output before it is stored."""

    grid: Grid
    block: NDArray[np.int16]
    """(R, D, C) voxels of the grid."""
    position: PatientPosition
    order: tuple[int, int, int] = (0, 1, 2)
    """Order of the axes x, y and depth in the file."""
    flips: tuple[bool, bool, bool] = (False, False, False)
    """Which stored axes are reversed."""


def phantom_scene(spec: ResolvedSpec) -> Scene:
    """Prepare a spec for phantoms: as for rendering, but orthographic, like scans.

    Raises:
        SpecError: The spec names a target, joint or landmark that the model does not have.
    """
    camera = spec.camera.model_copy(update={"projection": "orthographic"})
    return Scene(spec.model_copy(update={"camera": camera}))


def as_scanned(scene: Scene, index: int) -> PosedBody:
    """Return the sample's body framed as scans are: the middle of the spec's margin range, no offsets.

    Its rendering is the ground truth of the phantom: mask and depth of the same mesh that was voxelized.
    """
    recipe = scene.recipe(index)
    low, high = scene.spec.framing.margin.support()
    place = {"margin": (low + high) / 2, "offset_x": 0.0, "offset_y": 0.0}
    return scene.posed_from(replace(recipe, camera=recipe.camera | place))


def make_phantom(scene: Scene, index: int, options: PhantomOptions | None = None) -> Phantom:
    """Make the phantom scan of one sample of a scene from :func:`phantom_scene`.

    Raises:
        SynthgenError: An option is invalid, or the spec has no possible pose.
    """
    options = checked(options or PhantomOptions())
    posed, model = scene.posed(index), scene.model
    is_body = scene.spec.model == "body"
    points = posed.points_mm[: model.n_vertices]
    subject = Subject(points, scene.triangles, Joints(model, posed.points_mm), scene.spec.seed, index)
    side = "" if is_body else scene.spec.side
    scan = _scan_body(subject, options) if is_body else _scan_hand(subject, side, posed.camera, options)
    affine = _affine(scan.grid, scan.position)
    places = zip(scene.spec.landmarks.names, posed.labels.landmarks_mm, strict=True)
    landmarks = _landmarks(dict(places), scan.grid, affine)
    voxels, affine = stored_as(scan.block.transpose(2, 0, 1), affine, scan.order, scan.flips)
    return Phantom(voxels, affine, landmarks, side, scan.position.up, scan.position.viewed_from)


def checked(options: PhantomOptions) -> PhantomOptions:
    """Return the options after validation.

    Raises:
        SynthgenError: An option is invalid.
    """
    spacing, oblique = options.spacing_mm, options.oblique_deg
    if spacing is not None and not (len(spacing) == 3 and all(0.1 <= step <= 20 for step in spacing)):
        raise SynthgenError(f"spacing_mm: value {spacing}; give three numbers from 0.1 to 20 mm")
    if not 0 <= oblique <= MAX_OBLIQUE_DEG:
        raise SynthgenError(f"oblique_deg: value {oblique:g}; give 0 to {MAX_OBLIQUE_DEG:g} degrees")
    return options


def view_turn(up: str, viewed_from: str) -> Floats:
    """Return the rotation (3, 3) from camera axes to LPS for a view from one patient direction, with another up."""
    above, viewer = np.array(_DIRECTIONS[up], dtype=np.float64), np.array(_DIRECTIONS[viewed_from], dtype=np.float64)
    return np.stack([np.cross(above, viewer), -above, -viewer], axis=1)


def _scan_body(subject: Subject, options: PhantomOptions) -> _Acquired:
    table, air = draw_table(subject), subject.rng("grid").uniform(15, 45, (2, 3))
    low, high = subject.points_mm.min(axis=0), subject.points_mm.max(axis=0)
    low[0], high[0] = min(low[0], table.sides_mm[0]), max(high[0], table.sides_mm[1])
    high[2] = table.plates_mm[1][1]
    grid = _check_size(covering(low - air[0], high + air[1], options.spacing_mm or BODY_SPACING_MM))
    position = _draw_position(subject, (("S", "A"),), 0.0)
    return _Acquired(grid, ct_volume(subject, grid, table), position, (0, 2, 1), (False, False, True))


def _scan_hand(subject: Subject, side: str, camera: Camera, options: PhantomOptions) -> _Acquired:
    """Scan a hand; the volume ends where the framing cuts the forearm."""
    spacing = options.spacing_mm or HAND_SPACING_MM
    cut = camera.height / 2 * camera.mm_per_px[1]
    near = subject.points_mm[subject.points_mm[:, 1] < cut + _NEAR_CUT_MM]
    rng = subject.rng("grid")
    low, high = near.min(axis=0) - rng.uniform((10, 8, 25), (30, 25, 45)), near.max(axis=0) + rng.uniform(8, 25, 3)
    high[1] = cut
    low[1] = cut - np.ceil((cut - low[1]) / spacing[1]) * spacing[1]
    grid = _check_size(covering(low, high, spacing))
    position = _draw_position(subject, _hand_orientations(side), options.oblique_deg)
    return _Acquired(grid, mr_volume(subject, grid), position)


def _check_size(grid: Grid) -> Grid:
    if grid.voxels > MAX_VOXELS:
        text = " x ".join(str(size) for size in grid.size)
        msg = f"spacing_mm: value {grid.spacing_mm} makes {text} voxels, more than {MAX_VOXELS}; use larger voxels"
        raise SynthgenError(msg)
    return grid


def _hand_orientations(side: str) -> tuple[tuple[str, str], ...]:
    """Return the possible directions of the fingers and of the back of the hand.

    These are: over the head of a prone patient; palm down beside a supine one; palm against the thigh.
    """
    return ("S", "P"), ("I", "A"), ("I", "L" if side == "left" else "R")


def _draw_position(subject: Subject, orientations: tuple[tuple[str, str], ...], oblique_deg: float) -> PatientPosition:
    """Draw a subject's orientation from some pairs (up, viewed from), its position, and its oblique rotation."""
    rng = subject.rng("lie")
    (up, viewed_from), angle = orientations[rng.integers(len(orientations))], rng.uniform(0, radians(oblique_deg))
    x, y, z = normalize(rng.normal(size=3))
    turn = np.array(about((x, y, z), angle)) @ view_turn(up, viewed_from)
    return PatientPosition(up, viewed_from, turn, rng.uniform(-80, 80, 3))


def _affine(grid: Grid, position: PatientPosition) -> Floats:
    """Return the affine from a grid's voxels (x, y, z, 1) to LPS mm, rounded to float32 as in NIfTI."""
    spacing, size = np.array(grid.spacing_mm), np.array(grid.size)
    affine = np.eye(4)
    affine[:3, :3] = position.turn * spacing
    affine[:3, 3] = position.centre_mm - affine[:3, :3] @ ((size - 1) / 2)
    return affine.astype(np.float32).astype(np.float64)


def _landmarks(points_mm: Mapping[str, Floats], grid: Grid, affine: Floats) -> dict[str, Floats]:
    """Transform points from the camera frame to LPS; points outside the volume (on the forearm) are dropped."""
    places = {name: (p - grid.origin_mm) / grid.spacing_mm - 0.5 for name, p in points_mm.items()}
    return {
        name: affine[:3, :3] @ place + affine[:3, 3]
        for name, place in places.items()
        if ((place >= -0.5) & (place <= np.array(grid.size) - 0.5)).all()
    }
