"""Draws poses: the angle in degrees of each degree of freedom, within the joints' limits."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import numpy as np
import yaml

from synthgen.errors import SpecError
from synthgen.geometry import Floats
from synthgen.randomness.seeding import Stream, Streams
from synthgen.specs.draw_table import DrawTable, named, rounded
from synthgen.specs.pose_space import Angle, ExamplePoseSpace, JointPoseSpace

DECIMALS = 3
"""Recipes are rounded when drawn, so that the stored numbers reproduce the same pose."""
SIDES = ("left_", "right_")
UNSIDED = ("spine.", "neck.")


@cache
def joint_limits(model: str) -> Mapping[str, tuple[float, float]]:
    """Return the anatomical limits in degrees of a model's degrees of freedom, named without side."""
    table = yaml.safe_load(resources.files("synthgen.pose_spaces").joinpath("joints.yaml").read_text())[model]
    return {name: (float(entry["limits"][0]), float(entry["limits"][1])) for name, entry in table.items()}


class PoseDrawer:
    """Draws from a pose space."""

    def __init__(self, space: JointPoseSpace | ExamplePoseSpace, model: str) -> None:
        """Prepare a space for the model ``hand`` or ``body``.

        Raises:
            SpecError: A degree of freedom or a factor is unknown, or limits exceed the joint's anatomical limits.
        """
        self._space = _Joints(space, model) if isinstance(space, JointPoseSpace) else _Examples(space, model)

    def draw(self, streams: Streams) -> list[dict[str, float]]:
        """Draw one pose per sample: the angle in degrees of each degree of freedom."""
        return named(self._space.names, rounded(self._space.draw(streams), DECIMALS))


class _Joints:
    def __init__(self, space: JointPoseSpace, model: str) -> None:
        angles: dict[str, Angle] = {}
        limits: list[tuple[float, float]] = []
        for name, angle in space.angles.items():
            own = _limits_of(name, angle, model)
            for sided in _sides(name, model):
                if sided in angles:
                    msg = f"pose.angles.{name}: {sided} is listed twice; remove one of the two"
                    raise SpecError(msg)
                angles[sided] = angle
                limits.append(own)
            unknown = sorted(set(angle.factors) - set(space.factors))
            if unknown:
                msg = (f"pose.angles.{name}.factors: {unknown[0]!r} is not a factor of this space; "
                       f"its factors are {', '.join(space.factors) or 'none'}")  # fmt: skip
                raise SpecError(msg)
        self.names = tuple(angles)
        self._table = DrawTable(
            {f"factor/{name}": one for name, one in space.factors.items()}
            | {name: one.draw for name, one in angles.items()}
        )
        factors = list(space.factors)
        self._loadings = np.array([[one.factors.get(f, 0.0) for f in factors] for one in angles.values()])
        self._limits = np.array(limits).reshape(-1, 2).T
        self._n_factors = len(factors)

    def draw(self, streams: Streams) -> Floats:
        values = self._table.draw(streams)
        factors, drawn = values[:, : self._n_factors], values[:, self._n_factors :]
        if self._n_factors:  # one sample at a time: a matrix product would round differently
            drawn = drawn + np.array([self._loadings @ row for row in factors])
        low, high = self._limits
        return np.minimum(np.maximum(drawn, low), high)


class _Examples:
    def __init__(self, space: ExamplePoseSpace, model: str) -> None:
        self._space = space
        named = dict.fromkeys(name for example in space.examples for name in example.angles)
        self._sided: dict[str, str] = {one: name for name in named for one in _sides(name, model)}
        self._limits = {one: _limits_of(name, None, model) for one, name in self._sided.items()}
        for example in space.examples:
            for name, value in example.angles.items():
                low, high = _limits_of(name, None, model)
                if not low <= value <= high:
                    msg = (f"pose.examples.{example.name}.{name}: {value:g} exceeds the joint's limits; "
                           f"use {low:g} to {high:g}")  # fmt: skip
                    raise SpecError(msg)
        joints: dict[str, list[str]] = {}
        for one in self._sided:
            joints.setdefault(one.split(".")[0], []).append(one)
        self._joints = joints
        self.names = tuple(one for ones in joints.values() for one in ones)

    def draw(self, streams: Streams) -> Floats:
        return np.array([self._one(stream) for stream in streams.each()])

    def _one(self, stream: Stream) -> list[float]:
        n = len(self._space.examples)
        first = int(stream.at("first").integers(n))
        second = (first + 1 + int(stream.at("second").integers(n - 1))) % n
        position = float(self._space.position.draw(stream.at("position"), 1)[0])
        pose: list[float] = []
        for names in self._joints.values():
            a, b = ({one.split(".")[1]: self._space.examples[i].angles.get(self._sided[one], 0.0) for one in names}
                    for i in (first, second))  # fmt: skip
            between = interpolate_joint(a, b, position)
            for one in names:
                jitter = float(self._space.jitter_deg.draw(stream.at(one), 1)[0])
                low, high = self._limits[one]
                pose.append(min(max(between[one.split(".")[1]] + jitter, low), high))
        return pose


def interpolate_joint(a: Mapping[str, float], b: Mapping[str, float], position: float) -> dict[str, float]:
    """Interpolate one joint's angles in degrees along the great circle between its two directions.

    A joint with abduction and flexion has a direction on a sphere, which takes the shortest path (spherical linear
    interpolation, Shoemake 1985). Single angles and rotations are interpolated linearly, which is equivalent for
    rotations about one axis.
    """
    result = {name: a[name] + position * (b[name] - a[name]) for name in a}
    pair = ("abduction_deg", "flexion_deg")
    if not all(name in a for name in pair):
        return result
    ends = [_direction(*(np.radians(angles[name]) for name in pair)) for angles in (a, b)]
    angle = float(np.arccos(np.clip(ends[0] @ ends[1], -1, 1)))
    if angle > 1e-6:
        x, y, n = (np.sin((1 - position) * angle) * ends[0] + np.sin(position * angle) * ends[1]) / np.sin(angle)
        result["abduction_deg"] = float(np.degrees(np.arctan2(x, y)))
        result["flexion_deg"] = float(np.degrees(np.arctan2(-n, np.hypot(x, y))))
    return result


def _direction(abduction: float, flexion: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([np.sin(abduction) * np.cos(flexion), np.cos(abduction) * np.cos(flexion), -np.sin(flexion)])


def _sides(name: str, model: str) -> tuple[str, ...]:
    if model == "hand" or name.startswith((*SIDES, *UNSIDED)):
        return (name,)
    return tuple(side + name for side in SIDES)


def _limits_of(name: str, angle: Angle | None, model: str) -> tuple[float, float]:
    bare = name
    for side in SIDES if model == "body" else ():
        bare = bare.removeprefix(side)
    known = joint_limits(model)
    if bare not in known:
        import difflib  # noqa: PLC0415  # only for the message

        near = difflib.get_close_matches(bare, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the {model}'s joints are {', '.join(known)}"
        msg = f"pose.angles: unknown joint {name!r}; {hint}"
        raise SpecError(msg)
    low, high = known[bare]
    if angle is None or angle.limits_deg is None:
        return low, high
    narrow_low, narrow_high = angle.limits_deg
    if narrow_low > narrow_high:
        msg = f"pose.angles.{name}.limits_deg: low {narrow_low:g} is above high {narrow_high:g}; swap them"
        raise SpecError(msg)
    if narrow_low < low or narrow_high > high:
        msg = (f"pose.angles.{name}.limits_deg: {narrow_low:g} to {narrow_high:g} exceeds the joint's limits "
               f"(pose_spaces/joints.yaml); use a range within {low:g} to {high:g}")  # fmt: skip
        raise SpecError(msg)
    return narrow_low, narrow_high
