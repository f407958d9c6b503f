"""Which way a volume is looked at: from patient directions, through the direction matrix, never from array order.

The image's x points right, y down, depth away from the viewer. Oblique volumes take the nearest axes; the rest of the
rotation is in the affine.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.image_types import Volume
from synthgen.training.scans.table import ScanSettings, Side

Direction = Literal["L", "R", "A", "P", "S", "I"]
"""The patient's left, right, front, back, head and feet."""
DIRECTIONS: Mapping[Direction, tuple[int, int, int]] = {
    "L": (1, 0, 0),
    "R": (-1, 0, 0),
    "P": (0, 1, 0),
    "A": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}
"""Unit vectors of the patient directions in LPS."""
FINGERS = ("index", "middle", "ring", "little")
ENDS = ("", "_bone", "_tip")
"""What follows a finger's name in the name of its end, by landmark set; the last that is given counts."""
CLEARLY_THINNER = 0.85
"""The thinnest extent is depth when it is at most this much of the next one."""
LEAVES, STAYS = 0.2, 0.5
"""An end leaves the volume when its last plane holds this much of the fullest plane, and the others half of that."""
BESIDE = 0.1
"""A thumb that is to one side of the fingers by less than this share of its distance to them is ambiguous."""

Planes = tuple[NDArray[np.int64], ...]
"""Tissue voxels in each plane along i, j and k."""
Axis = tuple[int, bool]
"""A voxel axis, and whether it is followed backwards."""


@dataclass(frozen=True)
class View:
    """How voxel axes become the image's axes."""

    axes: tuple[int, int, int]
    """Voxel axes along image x (right), y (down) and depth (away from the viewer)."""
    flips: tuple[bool, bool, bool]
    """Which of them are followed backwards."""


@dataclass(frozen=True)
class Seen:
    """A volume as it is looked at."""

    voxels: NDArray[Any]
    """(H, W, D) rows, columns, depth; a view of the volume's voxels, not a copy."""
    affine: Floats
    """(4, 4) homogeneous: continuous x, y, depth in voxels, (0, 0, 0) the outer corner of the first, to LPS mm."""
    spacing_mm: Floats
    """(3,) along x, y and depth."""


@dataclass(frozen=True)
class Orientation:
    """A view, and what it means for the patient."""

    view: View
    up: Direction
    """Patient direction nearest to the image's up."""
    viewed_from: Direction
    """Patient direction nearest to the viewer's."""
    side: Side | None
    """Whose hand it is, the patient's; None for a body."""


def view_of(affine: Floats, up: Direction, viewed_from: Direction) -> View:
    """Return the view of a volume with this affine (4, 4) whose axes are nearest to the requested directions.

    Raises:
        ScanError: Both directions are on one axis.
    """
    down, away = -np.array(DIRECTIONS[up]), -np.array(DIRECTIONS[viewed_from])
    if abs(down @ away) == 1:
        raise ScanError(
            f"up, viewed_from: {up} and {viewed_from} lie on one axis; whoever looks from {viewed_from} sees another "
            f"direction upwards, choose up from {', '.join(d for d in DIRECTIONS if DIRECTIONS[d] @ away == 0)}"
        )
    target = np.array([np.cross(down, away), down, away])
    unit = _unit(affine)

    def closeness(view: View) -> tuple[float, ...]:
        # The directions themselves break a tie, so that the order in which a volume is stored never does.
        seen = _image_axes(unit, view)
        return (round(float((seen * target).sum()), 9), *np.round(seen, 6).ravel())

    return max(_proper_views(unit), key=closeness)


def seen(volume: Volume, view: View) -> Seen:
    """Look at a volume, without copying it."""
    x, y, depth = view.axes
    steps = [slice(None, None, -1 if flip else 1) for flip in view.flips]
    voxels = volume.voxels.transpose(y, x, depth)[steps[1], steps[0], steps[2]]
    to_index = np.zeros((4, 4))
    to_index[3, 3] = 1
    for column, (axis, flip) in enumerate(zip(view.axes, view.flips, strict=True)):
        to_index[axis, column] = -1 if flip else 1
        to_index[axis, 3] = volume.shape[axis] - 0.5 if flip else -0.5
    return Seen(voxels, volume.affine @ to_index, volume.spacing_mm[list(view.axes)])


def orient(
    volume: Volume, settings: ScanSettings, tips_mm: Mapping[str, Floats], planes: Callable[[], Planes], *, hand: bool
) -> Orientation:
    """Decide how a volume is looked at, and whose hand it is.

    Args:
        volume: The scan.
        settings: Its settings; without ``up`` and ``viewed_from`` a body is seen from A with S up, a hand as ``auto``.
        tips_mm: (3,) LPS mm of each landmark by name; a hand's thumb and fingers are looked for among them.
        planes: Counts the tissue voxels in each plane along i, j and k; called for ``auto`` alone.
        hand: A hand, seen from its back, rather than a body.

    Raises:
        ScanError: Something stays ambiguous, or the thumb contradicts the side; the text names the column to fill.
    """
    up, viewed_from = _given(settings.up), _given(settings.viewed_from)
    if not hand:
        view = view_of(volume.affine, up or "S", viewed_from or "A")
        return _orientation(volume.affine, view, None)
    views = (
        [view_of(volume.affine, up, viewed_from)] if up and viewed_from else _likely(volume, up, viewed_from, planes)
    )
    if len(views) == 1:
        side = side_of_hand(settings.side, _in_image(volume, views[0], tips_mm))
        return _orientation(volume.affine, views[0], side)
    thumbs = [thumb_to_the_right(_in_image(volume, view, tips_mm)) for view in views]
    if settings.side is None and any(thumb is not None for thumb in thumbs):
        raise ScanError(
            "viewed_from: auto needs the side to distinguish the back of a hand from its palm, and side is empty; "
            "set side to left or right, or viewed_from to the direction that the back of the hand faces"
        )
    for view, thumb in zip(views, thumbs, strict=True):
        if thumb is not None and thumb == (settings.side == "left"):
            return _orientation(volume.affine, view, settings.side)
    raise ScanError(
        "viewed_from: auto needs landmarks of thumb and fingers to distinguish the back of a hand from its palm, and "
        "there are none, or the thumb is straight in front of the fingers; set viewed_from to L, R, A, P, S or I"
    )


def thumb_to_the_right(tips: Mapping[str, Floats]) -> bool | None:
    """Whether the thumb is right of the fingers, by landmarks (2,) in the image by name; None: ambiguous."""
    found = {name: tips[key] for name in ("thumb", *FINGERS) for end in ENDS for key in (name + end,) if key in tips}
    fingers = [found[name] for name in FINGERS if name in found]
    if "thumb" not in found or not fingers:
        return None
    middle = np.mean(fingers, axis=0)
    reach = max(np.hypot(*(found["thumb"] - finger)[:2]) for finger in fingers)
    across = float(found["thumb"][0] - middle[0])
    return across > 0 if abs(across) > BESIDE * reach else None


def side_of_hand(stated: Side | None, tips: Mapping[str, Floats]) -> Side:
    """Return the side of a hand that is seen from its back, fingers up: a left hand has its thumb at the right.

    Args:
        stated: The side that the user gives.
        tips: Landmarks (2,) in the image, x right, by name.

    Raises:
        ScanError: The side cannot be determined, or the thumb contradicts the stated side.
    """
    thumb_right = thumb_to_the_right(tips)
    if thumb_right is None:
        if stated is None:
            raise ScanError(
                "side: empty, and there are no landmarks of thumb and fingers to determine it; set it to left or right"
            )
        return stated
    shown: Side = "left" if thumb_right else "right"
    if stated not in {None, shown}:
        raise ScanError(
            f"side: {stated}, but the thumb lies at the image's {'right' if thumb_right else 'left'}, where a {shown} "
            "hand has it when it is seen from its back with the fingers up; correct side, up or viewed_from, or the "
            "names of the landmarks"
        )
    return shown


def _given(direction: Literal[Direction, "auto"] | None) -> Direction | None:
    return None if direction == "auto" else direction


def _likely(
    volume: Volume, up: Direction | None, viewed_from: Direction | None, planes: Callable[[], Planes]
) -> list[View]:
    """Return the views of a hand that fit the settings and the tissue: one, or one from each side."""
    unit = _unit(volume.affine)
    counts = planes()
    if up:
        down: Axis = _nearest(unit, -np.array(DIRECTIONS[up]))
        depth = _thinnest(volume, counts, [axis for axis in range(3) if axis != down[0]])
    elif viewed_from:
        depth = _nearest(unit, -np.array(DIRECTIONS[viewed_from]))[0]
        down = _leaving_end(counts, [axis for axis in range(3) if axis != depth])
    else:
        depth = _thinnest(volume, counts, [0, 1, 2])
        down = _leaving_end(counts, [axis for axis in range(3) if axis != depth])
    fitting = [view for view in _proper_views(unit) if view.axes[1:] == (down[0], depth) and view.flips[1] == down[1]]
    if viewed_from:
        backwards = _nearest(unit, -np.array(DIRECTIONS[viewed_from]))[1]
        fitting = [view for view in fitting if view.flips[2] == backwards]
    return fitting


def _thinnest(volume: Volume, counts: Planes, axes: list[int]) -> int:
    """Return the axis of least extent, of some."""
    extents = sorted((_extent(counts[axis]) * volume.spacing_mm[axis], axis) for axis in axes)
    if extents[0][0] > CLEARLY_THINNER * extents[1][0]:
        raise ScanError(
            f"viewed_from: auto takes the thinnest extent for depth, and two are alike ({extents[0][0]:.0f} and "
            f"{extents[1][0]:.0f} mm); set viewed_from to L, R, A, P, S or I"
        )
    return extents[0][1]


def _extent(counts: NDArray[np.int64]) -> float:
    """Return the number of planes that contain nearly all tissue; a few voxels of noise do not count."""
    share = np.cumsum(counts) / max(counts.sum(), 1)
    return float(np.searchsorted(share, 0.995) - np.searchsorted(share, 0.005) + 1)


def _leaving_end(counts: Planes, axes: list[int]) -> Axis:
    """Return the axis and the direction in which the tissue leaves the volume: the forearm."""
    ends = []
    for axis in axes:
        fullest = max(int(counts[axis].max()), 1)
        ends += [(counts[axis][-1] / fullest, axis, False), (counts[axis][0] / fullest, axis, True)]
    (most, axis, backwards), (next_most, *_) = sorted(ends, reverse=True)[:2]
    if most < LEAVES or next_most > STAYS * most:
        what = "at none" if most < LEAVES else "at more than one"
        raise ScanError(
            f"up: auto takes the end where the forearm leaves the volume for down, and tissue leaves it {what}; "
            "set up to L, R, A, P, S or I"
        )
    return axis, backwards


def _nearest(unit: Floats, direction: NDArray[np.int64]) -> Axis:
    along = unit.T @ direction
    axis = int(np.argmax(np.abs(along)))
    return axis, bool(along[axis] < 0)


def _unit(affine: Floats) -> Floats:
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)


def _proper_views(unit: Floats) -> list[View]:
    """Return the 24 views in which right, down and away form a camera's axes: nothing is mirrored."""
    views = [
        View((x, y, z), (a, b, c))
        for x, y, z in itertools.permutations(range(3))
        for a, b, c in itertools.product((False, True), repeat=3)
    ]
    return [view for view in views if np.linalg.det(_image_axes(unit, view).T) > 0]


def _image_axes(unit: Floats, view: View) -> Floats:
    """Return (3, 3) rows: the image's right, down and away in LPS."""
    return (unit[:, list(view.axes)] * np.where(view.flips, -1, 1)).T


def _in_image(volume: Volume, view: View, tips_mm: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return (2,) mm along the image's right and down of each point."""
    axes = _image_axes(_unit(volume.affine), view)
    return {name: axes[:2] @ np.asarray(tip) for name, tip in tips_mm.items()}


def _orientation(affine: Floats, view: View, side: Side | None) -> Orientation:
    axes = _image_axes(_unit(affine), view)
    return Orientation(view, _letter(-axes[1]), _letter(-axes[2]), side)


def _letter(direction: Floats) -> Direction:
    return max(DIRECTIONS, key=lambda letter: float(direction @ np.array(DIRECTIONS[letter])))
