"""The recipe: every number of a training, in a small YAML file."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from synthgen.errors import SpecError
from synthgen.specs.builtin import suggestion
from synthgen.specs.messages import spec_error
from synthgen.specs.safe_yaml import read_yaml
from synthgen.specs.spec import Whole
from synthgen.training.networks.paper_net import Arch
from synthgen.training.streaming.augmentation import Augmentation
from synthgen.training.streaming.packed_samples import Inputs


def _paper_range(value: float) -> float:
    if value not in {0.5, 1.0}:
        raise PydanticCustomError("range", "{text}", {"text": f"value {value:g}; give 1 or 0.5"})
    return value


class Rate(BaseModel):
    """The learning rate over the epochs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(0.01, gt=0, strict=True, description="Rate of the first epoch.")
    decay: float = Field(1.0, gt=0, le=1, strict=True, description="Factor after each epoch.")
    drop: float = Field(1.0, gt=0, le=1, strict=True, description="Factor after each epoch that drop_after names.")
    drop_after: tuple[Whole, ...] = Field((), description="Epochs, counted from 1, after which the rate drops once.")
    last: float | None = Field(
        None, gt=0, strict=True, description="Rate that the end is reached with, along half a cosine, update by update."
    )

    @model_validator(mode="after")
    def _one_way_to_fall(self) -> Self:
        if self.last is not None and (self.decay != 1 or self.drop_after or self.drop != 1):
            raise PydanticCustomError("fall", "{text}", {"text": "stands beside decay or drop; keep one way to fall"})
        return self

    def at(self, epoch: int, epochs: int, part: float) -> float:
        """Return the rate in an epoch, from 0, of which ``part`` (0 to 1) is done."""
        if self.last is not None:
            done = (epoch + part) / epochs
            return self.last + (self.first - self.last) * (1 + math.cos(math.pi * done)) / 2
        return self.first * self.decay**epoch * self.drop ** sum(epoch >= end for end in self.drop_after)


class Recipe(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("own", pattern="^[a-z][a-z0-9_]*$", max_length=64, description="Name of the recipe.")
    arch: Arch = Field("paper", description="Which network: paper (Table 1) or heatmap.")
    input: Inputs = Field("mask", description="What the network looks at: mask, or normalized depth.")
    label_range: Annotated[float, AfterValidator(_paper_range)] = Field(
        1.0,
        strict=True,
        description="Labels lie within plus and minus this: 1 as the paper's text, 0.5 as its equation.",
    )
    dropout: float = Field(0.5, ge=0, lt=1, strict=True, description="Share of hidden units left out in training.")
    samples: Whole | None = Field(
        None, ge=1, description="Train with so many, the first of the split; all if left out."
    )
    epochs: Whole = Field(30, ge=1, le=1_000_000, description="Times that every sample is seen.")
    batch: Whole = Field(100, ge=1, le=1_000_000, description="Samples of an update, over all GPUs together.")
    rate: Rate = Field(Rate(), description="The learning rate.")
    optimizer: Literal["sgd", "adam"] = Field(
        "sgd", description="How weights move along the gradient: sgd as in the paper, or adam, which learns sooner."
    )
    momentum: float = Field(0.9, ge=0, lt=1, strict=True, description="Share of the last step that goes on.")
    squares: float = Field(
        0.99, ge=0, lt=1, strict=True, description="Share of adam's mean squared gradient that goes on."
    )
    clip: float | None = Field(
        None,
        gt=0,
        strict=True,
        description="Longest gradient, of all weights together; a longer one is shortened to it.",
    )
    weight_decay: float = Field(0.0, ge=0, strict=True, description="Pull of the weights towards 0.")
    artefacts: bool = Field(default=True, strict=True, description="Put the dataset's artefacts on its masks.")
    augmentation: Augmentation | None = Field(None, description="Turn, scale and shift the patches.")
    seed: Whole = Field(0, ge=0, lt=2**63, description="Of weights, order, dropout and augmentation.")

    def changed(self, **values: Any) -> "Recipe":
        """Return the recipe with other values.

        Raises:
            SpecError: A value is not allowed.

        """
        return _validated({**self.model_dump(), **{k: v for k, v in values.items() if v is not None}}, lambda _: "")


def recipe_names() -> tuple[str, ...]:
    """Return the names of the built-in recipes, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def load_recipe(source: str | Path) -> Recipe:
    """Return the recipe of a YAML file, or the built-in one of a name where there is no such file.

    Raises:
        SpecError: There is none, or it cannot be used as written.

    """
    path = Path(source)
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    if not path.is_file():
        if path.parent != Path() or stem not in recipe_names():
            reason = "is a folder" if path.is_dir() else "no such file, and no built-in recipe of that name"
            raise SpecError(f"{source}: {reason}; {suggestion(stem, recipe_names())}")
        path = _folder() / f"{stem}.yaml"
    document = read_yaml(path)
    name = stem if "name" not in document.data and _is_name(stem) else None
    return _validated({**({"name": name} if name else {}), **document.data}, document.place)


def _validated(data: dict[str, Any], place: Any) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise spec_error(error, Recipe, data, place) from None


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.islower() and text.isascii() and not text.startswith("_")


def _folder() -> Path:
    spec = find_spec("synthgen.training.loop")
    if spec is None or not spec.submodule_search_locations:
        raise SpecError("package synthgen.training is not installed; install synthgen again")
    return Path(next(iter(spec.submodule_search_locations)), "configs")
