"""The spec: what a user wants rendered, validated, with units and ranges."""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from synthgen.errors import SpecError
from synthgen.specs.artefacts import Artefacts
from synthgen.specs.builtin import Kind, names, read_named
from synthgen.specs.distributions import Constant, Distribution, Number, Within
from synthgen.specs.landmark_set import LandmarkSet
from synthgen.specs.messages import spec_error, value_text
from synthgen.specs.pose_space import PoseSpace
from synthgen.specs.safe_yaml import Document
from synthgen.specs.shape_space import ShapeSpace


def _whole(value: Any) -> Any:
    """Accept 2.2e6 as an integer, but reject text and booleans."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("whole", "{text}", {"text": f"value {value_text(value)}; give a whole number"})
    return value


def _form(value: Any) -> str:
    return "name" if isinstance(value, str) else "inline"


Whole = Annotated[int, BeforeValidator(_whole)]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Angle = Annotated[Distribution, Within(-180, 180)]
Offset = Annotated[Distribution, Within(-1, 1)]
Named = Annotated[str, Tag("name")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Image(_Part):
    """The size of the rendered patch."""

    width: Whole = Field(ge=16, le=2048, description="Pixels, 16 to 2048.")
    height: Whole = Field(ge=16, le=2048, description="Pixels, 16 to 2048.")


class CameraSpace(_Part):
    """How the camera sees the subject; with all angles 0, a hand is seen from its back and a body from the front."""

    description: str = Field("", description="What the camera is for.")
    projection: Literal["orthographic", "perspective"] = Field(
        "orthographic", description="Orthographic, as scans are, or perspective."
    )
    distance_mm: Annotated[Distribution, Within(100, 100_000)] = Field(
        Constant(value=1000.0), description="Distance from the camera to the subject's centre, mm, 100 to 100000."
    )
    yaw_deg: Angle = Field(
        Constant(value=0.0),
        description="Rotation of the subject about the image's vertical axis (y), degrees, -180 to 180.",
    )
    pitch_deg: Angle = Field(
        Constant(value=0.0),
        description="Rotation of the subject about the image's horizontal axis (x), degrees, -180 to 180.",
    )
    roll_deg: Angle = Field(
        Constant(value=0.0),
        description="Rotation of the subject in the image plane, about the optical axis (z), degrees, -180 to 180.",
    )


class Framing(_Part):
    """Which rectangle around the silhouette becomes the image; the same function frames real scans."""

    description: str = Field("", description="What the framing is for.")
    aspect: Literal["keep", "stretch"] = Field(
        "keep", description="Keep the silhouette's aspect ratio, or stretch its box to the image."
    )
    margin: Annotated[Distribution, Within(0, 0.5)] = Field(
        Constant(value=0.05), description="Added on each free side, as a fraction of the silhouette's box, 0 to 0.5."
    )
    offset_x: Offset = Field(
        Constant(value=0.0), description="Horizontal position of the silhouette: -1 left, 0 centred, 1 right."
    )
    offset_y: Offset = Field(
        Constant(value=0.0), description="Vertical position of the silhouette: -1 top, 0 centred, 1 bottom."
    )
    forearm_mm: Annotated[Distribution, Within(0, 80)] | None = Field(
        None,
        description="Hands only: distance of the image's lower border below the wrist crease, mm, 0 to 80.",
    )


class Spec(_Part):
    """What a user writes: each part is written out or is the name of a built-in one."""

    name: Word = Field(description="Name of the dataset: lowercase letters, digits and underscores.")
    version: Whole = Field(1, ge=1, description="Version of the dataset, from 1; part of the shards' names.")
    model: Literal["hand", "body"] = Field(description="What is rendered.")
    side: Literal["left", "right"] = Field("left", description="The patient's side (hand only).")
    count: Whole = Field(ge=1, le=1_000_000_000, description="Number of samples, 1 to 1000000000.")
    seed: Whole = Field(0, ge=0, lt=2**63, description="Seed of all draws; 0 has no special meaning.")
    engine: Literal["blender", "raster"] = Field(
        "blender", description="Rendering engine: blender, the reference, or raster, the same pixels much faster."
    )
    image: Image = Field(description="Size of the images.")
    landmarks: Annotated[Named | Annotated[LandmarkSet, Tag("inline")], Discriminator(_form)] = Field(
        description="Landmark set: a name or a mapping."
    )
    shape: Annotated[Named | Annotated[ShapeSpace, Tag("inline")], Discriminator(_form)] = Field(
        description="Shape space: a name or a mapping."
    )
    pose: Annotated[Named | Annotated[PoseSpace, Tag("inline")], Discriminator(_form)] = Field(
        description="Pose space: a name or a mapping."
    )
    camera: Annotated[Named | Annotated[CameraSpace, Tag("inline")], Discriminator(_form)] = Field(
        description="Camera: a name or a mapping."
    )
    framing: Annotated[Named | Annotated[Framing, Tag("inline")], Discriminator(_form)] = Field(
        description="Framing: a name or a mapping."
    )
    artefacts: Annotated[Named | Annotated[Artefacts, Tag("inline")], Discriminator(_form)] = Field(
        "none", description="Artefacts, applied when samples are streamed or previewed: a name or a mapping."
    )
    depth_steps_per_mm: Number = Field(
        20.0, ge=10, le=200, description="Steps per mm of the stored 16-bit depth, 10 to 200; 20 covers over 3.2 m."
    )


class ResolvedSpec(Spec):
    """A spec whose names are replaced by their content; all code except the readers works with it.

    A sample's recipe is a pure function of the resolved spec (without its count) and the sample's index.
    """

    landmarks: LandmarkSet
    shape: ShapeSpace
    pose: PoseSpace
    camera: CameraSpace
    framing: Framing
    artefacts: Artefacts

    @model_validator(mode="after")
    def _parts_fit_the_model(self) -> Self:
        if self.landmarks.model != self.model:
            text = f"this set is for {self.landmarks.model}, but the spec's model is {self.model}; choose another set"
            raise PydanticCustomError("model", "{text}", {"text": text, "field": ("landmarks",)})
        if (self.framing.forearm_mm is None) == (self.model == "hand"):
            text = (
                "missing; hands require it, give 0 to 80" if self.model == "hand" else "only hands have it; remove it"
            )
            raise PydanticCustomError("model", "{text}", {"text": text, "field": ("framing", "forearm_mm")})
        return self


PART_MODELS: dict[Kind, Any] = {
    "landmarks": LandmarkSet,
    "shape": ShapeSpace,
    "pose": PoseSpace,
    "camera": CameraSpace,
    "framing": Framing,
    "artefacts": Artefacts,
}


def load_part(kind: Kind, name: str) -> Any:
    """Return the built-in part of this kind and name as its model."""
    document = read_named(kind, name)
    try:
        return TypeAdapter(PART_MODELS[kind]).validate_python(document.data)
    except ValidationError as error:
        raise spec_error(error, PART_MODELS[kind], document.data, document.place) from None


def name_of(kind: Kind, part: Any) -> str | None:
    """Return the built-in name of a part, or None if the user defined it."""
    return next((name for name in names(kind) if load_part(kind, name) == part), None)


def resolve(spec: Spec, document: Document | None = None) -> ResolvedSpec:
    """Return the spec with every name replaced by its content; a resolved spec is returned unchanged.

    Raises:
        SpecError: A name is unknown, or a part does not fit the spec's model.

    Args:
        spec: The spec.
        document: Where it was read from, so that errors can name the file and line.

    """
    fields = {field: getattr(spec, field) for field in Spec.model_fields}

    def place(path: tuple[str | int, ...]) -> str:
        return document.place(path) if document else ""

    for kind in PART_MODELS:
        if isinstance(fields[kind], str):
            try:
                fields[kind] = load_part(kind, fields[kind])
            except SpecError as error:
                raise SpecError(f"{place((kind,))}: {kind}: {error}".removeprefix(": ")) from None
    try:
        return ResolvedSpec.model_validate(fields)
    except ValidationError as error:
        raise spec_error(error, ResolvedSpec, fields, place) from None


def spec_hash(spec: ResolvedSpec) -> str:
    """Return the SHA-256 (hex) that identifies the dataset of a spec, independent of its count.

    Names and target files are hashed by content, not by name or path; descriptions are excluded.
    """
    identity = plain(spec, for_identity=True)
    del identity["count"]
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: ResolvedSpec, new: ResolvedSpec) -> list[str]:
    """Return one line ``field: old -> new`` per difference, including the count; empty for equal specs."""
    return list(_differences("", plain(old, for_identity=True), plain(new, for_identity=True)))


def plain(model: BaseModel, *, for_identity: bool = False) -> Any:
    """Return a model as plain data, with constants as bare numbers and without fields that are None.

    Args:
        model: A spec or a part of one.
        for_identity: Omit descriptions, and the path of a target file whose digest is known.

    """
    return _plain(model.model_dump(mode="json", exclude_none=True), for_identity)


def _plain(data: Any, for_identity: bool) -> Any:  # noqa: FBT001 (recursion over plain data)
    if isinstance(data, list):
        return [_plain(item, for_identity) for item in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {"kind", "value"} and data["kind"] == "constant":
        return data["value"]
    dropped: set[str] = set()
    if for_identity:
        dropped = {"path"} if "sha256" in data else set()
        dropped |= {"description"} if isinstance(data.get("description"), str) else set()
    return {key: _plain(value, for_identity) for key, value in data.items() if key not in dropped}


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict) and old.get("kind") == new.get("kind"):
        for key in old | new:
            yield from _differences(f"{path}.{key}".removeprefix("."), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{path}[{i}]", a, b)
    elif old != new:
        yield f"{path}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return "absent" if value is None else value_text(value)
