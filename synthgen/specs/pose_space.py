"""Pose spaces: how the joint angles of a model are distributed.

A pose is a table of anatomical angles in degrees by degree of freedom, such as ``index_mcp.flexion_deg``. Angles are
absolute (0 is the anatomical zero of the degree of freedom, not MakeHuman's rest pose), so a pose means the same for
every shape.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from synthgen.specs.distributions import Distribution, Within


class Angle(BaseModel):
    """One degree of freedom: its own draw plus shared factors, clipped to limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    draw: Distribution = Field(description="The part of the angle that is drawn independently, degrees.")
    factors: dict[str, float] = Field(
        default_factory=dict, description="Degrees added per unit of a shared factor, by the factor's name."
    )
    limits_deg: tuple[float, float] | None = Field(
        None, description="Limits narrower than the joint's own, degrees; angles beyond are clipped."
    )


class JointPoseSpace(BaseModel):
    """Angles drawn within joint limits, correlated by shared latent factors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["joints"] = "joints"
    description: str = Field("", description="Which poses these are, and the source.")
    factors: dict[str, Distribution] = Field(default_factory=dict, description="Latent factors shared by many joints.")
    angles: dict[str, Angle] = Field(
        description="Degrees of freedom by name; on a body, names without left_ or right_ are drawn once per side."
    )


class ExamplePose(BaseModel):
    """One example pose: angles in degrees; omitted angles are 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the example, for messages.")
    angles: dict[str, float] = Field(description="Degrees by degree of freedom.")


class ExamplePoseSpace(BaseModel):
    """Poses between random pairs of examples, by spherical interpolation of each joint, plus jitter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["examples"] = "examples"
    description: str = Field("", description="Which poses these are, and the source.")
    examples: tuple[ExamplePose, ...] = Field(min_length=2, description="The examples; at least two.")
    position: Annotated[Distribution, Within(0, 1)] = Field(
        description="Position of the pose between the two examples, 0 to 1."
    )
    jitter_deg: Distribution = Field(description="Added to every angle that any example names, degrees.")


PoseSpace = Annotated[JointPoseSpace | ExamplePoseSpace, Field(discriminator="kind")]
