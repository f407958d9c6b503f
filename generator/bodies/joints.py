"""The joints, compiled by numba: from the angles of one body to the rotations of its bones.

There are three kinds of joints: a ball joint points its bone in the direction given by abduction and flexion, a hinge
bends two bones to an angle, a twist turns a bone about its own axis. Angles are measured from the rest pose of the same
body, so that an angle means the same for every shape. They are in radians; NaN leaves a joint at rest.
"""

from math import atan, atan2, cos, hypot, isnan, sin

import numpy as np
from numpy.typing import NDArray

from synthgen.generator.bodies.numba_kernels import helper, kernel
from synthgen.generator.bodies.vectors import (
    IDENTITY,
    Rotation,
    Vector,
    about,
    add,
    cross,
    dot,
    length,
    row,
    scaled,
    signed_angle,
    sub,
    times,
    transposed,
    turned,
    unit,
    without,
)
from synthgen.geometry import Floats

Indices = NDArray[np.intp]
Chain = tuple[Vector, Vector, Vector, Vector]
"""The heads of a finger's three bones, and the fingertip."""
Bend = tuple[float, float, float, float, float]
"""Abduction, flexion and rotation of a finger's first joint, flexion of its second and third."""

_THUMB_PALMAR = (-0.85, 0.44, -0.28)
"""Direction of flexion of the thumb's distal joints at rest (radial, distal, dorsal): away from its nail, the thinnest
axis of the distal phalanx on the base mesh."""
_DOWN, _FRONT, _BACK, _UP, _LEFT = (0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
_CURL_BASE, _CURL_MIDDLE, _CURL_END = 1.0, 1.15, 0.7
"""Factors of a common flexion for a finger's joints, after Kapandji's description of the natural curl."""
_ABDUCTION_SHARE = 0.7
"""Fraction of the fingers' spread at rest that a curling hand keeps."""
_ARM_RADIUS = 0.14
"""Half the thickness of a forearm and hand at the hip, as a fraction of the forearm's length."""


@helper
def direction_angles(frame: Rotation, direction: Vector) -> tuple[float, float]:  # pragma: no cover
    """Return the abduction and flexion of a direction; the frame's rows are abduction, zero and extension."""
    x, y, n = turned(frame, direction)
    return atan2(x, y), atan2(-n, hypot(x, y))


@helper
def _direction_frame(frame: Rotation, abduction: float, flexion: float) -> Rotation:  # pragma: no cover
    ca, sa, cf, sf = cos(abduction), sin(abduction), cos(flexion), sin(flexion)
    x, y, n = frame
    side = add(scaled(x, ca), scaled(y, -sa))
    along = add(add(scaled(x, sa * cf), scaled(y, ca * cf)), scaled(n, -sf))
    return transposed((side, along, cross(side, along)))


@helper
def ball(
    frame: Rotation, rest_direction: Vector, abduction: float, flexion: float, twist: float
) -> Rotation:  # pragma: no cover
    """Return the rotation that points a bone by abduction and flexion, then twists it about its own axis.

    Args:
        frame: Unit vectors: the direction of abduction, the zero direction, the direction of extension.
        rest_direction: Unit vector along the bone at rest.
        abduction: Radians.
        flexion: Radians.
        twist: Radians, towards the direction of flexion on the side of abduction.
    """
    if isnan(abduction) and isnan(flexion):
        return IDENTITY
    now = direction_angles(frame, rest_direction)
    wanted = _direction_frame(frame, now[0] if isnan(abduction) else abduction, now[1] if isnan(flexion) else flexion)
    turn = times(wanted, transposed(_direction_frame(frame, now[0], now[1])))
    if not isnan(twist):
        handed = 1.0 if dot(cross(frame[0], frame[1]), frame[2]) > 0 else -1.0
        turn = times(turn, about(rest_direction, handed * twist))
    return turn


@helper
def hinge(bend: Vector, before: Vector, after: Vector, wanted: float) -> Rotation:  # pragma: no cover
    """Return the rotation that bends bone ``after`` towards a direction, to an angle with bone ``before``."""
    if isnan(wanted):
        return IDENTITY
    axis = unit(cross(before, bend))
    return about(axis, wanted - signed_angle(before, after, axis))


@kernel
def hand_frame(heads: Floats, knuckles: tuple[int, int, int, int], sign: float) -> Rotation:  # pragma: no cover
    """Return the radial, distal and dorsal unit vectors of a hand at rest (left-handed frame on a right hand).

    Args:
        heads: (B, 3) bone heads at rest.
        knuckles: Bones of the wrist and of the index, middle and little finger.
        sign: 1 for a left hand, -1 for a right one.
    """
    wrist, middle = row(heads, knuckles[0]), row(heads, knuckles[2])
    distal = unit(sub(middle, wrist))
    across = scaled(cross(sub(row(heads, knuckles[1]), wrist), sub(row(heads, knuckles[3]), wrist)), sign)
    dorsal = unit(without(across, distal))
    return scaled(cross(distal, dorsal), sign), distal, dorsal


@helper
def _put(turns: Floats, bone: int, rotation: Rotation) -> None:  # pragma: no cover
    for i in range(3):
        for j in range(3):
            turns[bone, i, j] = rotation[i][j]


def _at_rest(n_bones: int) -> Floats:
    turns = np.empty((n_bones, 3, 3))
    turns[:] = IDENTITY
    return turns


@helper
def _pose_finger(
    turns: Floats, bones: Indices, points: Chain, bend: Bend, hand: tuple[Rotation, Vector]
) -> None:  # pragma: no cover
    frame, palmar = hand
    first, second = unit(sub(points[1], points[0])), unit(sub(points[2], points[1]))
    third = unit(sub(points[3], points[2]))
    _put(turns, bones[0], ball(frame, first, bend[0], bend[1], bend[2]))
    _put(turns, bones[1], hinge(palmar, first, second, bend[3]))
    _put(turns, bones[2], hinge(palmar, second, third, bend[4]))


@helper
def _wrist(
    heads: Floats, bones: tuple[int, int], hand: Rotation, angles: tuple[float, float], sign: float
) -> Rotation:  # pragma: no cover
    """Return the wrist's rotation by abduction and flexion; bones are those of the lower arm and the wrist."""
    forearm = unit(sub(row(heads, bones[1]), row(heads, bones[0])))
    dorsal = unit(without(hand[2], forearm))
    radial = scaled(cross(forearm, dorsal), sign)
    return ball((radial, forearm, dorsal), hand[1], angles[0], angles[1], np.nan)


def pose_hand(heads: Floats, tips: Floats, bones: Indices, angles: Floats) -> Floats:
    """Return the rotations (B, 3, 3) of a left hand's bones.

    Args:
        heads: (B, 3) bone heads at rest.
        tips: (5, 3) fingertips at rest, thumb to little finger.
        bones: (17,) lower arm, wrist, three of each finger.
        angles: (27,) wrist abduction and flexion, then each finger's `Bend`.
    """
    turns = _at_rest(len(heads))
    _pose_hand(turns, heads, tips, bones, angles)
    return turns


@kernel
def _pose_hand(turns: Floats, heads: Floats, tips: Floats, bones: Indices, angles: Floats) -> None:  # pragma: no cover
    frame = hand_frame(heads, (bones[1], bones[5], bones[8], bones[14]), 1.0)
    _put(turns, bones[1], _wrist(heads, (bones[0], bones[1]), frame, (angles[0], angles[1]), 1.0))
    for finger in range(5):
        own = bones[2 + 3 * finger : 5 + 3 * finger]
        points = (row(heads, own[0]), row(heads, own[1]), row(heads, own[2]), row(tips, finger))
        a = angles[2 + 5 * finger : 7 + 5 * finger]
        palmar = turned(transposed(frame), _THUMB_PALMAR) if finger == 0 else scaled(frame[2], -1.0)
        _pose_finger(turns, own, points, (a[0], a[1], a[2], a[3], a[4]), (frame, palmar))


def pose_body(
    rest: tuple[Floats, Floats, Floats], trunk: Indices, bones: tuple[Indices, Indices], angles: tuple[Floats, Floats]
) -> Floats:
    """Return the rotations (B, 3, 3) of a whole body's bones.

    Args:
        rest: Vertices (V, 3), bone heads (B, 3) and tips (2, 4, 3) of the fingers, left hand first, index to little.
        trunk: Vertices of the trunk and the hips.
        bones: Spine and neck (6,); each side (2, 20), left first: upper arm, two of the lower arm, wrist, three of
            each finger, thigh, shin, foot, middle toe.
        angles: Spine and neck (6,), each flexion, abduction and rotation; each side (2, 14), see `_pose_arm` and
            `_pose_leg`.
    """
    turns = _at_rest(len(rest[1]))
    _pose_body(turns, rest, trunk, bones, angles)
    return turns


@kernel
def _pose_body(
    turns: Floats,
    rest: tuple[Floats, Floats, Floats],
    trunk: Indices,
    bones: tuple[Indices, Indices],
    angles: tuple[Floats, Floats],
) -> None:  # pragma: no cover
    vertices, heads, tips = rest
    _pose_trunk(turns, bones[0], angles[0])
    for side in range(2):
        sign = 1.0 - 2.0 * side
        own, a = bones[1][side], angles[1][side]
        reach = _touching_abduction(vertices, trunk, (row(heads, own[0]), row(heads, own[1]), row(heads, own[3])))
        _pose_arm(turns, heads, own, a[:8], (sign, reach))
        if not isnan(a[8]):
            _curl(turns, (heads, tips[side]), own[3:16], a[8], sign)
        _pose_leg(turns, heads, own[16:], a[9:], sign)


@helper
def _pose_trunk(turns: Floats, bones: Indices, angles: Floats) -> None:  # pragma: no cover
    axes = (_LEFT, _BACK, _UP)
    for part in range(2):
        turn = IDENTITY
        for i in range(3):
            angle = angles[3 * part + i]
            turn = times(turn, about(axes[i], 0.0 if isnan(angle) else angle / 3))
        for bone in bones[3 * part : 3 * part + 3]:
            _put(turns, bone, turn)


@helper
def _pose_arm(
    turns: Floats, heads: Floats, bones: Indices, angles: Floats, side: tuple[float, float]
) -> None:  # pragma: no cover
    """Pose one arm down to the wrist.

    Args:
        turns: Rotations to fill.
        heads: (B, 3) bone heads at rest.
        bones: Bones of one side.
        angles: Shoulder abduction, clearance, flexion and rotation, elbow, pronation, wrist abduction and flexion.
        side: The sign of the side, and the abduction at which the clearance is 0.
    """
    sign, touching = side
    upper_bone, fore_bone, twist_bone, wrist_bone = bones[0], bones[1], bones[2], bones[3]
    shoulder, elbow, wrist = row(heads, upper_bone), row(heads, fore_bone), row(heads, wrist_bone)
    upper, fore = unit(sub(elbow, shoulder)), unit(sub(wrist, elbow))
    abduction = angles[0] if isnan(angles[1]) else touching + angles[1]
    turn = ball((scaled(_LEFT, sign), _DOWN, _BACK), upper, abduction, angles[2], np.nan)
    if not isnan(angles[3]):  # at 0 the bent forearm points to the front
        now = signed_angle(_FRONT, turned(turn, fore), turned(turn, upper))
        turn = times(turn, about(upper, -now - sign * angles[3]))
    _put(turns, upper_bone, turn)
    _put(turns, fore_bone, hinge(fore, upper, fore, angles[4]))
    hand = hand_frame(heads, (wrist_bone, bones[4], bones[7], bones[13]), sign)
    if not isnan(angles[5]):
        lateral = scaled(unit(cross(fore, upper)), sign)
        now = signed_angle(lateral, hand[2], fore)
        _put(turns, twist_bone, about(fore, sign * angles[5] - now))
    _put(turns, wrist_bone, _wrist(heads, (fore_bone, wrist_bone), hand, (angles[6], angles[7]), sign))


@helper
def _touching_abduction(
    vertices: Floats, trunk: Indices, arm: tuple[Vector, Vector, Vector]
) -> float:  # pragma: no cover
    """Return the abduction at which a straight hanging arm (shoulder, elbow, wrist) just touches trunk or hip."""
    shoulder, elbow, wrist = arm
    upper, fore = length(sub(elbow, shoulder)), length(sub(wrist, elbow))
    steepest = -np.inf
    for vertex in trunk:
        below = shoulder[2] - vertices[vertex, 2]
        if 0.8 * upper < below < upper + 1.5 * fore:
            out = abs(vertices[vertex, 0]) + (_ARM_RADIUS * fore - abs(shoulder[0]))
            steepest = max(steepest, out / below)
    return atan(steepest)


@helper
def _curl(
    turns: Floats, rest: tuple[Floats, Floats], bones: Indices, flexion: float, sign: float
) -> None:  # pragma: no cover
    """Curl the four fingers of one hand together; bones are the wrist and three of each finger."""
    heads, tips = rest
    frame = hand_frame(heads, (bones[0], bones[1], bones[4], bones[10]), sign)
    palmar = scaled(frame[2], -1.0)
    for finger in range(4):
        own = bones[1 + 3 * finger : 4 + 3 * finger]
        points = (row(heads, own[0]), row(heads, own[1]), row(heads, own[2]), row(tips, finger))
        abduction = _ABDUCTION_SHARE * direction_angles(frame, unit(sub(points[1], points[0])))[0]
        bend = (abduction, flexion * _CURL_BASE, np.nan, flexion * _CURL_MIDDLE, flexion * _CURL_END)
        _pose_finger(turns, own, points, bend, (frame, palmar))


@helper
def _pose_leg(turns: Floats, heads: Floats, bones: Indices, angles: Floats, sign: float) -> None:  # pragma: no cover
    """Pose one leg by hip abduction, flexion and rotation, knee and ankle; bones are thigh, shin, foot, middle toe."""
    hip, knee, ankle, toe = row(heads, bones[0]), row(heads, bones[1]), row(heads, bones[2]), row(heads, bones[3])
    thigh, shin = unit(sub(knee, hip)), unit(sub(ankle, knee))
    turn = ball((scaled(_LEFT, sign), _DOWN, _BACK), thigh, angles[0], angles[1], np.nan)
    if not isnan(angles[2]):
        turn = times(turn, about(thigh, -sign * angles[2]))
    _put(turns, bones[0], turn)
    _put(turns, bones[1], hinge(_BACK, thigh, shin, angles[3]))
    if not isnan(angles[4]):
        axis = unit(cross(without(sub(toe, ankle), shin), shin))
        _put(turns, bones[2], about(axis, angles[4]))
