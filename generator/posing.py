"""Turns a table of anatomical angles into bone rotations.

Three kinds of joints: a ball joint points its bone in a direction given by abduction and flexion, a hinge bends two
bones to an angle, a twist turns a bone about its own axis. Each measures the rest pose of the very body first, so that
an angle means the same for every shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, cos, hypot, radians, sin
from typing import NamedTuple

import numpy as np

from synthgen.blender_assets.model import BodyModel
from synthgen.generator.body import RestBody
from synthgen.generator.vectors import (
    IDENTITY,
    Rotation,
    Vector,
    about,
    add,
    cross,
    dot,
    length,
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

FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "little": 5}
TIPS = {"thumb": 9348, "index": 8595, "middle": 8787, "ring": 8982, "little": 9171}
"""Base-mesh vertices at the ends of the left hand's distal bones."""
_THUMB_PALMAR = (-0.85, 0.44, -0.28)
"""Where the thumb's last joints bend to at rest (radial, distal, dorsal): away from its nail, the thinnest axis of the
distal phalanx on the base mesh."""
_ARM_RADIUS = 0.14
"""Half the thickness of a forearm and hand at the hip, by the forearm's length."""
_DOWN, _FRONT, _BACK, _UP, _LEFT = (0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
_FINGER_SHARES = (1.0, 1.15, 0.7)
"""How a finger's joints share a common flexion, from Kapandji's description of the natural curl."""
_ABDUCTION_SHARE = 0.7
"""A curling hand keeps this much of the fingers' spread at rest."""

_FINGER_BONES = {
    (finger, side): (f"finger{n}-1.{side}", f"finger{n}-2.{side}", f"finger{n}-3.{side}")
    for finger, n in FINGERS.items()
    for side in ("L", "R")
}


def _finger_angles(finger: str, base: str, middle: str, end: str) -> tuple[tuple[str, str, str], str, str]:
    first = tuple(f"{finger}_{base}.{part}_deg" for part in ("abduction", "flexion", "rotation"))
    return (first[0], first[1], first[2]), f"{finger}_{middle}.flexion_deg", f"{finger}_{end}.flexion_deg"


_FINGER_ANGLES = {"thumb": _finger_angles("thumb", "cmc", "mcp", "ip")} | {
    finger: _finger_angles(finger, "mcp", "pip", "dip") for finger in FINGERS if finger != "thumb"
}
"""Degrees of freedom of each finger's three joints."""
_DIAGONAL = np.arange(3)
Angles = Mapping[str, float]


class Bend(NamedTuple):
    """The angles of one finger in radians; None leaves a joint as it is at rest."""

    abduction: float | None
    flexion: float | None
    middle: float | None
    end: float | None
    rotation: float | None = None


@dataclass(frozen=True)
class HandAxes:
    """The hand at rest: unit vectors in the body frame."""

    radial: Vector
    distal: Vector
    dorsal: Vector

    @property
    def rows(self) -> Rotation:
        """Radial, distal, dorsal, as the rows of a matrix (left-handed on a right hand)."""
        return (self.radial, self.distal, self.dorsal)


class _Posture:
    """One body at rest with the rotations that are being collected for it."""

    def __init__(self, bones: Mapping[str, int], rest: RestBody) -> None:
        self._bones = bones
        self._heads = rest.heads_mm.tolist()
        self.turns: dict[int, Rotation] = {}

    def head(self, bone: str) -> Vector:
        x, y, z = self._heads[self._bones[bone]]
        return (x, y, z)

    def turn(self, bone: str, rotation: Rotation) -> None:
        self.turns[self._bones[bone]] = rotation

    def rotations(self) -> Floats:
        result = np.zeros((len(self._bones), 3, 3))
        result[:, _DIAGONAL, _DIAGONAL] = 1.0
        result[list(self.turns)] = np.array(list(self.turns.values()))
        return result


class Rig:
    """The joints of one model, by name."""

    def __init__(self, model: BodyModel) -> None:
        self._is_hand = model.name == "hand"
        self._bones = {name: i for i, name in enumerate(model.bones)}
        trunk = [i for i, name in enumerate(model.bones) if name.startswith(("spine", "pelvis", "root", "upperleg01"))]
        self._trunk = np.flatnonzero(np.isin(model.owners, trunk))
        self._tips = {
            (finger, side): model.vertex(vertex if side == "L" else int(model.mirror[vertex]))
            for finger, vertex in TIPS.items()
            for side in (("L",) if self._is_hand else ("L", "R"))
        }

    def rotations(self, rest: RestBody, pose: Angles) -> Floats:
        """Rotations (B, 3, 3) of each bone relative to its parent, body axes; degrees of freedom left out stay at rest.

        Args:
            rest: The body to pose.
            pose: Angles in degrees by degree of freedom; on a body, sided ones begin with left_ or right_.
        """
        posture = _Posture(self._bones, rest)
        angles = {name: radians(value) for name, value in pose.items() if name.endswith("_deg")}
        if self._is_hand:
            self._pose_hand(posture, rest, angles)
        else:
            _pose_trunk(posture, angles)
            for side, prefix in (("L", "left_"), ("R", "right_")):
                own = {name.removeprefix(prefix): a for name, a in angles.items() if name.startswith(prefix)}
                self._pose_arm(posture, rest, own, side)
                _pose_leg(posture, own, side)
        return posture.rotations()

    def hand_axes(self, rest: RestBody, side: str = "L") -> HandAxes:
        """Axes of a hand at rest: distal from the wrist to the middle knuckle, dorsal out of the back of the hand."""
        return _hand_axes(_Posture(self._bones, rest), side)

    def _pose_hand(self, posture: _Posture, rest: RestBody, angles: Angles) -> None:
        axes = _hand_axes(posture, "L")
        _pose_wrist(posture, angles, "L", axes)
        thumb_palmar = turned(transposed(axes.rows), _THUMB_PALMAR)
        palmar = scaled(axes.dorsal, -1.0)
        for finger in FINGERS:
            base, middle, end = _FINGER_ANGLES[finger]
            curl = (angles.get(middle), angles.get(end))
            bend = Bend(angles.get(base[0]), angles.get(base[1]), *curl, rotation=angles.get(base[2]))
            towards = thumb_palmar if finger == "thumb" else palmar
            self._pose_finger(posture, rest, (finger, "L"), bend, (axes.rows, towards))

    def _pose_finger(
        self, posture: _Posture, rest: RestBody, which: tuple[str, str], bend: Bend, hand: tuple[Rotation, Vector]
    ) -> None:
        frame, palmar = hand
        first, second, third = bones = _FINGER_BONES[which]
        x, y, z = rest.vertices_mm[self._tips[which]].tolist()
        points = [*(posture.head(bone) for bone in bones), (x, y, z)]
        along = [unit(sub(b, a)) for a, b in pairwise(points)]
        posture.turn(first, ball(frame, along[0], bend.abduction, bend.flexion, bend.rotation))
        posture.turn(second, hinge(palmar, along[0], along[1], bend.middle))
        posture.turn(third, hinge(palmar, along[1], along[2], bend.end))

    def _pose_arm(self, posture: _Posture, rest: RestBody, angles: Angles, side: str) -> None:
        sign = _sign(side)
        shoulder, elbow, wrist = (posture.head(f"{name}.{side}") for name in ("upperarm01", "lowerarm01", "wrist"))
        upper, fore = unit(sub(elbow, shoulder)), unit(sub(wrist, elbow))
        abduction, flexion = angles.get("shoulder.abduction_deg"), angles.get("shoulder.flexion_deg")
        if "shoulder.clearance_deg" in angles:
            abduction = self._touching_abduction(rest, (shoulder, elbow, wrist)) + angles["shoulder.clearance_deg"]
        turn = ball((scaled(_LEFT, sign), _DOWN, _BACK), upper, abduction, flexion)
        if "shoulder.rotation_deg" in angles:  # 0 brings the bent forearm to the front
            now = signed_angle(_FRONT, turned(turn, fore), turned(turn, upper))
            turn = times(turn, about(upper, -now - sign * angles["shoulder.rotation_deg"]))
        posture.turn(f"upperarm01.{side}", turn)
        posture.turn(f"lowerarm01.{side}", hinge(fore, upper, fore, angles.get("elbow.flexion_deg")))
        axes = _hand_axes(posture, side)
        if "forearm.pronation_deg" in angles:
            lateral = scaled(unit(cross(fore, upper)), sign)
            now = signed_angle(lateral, axes.dorsal, fore)
            posture.turn(f"lowerarm02.{side}", about(fore, sign * angles["forearm.pronation_deg"] - now))
        _pose_wrist(posture, angles, side, axes)
        if "fingers.flexion_deg" in angles:
            self._curl(posture, rest, angles["fingers.flexion_deg"], side, axes)

    def _touching_abduction(self, rest: RestBody, arm: tuple[Vector, Vector, Vector]) -> float:
        """Abduction in radians at which a straight hanging arm just touches the trunk or the hip."""
        shoulder, elbow, wrist = arm
        upper, fore = length(sub(elbow, shoulder)), length(sub(wrist, elbow))
        trunk = rest.vertices_mm[self._trunk]
        below = shoulder[2] - trunk[:, 2]
        reach = (below > 0.8 * upper) & (below < upper + 1.5 * fore)
        out = np.abs(trunk[reach, 0]) + (_ARM_RADIUS * fore - abs(shoulder[0]))
        return float(np.arctan((out / below[reach]).max()))

    def _curl(self, posture: _Posture, rest: RestBody, flexion: float, side: str, axes: HandAxes) -> None:
        base, middle, end = (flexion * share for share in _FINGER_SHARES)
        palmar = scaled(axes.dorsal, -1.0)
        for finger in ("index", "middle", "ring", "little"):
            first, second, _ = _FINGER_BONES[finger, side]
            along = unit(sub(posture.head(second), posture.head(first)))
            abduction = _ABDUCTION_SHARE * _direction_angles(axes.rows, along)[0]
            self._pose_finger(posture, rest, (finger, side), Bend(abduction, base, middle, end), (axes.rows, palmar))


def ball(
    frame: Rotation, rest_direction: Vector, abduction: float | None, flexion: float | None, twist: float | None = None
) -> Rotation:
    """Rotation that points a bone by its abduction and flexion, then twists it about itself; None stays as at rest.

    Args:
        frame: Unit vectors: the direction of abduction, the zero direction, the direction of extension.
        rest_direction: The bone at rest, unit.
        abduction: Radians.
        flexion: Radians.
        twist: Radians, towards the direction of flexion on the side of abduction.
    """
    if abduction is None and flexion is None:
        return IDENTITY
    now = _direction_angles(frame, rest_direction)
    wanted = _direction_frame(frame, now[0] if abduction is None else abduction, now[1] if flexion is None else flexion)
    turn = times(wanted, transposed(_direction_frame(frame, *now)))
    if twist is not None:
        handed = 1.0 if dot(cross(frame[0], frame[1]), frame[2]) > 0 else -1.0
        turn = times(turn, about(rest_direction, handed * twist))
    return turn


def hinge(bend: Vector, before: Vector, after: Vector, wanted: float | None) -> Rotation:
    """Rotation that bends bone ``after`` towards a direction until it makes an angle (radians) with bone ``before``."""
    if wanted is None:
        return IDENTITY
    axis = unit(cross(before, bend))
    return about(axis, wanted - signed_angle(before, after, axis))


def _sign(side: str) -> float:
    return 1.0 if side == "L" else -1.0


def _hand_axes(posture: _Posture, side: str) -> HandAxes:
    names = ("wrist", "finger2-1", "finger3-1", "finger5-1")
    wrist, index, middle, little = (posture.head(f"{name}.{side}") for name in names)
    distal = unit(sub(middle, wrist))
    across = scaled(cross(sub(index, wrist), sub(little, wrist)), _sign(side))
    dorsal = unit(without(across, distal))
    return HandAxes(scaled(cross(distal, dorsal), _sign(side)), distal, dorsal)


def _pose_wrist(posture: _Posture, angles: Angles, side: str, axes: HandAxes) -> None:
    forearm = unit(sub(posture.head(f"wrist.{side}"), posture.head(f"lowerarm01.{side}")))
    dorsal = unit(without(axes.dorsal, forearm))
    radial = scaled(cross(forearm, dorsal), _sign(side))
    abduction, flexion = angles.get("wrist.abduction_deg"), angles.get("wrist.flexion_deg")
    posture.turn(f"wrist.{side}", ball((radial, forearm, dorsal), axes.distal, abduction, flexion))


def _pose_leg(posture: _Posture, angles: Angles, side: str) -> None:
    sign = _sign(side)
    names = ("upperleg01", "lowerleg01", "foot", "toe3-1")
    hip, knee, ankle, toe = (posture.head(f"{name}.{side}") for name in names)
    thigh, shin = unit(sub(knee, hip)), unit(sub(ankle, knee))
    abduction, flexion = angles.get("hip.abduction_deg"), angles.get("hip.flexion_deg")
    turn = ball((scaled(_LEFT, sign), _DOWN, _BACK), thigh, abduction, flexion)
    if "hip.rotation_deg" in angles:
        turn = times(turn, about(thigh, -sign * angles["hip.rotation_deg"]))
    posture.turn(f"upperleg01.{side}", turn)
    posture.turn(f"lowerleg01.{side}", hinge(_BACK, thigh, shin, angles.get("knee.flexion_deg")))
    if "ankle.flexion_deg" in angles:
        axis = unit(cross(without(sub(toe, ankle), shin), shin))
        posture.turn(f"foot.{side}", about(axis, angles["ankle.flexion_deg"]))


def _pose_trunk(posture: _Posture, angles: Angles) -> None:
    parts = ((_LEFT, "flexion"), (_BACK, "abduction"), (_UP, "rotation"))
    for joint, bones in (("spine", ("spine04", "spine03", "spine02")), ("neck", ("neck01", "neck02", "head"))):
        turn = IDENTITY
        for axis, name in parts:
            turn = times(turn, about(axis, angles.get(f"{joint}.{name}_deg", 0.0) / len(bones)))
        for bone in bones:
            posture.turn(bone, turn)


def _direction_angles(frame: Rotation, direction: Vector) -> tuple[float, float]:
    x, y, n = turned(frame, direction)
    return atan2(x, y), atan2(-n, hypot(x, y))


def _direction_frame(frame: Rotation, abduction: float, flexion: float) -> Rotation:
    ca, sa, cf, sf = cos(abduction), sin(abduction), cos(flexion), sin(flexion)
    x, y, n = frame
    side = add(scaled(x, ca), scaled(y, -sa))
    along = add(add(scaled(x, sa * cf), scaled(y, ca * cf)), scaled(n, -sf))
    return transposed((side, along, cross(side, along)))
