"""Turns a table of anatomical angles into bone rotations.

Three kinds of joints: a ball joint points its bone in a direction given by abduction and flexion, a hinge bends two
bones to an angle, a twist turns a bone about its own axis. Each measures the rest pose of the very body first, so that
an angle means the same for every shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from synthgen.blender_assets.model import BodyModel
from synthgen.generator.body import RestBody
from synthgen.geometry import Floats, axis_angle, normalize

FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "little": 5}
TIPS = {"thumb": 9348, "index": 8595, "middle": 8787, "ring": 8982, "little": 9171}
"""Base-mesh vertices at the tips of the left hand."""
_THUMB_PALMAR = np.array([-0.85, 0.44, -0.28])
"""Where the thumb's last joints bend to at rest (radial, distal, dorsal): away from its nail, the thinnest axis of the
distal phalanx on the base mesh."""
_ARM_RADIUS = 0.14
"""Half the thickness of a forearm and hand at the hip, by the forearm's length."""
_DOWN, _FRONT, _UP, _LEFT = np.array([[0.0, 0, -1], [0, -1, 0], [0, 0, 1], [1, 0, 0]])
_FINGER_SHARE = {"mcp": 1.0, "pip": 1.15, "dip": 0.7}
"""How the fingers' joints share a common flexion, from Kapandji's description of the natural curl."""


@dataclass(frozen=True)
class HandAxes:
    """The hand at rest, body frame."""

    radial: Floats
    distal: Floats
    dorsal: Floats

    @property
    def matrix(self) -> Floats:
        """(3, 3) rows radial, distal, dorsal."""
        return np.stack([self.radial, self.distal, self.dorsal])


class Rig:
    """The joints of one model, by name."""

    def __init__(self, model: BodyModel) -> None:
        self._model = model
        self._bones = {name: i for i, name in enumerate(model.bones)}
        self._sides = ("L",) if model.name == "hand" else ("L", "R")
        trunk = [i for i, name in enumerate(model.bones) if name.startswith(("spine", "pelvis", "root", "upperleg01"))]
        self._trunk = np.flatnonzero(np.isin(np.asarray(model.weights.argmax(axis=1)).ravel(), trunk))
        mirror = model.mirror
        self._tips = {
            (finger, side): model.vertex(vertex if side == "L" else int(mirror[vertex]))
            for finger, vertex in TIPS.items() for side in self._sides
        }  # fmt: skip

    def rotations(self, rest: RestBody, pose: Mapping[str, float]) -> Floats:
        """Rotations (B, 3, 3) of each bone relative to its parent, body axes; degrees of freedom left out stay at rest.

        Args:
            rest: The body to pose.
            pose: Angles in degrees by degree of freedom; on a body, sided ones begin with left_ or right_.
        """
        turns = np.broadcast_to(np.eye(3), (len(self._bones), 3, 3)).copy()
        angles = {name: np.radians(value) for name, value in pose.items() if name.endswith("_deg")}
        if self._model.name == "hand":
            self._pose_hand(turns, rest, angles, "L")
        else:
            self._pose_trunk(turns, angles)
            for side, prefix in (("L", "left_"), ("R", "right_")):
                own = {name.removeprefix(prefix): a for name, a in angles.items() if name.startswith(prefix)}
                self._pose_arm(turns, rest, own, side)
                self._pose_leg(turns, rest, own, side)
        return turns

    def hand_axes(self, rest: RestBody, side: str = "L") -> HandAxes:
        """Axes of a hand at rest: distal from the wrist to the middle knuckle, dorsal out of the back of the hand."""
        knuckles = ("finger2-1", "finger3-1", "finger5-1")
        wrist, index, middle, little = (self._head(rest, name, side) for name in ("wrist", *knuckles))
        sign = 1.0 if side == "L" else -1.0
        distal = normalize(middle - wrist)
        across: Floats = sign * np.cross(index - wrist, little - wrist)
        dorsal = normalize(across - (across @ distal) * distal)
        return HandAxes(sign * np.cross(distal, dorsal), distal, dorsal)

    def _head(self, rest: RestBody, bone: str, side: str) -> Floats:
        return rest.heads_mm[self._bones[f"{bone}.{side}"]]

    def _pose_hand(self, turns: Floats, rest: RestBody, angles: Mapping[str, float], side: str) -> None:
        axes = self.hand_axes(rest, side)
        self._pose_wrist(turns, rest, angles, side, axes)
        for finger, number in FINGERS.items():
            names = ("cmc", "mcp", "ip") if finger == "thumb" else ("mcp", "pip", "dip")
            bones = [f"finger{number}-{i}" for i in (1, 2, 3)]
            points = [*(self._head(rest, bone, side) for bone in bones), rest.vertices_mm[self._tips[finger, side]]]
            along = [normalize(b - a) for a, b in pairwise(points)]
            frame = axes.matrix
            turns[self._bones[f"{bones[0]}.{side}"]] = ball(frame, along[0], angles, f"{finger}_{names[0]}")
            palmar = axes.matrix.T @ _THUMB_PALMAR if finger == "thumb" else -axes.dorsal
            for i in (1, 2):
                name = f"{finger}_{names[i]}"
                turns[self._bones[f"{bones[i]}.{side}"]] = hinge(palmar, along[i - 1], along[i], angles, name)

    def _pose_wrist(
        self, turns: Floats, rest: RestBody, angles: Mapping[str, float], side: str, axes: HandAxes
    ) -> None:
        forearm = normalize(self._head(rest, "wrist", side) - self._head(rest, "lowerarm01", side))
        dorsal = normalize(axes.dorsal - (axes.dorsal @ forearm) * forearm)
        radial = np.cross(forearm, dorsal) * (1 if side == "L" else -1)
        turns[self._bones[f"wrist.{side}"]] = ball(np.stack([radial, forearm, dorsal]), axes.distal, angles, "wrist")

    def _pose_arm(self, turns: Floats, rest: RestBody, angles: Mapping[str, float], side: str) -> None:
        sign = 1 if side == "L" else -1
        shoulder, elbow, wrist = (self._head(rest, name, side) for name in ("upperarm01", "lowerarm01", "wrist"))
        upper, fore = normalize(elbow - shoulder), normalize(wrist - elbow)
        bone = self._bones[f"upperarm01.{side}"]
        if "shoulder.clearance_deg" in angles:
            touching = self._touching_abduction(rest, side)
            angles = {**angles, "shoulder.abduction_deg": touching + angles["shoulder.clearance_deg"]}
        turns[bone] = ball(np.stack([sign * _LEFT, _DOWN, -_FRONT]), upper, angles, "shoulder")
        if "shoulder.rotation_deg" in angles:
            turns[bone] = turns[bone] @ axis_angle(upper, self._arm_turn(upper, fore, turns[bone], angles, sign))
        turns[self._bones[f"lowerarm01.{side}"]] = hinge(fore, upper, fore, angles, "elbow")
        axes = self.hand_axes(rest, side)
        if "forearm.pronation_deg" in angles:
            lateral = sign * normalize(np.cross(fore, upper))
            now = _signed_angle(lateral, axes.dorsal, fore)
            turns[self._bones[f"lowerarm02.{side}"]] = axis_angle(fore, sign * angles["forearm.pronation_deg"] - now)
        self._pose_wrist(turns, rest, angles, side, axes)
        if "fingers.flexion_deg" in angles:
            self._curl(turns, rest, angles["fingers.flexion_deg"], side, axes)

    def _touching_abduction(self, rest: RestBody, side: str) -> float:
        """Abduction in radians at which a straight hanging arm just touches the trunk or the hip."""
        shoulder, elbow, wrist = (self._head(rest, name, side) for name in ("upperarm01", "lowerarm01", "wrist"))
        upper, fore = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
        trunk = rest.vertices_mm[self._trunk]
        below = shoulder[2] - trunk[:, 2]
        reach = (below > 0.8 * upper) & (below < upper + 1.5 * fore)
        out = np.abs(trunk[reach, 0]) + _ARM_RADIUS * fore - abs(shoulder[0])
        return float(np.arctan2(out, below[reach]).max())

    def _arm_turn(self, upper: Floats, fore: Floats, turn: Floats, angles: Mapping[str, float], sign: int) -> float:
        """Turn about the upper arm that brings the bent forearm to the front, plus the wanted external rotation."""
        direction = turn @ upper
        now = _signed_angle(_FRONT, turn @ fore, direction)
        return -now - sign * angles["shoulder.rotation_deg"]

    def _curl(self, turns: Floats, rest: RestBody, flexion: float, side: str, axes: HandAxes) -> None:
        for finger in ("index", "middle", "ring", "little"):
            bones = [f"finger{FINGERS[finger]}-{i}" for i in (1, 2, 3)]
            points = [*(self._head(rest, bone, side) for bone in bones), rest.vertices_mm[self._tips[finger, side]]]
            along = [normalize(b - a) for a, b in pairwise(points)]
            share = {f"{finger}_{joint}.flexion_deg": flexion * part for joint, part in _FINGER_SHARE.items()}
            azimuth, _ = _direction_angles(axes.matrix, along[0])
            share[f"{finger}_mcp.abduction_deg"] = 0.7 * azimuth
            turns[self._bones[f"{bones[0]}.{side}"]] = ball(axes.matrix, along[0], share, f"{finger}_mcp")
            for i, joint in ((1, "pip"), (2, "dip")):
                turns[self._bones[f"{bones[i]}.{side}"]] = hinge(
                    -axes.dorsal, along[i - 1], along[i], share, f"{finger}_{joint}"
                )

    def _pose_leg(self, turns: Floats, rest: RestBody, angles: Mapping[str, float], side: str) -> None:
        sign = 1 if side == "L" else -1
        hip, knee, ankle, toe = (
            self._head(rest, name, side) for name in ("upperleg01", "lowerleg01", "foot", "toe3-1")
        )
        thigh, shin = normalize(knee - hip), normalize(ankle - knee)
        bone = self._bones[f"upperleg01.{side}"]
        turns[bone] = ball(np.stack([sign * _LEFT, _DOWN, -_FRONT]), thigh, angles, "hip")
        if "hip.rotation_deg" in angles:
            turns[bone] = turns[bone] @ axis_angle(thigh, -sign * angles["hip.rotation_deg"])
        turns[self._bones[f"lowerleg01.{side}"]] = hinge(-_FRONT, thigh, shin, angles, "knee")
        if "ankle.flexion_deg" in angles:
            foot = toe - ankle
            axis = normalize(np.cross(foot - (foot @ shin) * shin, shin))
            turns[self._bones[f"foot.{side}"]] = axis_angle(axis, angles["ankle.flexion_deg"])

    def _pose_trunk(self, turns: Floats, angles: Mapping[str, float]) -> None:
        for joint, bones in (("spine", ("spine04", "spine03", "spine02")), ("neck", ("neck01", "neck02", "head"))):
            parts = [(_LEFT, "flexion"), (-_FRONT, "abduction"), (_UP, "rotation")]
            for bone in bones:
                for axis, name in parts:
                    turn = axis_angle(axis, angles.get(f"{joint}.{name}_deg", 0.0) / len(bones))
                    turns[self._bones[bone]] = turns[self._bones[bone]] @ turn


def ball(frame: Floats, rest_direction: Floats, angles: Mapping[str, float], joint: str) -> Floats:
    """Rotation that points a bone by its abduction and flexion, then twists it by its rotation.

    Args:
        frame: (3, 3) rows: the direction of abduction, the zero direction, the direction of extension.
        rest_direction: (3,) the bone at rest.
        angles: Radians by degree of freedom.
        joint: The joint's name; what ``angles`` leaves out stays as at rest.
    """
    names = [f"{joint}.{part}_deg" for part in ("abduction", "flexion", "rotation")]
    if not any(name in angles for name in names):
        return np.eye(3)
    abduction, flexion = _direction_angles(frame, rest_direction)
    wanted = _direction_frame(frame, angles.get(names[0], abduction), angles.get(names[1], flexion))
    turn = wanted @ _direction_frame(frame, abduction, flexion).T
    if joint.startswith("thumb") and names[2] in angles:
        turn = turn @ axis_angle(rest_direction, angles[names[2]] * np.sign(np.linalg.det(frame)))
    return turn


def hinge(bend: Floats, before: Floats, after: Floats, angles: Mapping[str, float], joint: str) -> Floats:
    """Rotation that bends bone ``after`` towards a direction until it makes the joint's angle with bone ``before``."""
    wanted = angles.get(f"{joint}.flexion_deg")
    if wanted is None:
        return np.eye(3)
    axis = normalize(np.cross(before, bend))
    return axis_angle(axis, wanted - _signed_angle(before, after, axis))


def _direction_angles(frame: Floats, direction: Floats) -> tuple[float, float]:
    x, y, n = frame @ direction
    return float(np.arctan2(x, y)), float(np.arctan2(-n, np.hypot(x, y)))


def _direction_frame(frame: Floats, abduction: float, flexion: float) -> Floats:
    ca, sa, cf, sf = np.cos(abduction), np.sin(abduction), np.cos(flexion), np.sin(flexion)
    side = np.array([ca, -sa, 0])
    along = np.array([sa * cf, ca * cf, -sf])
    return frame.T @ np.stack([side, along, np.cross(side, along)], axis=1)


def _signed_angle(a: Floats, b: Floats, axis: Floats) -> float:
    """Angle from a to b about a unit axis, after both are projected onto its plane."""
    a, b = a - (a @ axis) * axis, b - (b @ axis) * axis
    return float(np.arctan2(np.cross(a, b) @ axis, a @ b))
