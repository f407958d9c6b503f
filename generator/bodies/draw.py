"""Recipes: all numbers drawn for a sample, a pure function of (the spec without its count, the index)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from synthgen.blender_assets.model import BodyModel
from synthgen.errors import SpecError
from synthgen.generator.bodies.shape_and_skin import target_rows
from synthgen.pose_spaces.draw import PoseDrawer
from synthgen.randomness.seeding import Streams
from synthgen.shape_spaces.draw import ShapeDrawer
from synthgen.specs.draw_table import DrawTable, named, rounded
from synthgen.specs.shape_space import ShapeSpace
from synthgen.specs.spec import CameraSpace, Framing, ResolvedSpec

_CAMERA = ("distance_mm", "yaw_deg", "pitch_deg", "roll_deg")
_FRAMING = ("margin", "offset_x", "offset_y")
_DECIMALS = 4
POSES_PER_SHAPE = 20
"""Number of impossible poses after which the shape is redrawn too: some thick fingers fit no pose."""


@dataclass(frozen=True)
class Recipe:
    """The numbers of one sample."""

    index: int
    shape: dict[str, float]
    """Phenotypes and targets."""
    pose: dict[str, float]
    """Angles in degrees by degree of freedom, and ``redraws``: the number of impossible poses drawn before."""
    camera: dict[str, float]
    """View angles in degrees, distance and forearm in mm, margin and offsets."""


class Recipes:
    """Draws the recipes of a spec."""

    def __init__(self, spec: ResolvedSpec, model: BodyModel) -> None:
        """Prepare a spec.

        Raises:
            SpecError: A space names a target or joint that the model does not have.
        """
        self._seed = spec.seed
        self._shape = ShapeDrawer(spec.shape, model.calibration)
        self._pose = PoseDrawer(spec.pose, spec.model)
        self._camera = _camera_table(spec.camera, spec.framing)

    def draw(self, indices: Sequence[int]) -> list[Recipe]:
        """Draw recipes with their first pose, possible or not; each depends only on its index, not on the others."""
        shapes = self._shape.draw(Streams(self._seed, tuple(indices), "shape"))
        poses = self._pose.draw(Streams(self._seed, tuple(indices), "pose"))
        values = self._camera.draw(Streams(self._seed, tuple(indices), "camera"))
        cameras = named(self._camera.names, rounded(values, _DECIMALS))
        return [Recipe(*parts) for parts in zip(indices, shapes, poses, cameras, strict=True)]

    def draw_again(self, recipes: Sequence[Recipe], attempt: int) -> list[Recipe]:
        """Redraw the poses of recipes, and at every 20th attempt the shapes too.

        Attempts count from 1; each has its own streams.
        """
        indices = tuple(recipe.index for recipe in recipes)
        shapes = [recipe.shape for recipe in recipes]
        if attempt % POSES_PER_SHAPE == 0:
            shapes = self._shape.draw(Streams(self._seed, indices, f"shape/{attempt // POSES_PER_SHAPE}"))
        poses = self._pose.draw(Streams(self._seed, indices, f"pose/{attempt}"))
        return [replace(recipe, shape=shape, pose=pose)
                for recipe, shape, pose in zip(recipes, shapes, poses, strict=True)]  # fmt: skip


def check_targets(space: ShapeSpace, model: BodyModel) -> tuple[str, ...]:
    """Return the targets that a shape space draws, after checking that each moves the model.

    Raises:
        SpecError: One does not; the message names the most similar target that does.
    """
    drawn = tuple({**space.targets, **{n: d for group in space.groups for n, d in group.targets.items()}})
    for name in drawn:
        try:
            target_rows(model, name)
        except SpecError as error:
            import difflib  # noqa: PLC0415  # only for the message

            known = sorted({*model.target_names, *(n[2:] for n in model.target_names if n[:2] in ("l-", "r-"))})
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"see `synthgen target list --model {model.name}`"
            msg = f"shape.targets: {error}; {hint}"
            raise SpecError(msg) from None
    return drawn


def _camera_table(camera: CameraSpace, framing: Framing) -> DrawTable:
    parts = {name: getattr(camera, name) for name in _CAMERA} | {name: getattr(framing, name) for name in _FRAMING}
    if framing.forearm_mm is not None:
        parts["forearm_mm"] = framing.forearm_mm
    return DrawTable(parts)
