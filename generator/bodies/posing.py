"""Converts anatomical angles by name into bone rotations; the geometry is in `joints`."""

from collections.abc import Mapping
from math import nan, radians

import numpy as np

from synthgen.blender_assets.model import BodyModel
from synthgen.generator.bodies.joints import hand_frame, pose_body, pose_hand
from synthgen.generator.bodies.shape_and_skin import RestBody
from synthgen.geometry import Floats

FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "little": 5}
TIPS = {"thumb": 9348, "index": 8595, "middle": 8787, "ring": 8982, "little": 9171}
"""Base-mesh vertices at the ends of the left hand's distal bones."""
_SIDES = {"L": "left_", "R": "right_"}
_FINGER_JOINTS = {"thumb": ("cmc", "mcp", "ip")} | {
    finger: ("mcp", "pip", "dip") for finger in FINGERS if finger != "thumb"
}
_HAND_ANGLES = (
    "wrist.abduction_deg",
    "wrist.flexion_deg",
    *(
        f"{finger}_{joint}_deg"
        for finger, (base, middle, end) in _FINGER_JOINTS.items()
        for joint in (f"{base}.abduction", f"{base}.flexion", f"{base}.rotation", f"{middle}.flexion", f"{end}.flexion")
    ),
)
"""Degrees of freedom in the order of `pose_hand`."""
_TRUNK_ANGLES = tuple(f"{part}.{way}_deg" for part in ("spine", "neck") for way in ("flexion", "abduction", "rotation"))
_LIMB_ANGLES = (
    "shoulder.abduction_deg", "shoulder.clearance_deg", "shoulder.flexion_deg", "shoulder.rotation_deg",
    "elbow.flexion_deg", "forearm.pronation_deg", "wrist.abduction_deg", "wrist.flexion_deg", "fingers.flexion_deg",
    "hip.abduction_deg", "hip.flexion_deg", "hip.rotation_deg", "knee.flexion_deg", "ankle.flexion_deg",
)  # fmt: skip
"""Degrees of freedom of one side, in the order of `pose_body`."""
_TRUNK_BONES = ("spine04", "spine03", "spine02", "neck01", "neck02", "head")
_TRUNK_PARTS = ("spine", "pelvis", "root", "upperleg01")


class Rig:
    """The joints of one model, by name."""

    def __init__(self, model: BodyModel) -> None:
        self._is_hand = model.name == "hand"
        self._bones = {name: i for i, name in enumerate(model.bones)}
        if self._is_hand:
            fingers = [name for finger in FINGERS for name in _finger_bones(finger, "L")]
            self._hand = self._places("lowerarm01.L", "wrist.L", *fingers)
            self._tips = np.array([model.vertex(vertex) for vertex in TIPS.values()])
            return
        trunk = [i for i, name in enumerate(model.bones) if name.startswith(_TRUNK_PARTS)]
        self._trunk = np.flatnonzero(np.isin(model.owners, trunk))
        self._spine = self._places(*_TRUNK_BONES)
        self._limbs = np.array([self._places(*_limb_bones(side)) for side in _SIDES])
        curled = [vertex for finger, vertex in TIPS.items() if finger != "thumb"]
        both = (curled, [int(model.mirror[vertex]) for vertex in curled])
        self._tips = np.array([[model.vertex(vertex) for vertex in one] for one in both])

    def _places(self, *names: str) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        return np.array([self._bones[name] for name in names], dtype=np.intp)

    def rotations(self, rest: RestBody, pose: Mapping[str, float]) -> Floats:
        """Return each bone's rotation relative to its parent, (B, 3, 3), body axes; absent angles stay at rest.

        Args:
            rest: The body to pose.
            pose: Angles in degrees by degree of freedom; on a body, names of one side begin with left_ or right_.
        """
        tips = rest.vertices_mm[self._tips]
        if self._is_hand:
            return pose_hand(rest.heads_mm, tips, self._hand, _radians(pose, _HAND_ANGLES))
        limbs = np.stack([_radians(pose, [prefix + name for name in _LIMB_ANGLES]) for prefix in _SIDES.values()])
        angles = (_radians(pose, _TRUNK_ANGLES), limbs)
        return pose_body((rest.vertices_mm, rest.heads_mm, tips), self._trunk, (self._spine, self._limbs), angles)

    def hand_axes(self, rest: RestBody, side: str = "L") -> Floats:
        """Return unit rows (3, 3) of a hand at rest: radial, distal (wrist to middle knuckle), dorsal; body axes."""
        names = (f"{name}.{side}" for name in ("wrist", "finger2-1", "finger3-1", "finger5-1"))
        wrist, index, middle, little = (self._bones[name] for name in names)
        return np.array(hand_frame(rest.heads_mm, (wrist, index, middle, little), 1.0 if side == "L" else -1.0))


def _radians(pose: Mapping[str, float], names: tuple[str, ...] | list[str]) -> Floats:
    return np.array([radians(pose.get(name, nan)) for name in names])


def _finger_bones(finger: str, side: str) -> tuple[str, str, str]:
    n = FINGERS[finger]
    return f"finger{n}-1.{side}", f"finger{n}-2.{side}", f"finger{n}-3.{side}"


def _limb_bones(side: str) -> tuple[str, ...]:
    fingers = (name for finger in FINGERS if finger != "thumb" for name in _finger_bones(finger, side))
    arm = (f"{name}.{side}" for name in ("upperarm01", "lowerarm01", "lowerarm02", "wrist"))
    leg = (f"{name}.{side}" for name in ("upperleg01", "lowerleg01", "foot", "toe3-1"))
    return (*arm, *fingers, *leg)
