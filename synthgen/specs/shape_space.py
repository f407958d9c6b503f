"""Shape spaces: how the phenotypes and targets of MakeHuman bodies are distributed."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from synthgen.specs.distributions import Distribution, Within


class Who(BaseModel):
    """A phenotype conditioned on age and sex by anny's Beta distributions, which are calibrated on WHO growth data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["who"] = "who"
    shift: float = Field(0.0, ge=-1, le=1, description="Added to the drawn value (the phenotype's unit interval).")
    scale: float = Field(1.0, ge=0, le=5, description="Factor on the deviation from the distribution's mean.")


def _form(value: Any) -> str:  # any YAML value
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "who" if kind == "who" else "distribution"


Phenotype = Annotated[
    Annotated[Who, Tag("who")] | Annotated[Distribution, Within(0, 1), Tag("distribution")], Discriminator(_form)
]
Targets = dict[str, Annotated[Distribution, Within(-1, 1)]]


class ShapeGroup(BaseModel):
    """One group of people, such as all women of a space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(1.0, gt=0, description="Relative frequency of the group.")
    sex: Literal["male", "female"] = Field(description="The group's sex.")
    age_years: Annotated[Distribution, Within(0, 90)] = Field(description="Age in years, 0 to 90.")
    height: Phenotype = Field(Who(), description="MakeHuman's height phenotype: 0 short, 1 tall; `who`, or 0 to 1.")
    weight_phenotype: Phenotype = Field(
        Who(), description="MakeHuman's weight phenotype: 0 thin, 1 fat; `who`, or 0 to 1."
    )
    muscle: Phenotype = Field(Who(), description="MakeHuman's muscle phenotype; `who`, or 0 to 1.")
    proportions: Phenotype = Field(Who(), description="MakeHuman's proportions phenotype; `who`, or 0 to 1.")
    targets: Targets = Field(
        default_factory=dict,
        description="Local targets by MakeHuman name, in [-1, 1]; a name without its l- or r- changes both sides.",
    )


class TargetFile(BaseModel):
    """A user-supplied MakeHuman or MPFB2 target file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", description="Name by which the groups' targets refer to it."
    )
    path: str = Field(description="Path of the .target or .target.gz file, relative to the spec.")
    sha256: str | None = Field(None, description="Digest of the file; filled in when the spec is read.")


class ShapeSpace(BaseModel):
    """A population of bodies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field("", description="Who the people are, and the source.")
    groups: tuple[ShapeGroup, ...] = Field(
        min_length=1, description="Groups of people, drawn in proportion to their weights."
    )
    targets: Targets = Field(
        default_factory=dict, description="Local targets for every group; an entry in a group overrides the one here."
    )
    target_files: tuple[TargetFile, ...] = Field((), description="User-supplied target files.")
