"""The training config: all settings of a training, in a small YAML file."""

from collections.abc import Mapping
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
from synthgen.training.loop.learning_rate import Constant, Schedule
from synthgen.training.networks.paper_net import Arch
from synthgen.training.streaming.augmentation import Augmentation
from synthgen.training.streaming.packed_samples import Inputs

Share = Annotated[float, Field(ge=0, lt=1, strict=True)]


def _paper_range(value: float) -> float:
    if value not in {0.5, 1.0}:
        raise PydanticCustomError("range", "{text}", {"text": f"value {value:g}; give 1 or 0.5"})
    return value


class TrainingConfig(BaseModel):
    """How a network is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("own", pattern="^[a-z][a-z0-9_]*$", max_length=64, description="Name of the training config.")
    arch: Arch = Field("paper", description="Network architecture: paper (Table 1) or heatmap.")
    input: Inputs = Field("mask", description="Input of the network: mask, or normalized depth.")
    label_range: Annotated[float, AfterValidator(_paper_range)] = Field(
        1.0,
        strict=True,
        description="Labels lie within plus and minus this: 1 as in the paper's text, 0.5 as in its equation.",
    )
    dropout: float = Field(0.5, ge=0, lt=1, strict=True, description="Probability that a hidden unit is dropped.")
    samples: Whole | None = Field(
        None, ge=1, description="Train on the first N samples of the split; on all if left out."
    )
    epochs: Whole = Field(30, ge=1, le=1_000_000, description="Number of passes over the samples.")
    batch_size: Whole = Field(100, ge=1, le=1_000_000, description="Samples per step, over all GPUs together.")
    lr: float = Field(0.01, gt=0, strict=True, description="Learning rate at the start.")
    lr_schedule: Schedule = Field(
        Constant(), description="How the learning rate falls: constant, exponential, multistep or cosine."
    )
    optimizer: Literal["sgd", "adam"] = Field(
        "sgd", description="sgd as in the paper, or adam (AdamW), which needs fewer steps."
    )
    momentum: Share | None = Field(None, description="Momentum of sgd; 0.9 if left out.")
    betas: tuple[Share, Share] | None = Field(
        None, description="Decay rates of adam's running means of gradient and squared gradient; 0.9, 0.99 if left out."
    )
    clip_grad_norm: float | None = Field(
        None, gt=0, strict=True, description="Largest norm of the gradient over all weights; longer ones are scaled."
    )
    weight_decay: float = Field(0.0, ge=0, strict=True, description="Weight decay.")
    artefacts: bool = Field(default=True, strict=True, description="Apply the dataset's artefacts to its masks.")
    augmentation: Augmentation | None = Field(None, description="Random rotation, scale and shift of the patches.")
    seed: Whole = Field(0, ge=0, lt=2**63, description="Seed of the weights, order, dropout and augmentation.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_optimizer(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        used = ("betas", (0.9, 0.99)) if data.get("optimizer") == "adam" else ("momentum", 0.9)
        return {**data, used[0]: used[1]} if data.get(used[0]) is None else data

    @model_validator(mode="after")
    def _fits_the_optimizer(self) -> Self:
        unused, used = ("momentum", "betas") if self.optimizer == "adam" else ("betas", "momentum")
        if getattr(self, unused) is not None:
            text = f"optimizer {self.optimizer} does not have it; remove it, or give {used}"
            raise PydanticCustomError("optimizer", "{text}", {"text": text, "field": (unused,)})
        return self

    def lr_at(self, epoch: int, part: float) -> float:
        """Return the learning rate in an epoch, counted from 0, of which ``part`` (0 to 1) is done."""
        return self.lr_schedule.at(self.lr, epoch, self.epochs, part)

    def changed(self, **values: Any) -> "TrainingConfig":
        """Return the config with other values; None leaves a value as it is.

        Raises:
            SpecError: A value is not allowed.

        """
        changes = {name: value for name, value in values.items() if value is not None}
        kept = self.model_dump(exclude={"momentum", "betas"} if "optimizer" in changes else None)
        return _validated({**kept, **changes}, lambda _: "")


def config_names() -> tuple[str, ...]:
    """Return the names of the built-in configs, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def load_config(source: str | Path) -> TrainingConfig:
    """Return the training config in a YAML file, or the built-in one of that name if there is no such file.

    Raises:
        SpecError: There is no such config, or a value in it is not allowed.

    """
    path = Path(source)
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    if not path.is_file():
        if path.parent != Path() or stem not in config_names():
            reason = "is a folder" if path.is_dir() else "no such file, and no built-in config of that name"
            raise SpecError(f"{source}: {reason}; {suggestion(stem, config_names())}")
        path = _folder() / f"{stem}.yaml"
    document = read_yaml(path)
    name = stem if "name" not in document.data and _is_name(stem) else None
    return _validated({**({"name": name} if name else {}), **document.data}, document.place)


def _validated(data: dict[str, Any], place: Any) -> TrainingConfig:
    try:
        return TrainingConfig.model_validate(data)
    except ValidationError as error:
        raise spec_error(error, TrainingConfig, data, place) from None


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.islower() and text.isascii() and not text.startswith("_")


def _folder() -> Path:
    spec = find_spec("synthgen.training.loop")
    if spec is None or not spec.submodule_search_locations:
        raise SpecError("package synthgen.training is not installed; install synthgen again")
    return Path(next(iter(spec.submodule_search_locations)), "configs")
