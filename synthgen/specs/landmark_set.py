"""Landmark sets: named points on the base mesh, in a fixed order."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthgen.specs.distributions import Number

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=48)]


class Landmark(BaseModel):
    """One landmark: a vertex of the skin or a point below it, a joint, or the mirror image of another landmark."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="Name in the labels, such as thumb or left_knee.")
    vertex: int | None = Field(None, ge=0, description="Vertex index in the MakeHuman base mesh (hm08), from 0.")
    towards: str | None = Field(
        None, description="Bone: the landmark lies on the line from the vertex to this bone's head, below the skin."
    )
    share: Number | None = Field(
        None, gt=0, lt=1, description="Position on that line, above 0 (vertex), below 1 (bone's head)."
    )
    joint: str | None = Field(None, description="Bone whose head is the landmark; the point lies inside the body.")
    mirror_of: str | None = Field(None, description="Name of the landmark on the other side that this one mirrors.")

    @model_validator(mode="after")
    def _one_definition(self) -> "Landmark":
        if sum(value is not None for value in (self.vertex, self.joint, self.mirror_of)) != 1:
            msg = f"landmark {self.name}: give exactly one of vertex, joint or mirror_of"
            raise ValueError(msg)
        if (self.towards is None) != (self.share is None):
            missing = "share, a number between 0 and 1" if self.share is None else "towards, the name of a bone"
            msg = f"landmark {self.name}: towards and share go together; add {missing}"
            raise ValueError(msg)
        if self.towards is not None and self.vertex is None:
            msg = f"landmark {self.name}: towards and share start from a vertex; give one, or remove them"
            raise ValueError(msg)
        return self


class LandmarkSet(BaseModel):
    """Landmarks in the order in which every label lists them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["hand", "body"] = Field(description="The model to which the vertices belong.")
    description: str = Field("", description="What the set is for, and its source.")
    landmarks: tuple[Landmark, ...] = Field(min_length=1, max_length=256, description="The landmarks, in order.")

    @property
    def names(self) -> tuple[str, ...]:
        """The landmarks' names, in order."""
        return tuple(landmark.name for landmark in self.landmarks)

    @model_validator(mode="after")
    def _names_resolve(self) -> "LandmarkSet":
        seen = {landmark.name: landmark for landmark in self.landmarks}
        if len(seen) != len(self.landmarks):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            msg = f"landmark {twice} appears twice; give each landmark a unique name"
            raise ValueError(msg)
        for landmark in self.landmarks:
            if landmark.mirror_of is not None:
                source = seen.get(landmark.mirror_of)
                if source is None or source.mirror_of is not None:
                    msg = f"landmark {landmark.name}: mirror_of {landmark.mirror_of!r} is not defined in this set"
                    raise ValueError(msg)
        return self
