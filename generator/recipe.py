"""Recipes: every number drawn for a sample, a pure function of (the spec without its count, the index)."""

from dataclasses import dataclass

from synthgen.blender_assets.model import BodyModel
from synthgen.draws import DrawTable, rounded
from synthgen.errors import SpecError
from synthgen.generator.body import target_rows
from synthgen.pose_spaces.draw import PoseDrawer
from synthgen.seeding import Stream
from synthgen.shape_space import ShapeSpace
from synthgen.shape_spaces.draw import ShapeDrawer
from synthgen.spec import CameraSpace, Framing, Spec

_CAMERA = ("distance_mm", "yaw_deg", "pitch_deg", "roll_deg")
_FRAMING = ("margin", "offset_x", "offset_y")
_DECIMALS = 4


@dataclass(frozen=True)
class Recipe:
    """The numbers of one sample."""

    index: int
    shape: dict[str, float]
    """Phenotypes and targets."""
    pose: dict[str, float]
    """Angles in degrees by degree of freedom, and ``redraws``: how many impossible poses were drawn before."""
    camera: dict[str, float]
    """View angles in degrees, distance and forearm in mm, margin and offsets."""


class Recipes:
    """A resolved spec, prepared for drawing recipes."""

    def __init__(self, spec: Spec, model: BodyModel) -> None:
        """Prepare a spec.

        Raises:
            SpecError: A space names a target or joint that the model does not have.
        """
        shape, pose, camera, framing = spec.shape, spec.pose, spec.camera, spec.framing
        if isinstance(shape, str) or isinstance(pose, str) or isinstance(camera, str) or isinstance(framing, str):
            msg = "spec: resolve the names of its spaces first"
            raise TypeError(msg)
        self._seed = spec.seed
        self._shape = ShapeDrawer(shape, model.calibration)
        self._pose = PoseDrawer(pose, spec.model)
        self._camera = _camera_table(camera, framing)

    def shape(self, index: int, attempt: int = 0) -> dict[str, float]:
        """Draw the shape of one sample; attempts after the first come from streams of their own."""
        return self._shape.draw(Stream(self._seed, index, _attempt("shape", attempt)))

    def pose(self, index: int, attempt: int) -> dict[str, float]:
        """Draw the pose of one sample; attempts after the first come from streams of their own."""
        return self._pose.draw(Stream(self._seed, index, _attempt("pose", attempt)))

    def camera(self, index: int) -> dict[str, float]:
        """Draw the camera and the framing of one sample."""
        values = self._camera.draw(Stream(self._seed, index, "camera"))
        return rounded(dict(zip(self._camera.names, values.tolist(), strict=True)), _DECIMALS)


def check_targets(space: ShapeSpace, model: BodyModel) -> tuple[str, ...]:
    """Return the targets that a shape space draws, all of which move the model.

    Raises:
        SpecError: One does not; the text names the nearest that does.
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


def _attempt(name: str, attempt: int) -> str:
    return f"{name}/{attempt}" if attempt else name


def _camera_table(camera: CameraSpace, framing: Framing) -> DrawTable:
    parts = {name: getattr(camera, name) for name in _CAMERA} | {name: getattr(framing, name) for name in _FRAMING}
    if framing.forearm_mm is not None:
        parts["forearm_mm"] = framing.forearm_mm
    return DrawTable(parts)
