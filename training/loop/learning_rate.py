"""Schedules of the learning rate: constant, exponential decay, drops at milestones, or cosine annealing."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from synthgen.specs.spec import Whole

Gamma = Annotated[float, Field(gt=0, le=1, strict=True)]


class _Schedule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Constant(_Schedule):
    """The same learning rate throughout."""

    kind: Literal["constant"] = "constant"

    def at(self, lr: float, epoch: int, epochs: int, part: float) -> float:
        """Return the learning rate in an epoch, counted from 0, of which ``part`` (0 to 1) is done."""
        return lr


class Exponential(_Schedule):
    """Exponential decay, one step after each epoch."""

    kind: Literal["exponential"]
    gamma: Gamma = Field(description="Factor after each epoch.")

    def at(self, lr: float, epoch: int, epochs: int, part: float) -> float:
        """Return the learning rate in an epoch, counted from 0, of which ``part`` (0 to 1) is done."""
        return lr * self.gamma**epoch


class MultiStep(_Schedule):
    """Drops after some epochs."""

    kind: Literal["multistep"]
    milestones: tuple[Whole, ...] = Field(min_length=1, description="Epochs, counted from 1, after which it drops.")
    gamma: Gamma = Field(0.1, description="Factor at each milestone.")

    def at(self, lr: float, epoch: int, epochs: int, part: float) -> float:
        """Return the learning rate in an epoch, counted from 0, of which ``part`` (0 to 1) is done."""
        return lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class Cosine(_Schedule):
    """Half a cosine from ``lr`` at the first step to ``final`` at the end of the last epoch, updated every step."""

    kind: Literal["cosine"]
    final: float = Field(gt=0, strict=True, description="Learning rate at the end.")

    def at(self, lr: float, epoch: int, epochs: int, part: float) -> float:
        """Return the learning rate in an epoch, counted from 0, of which ``part`` (0 to 1) is done."""
        done = (epoch + part) / epochs
        return self.final + (lr - self.final) * (1 + math.cos(math.pi * done)) / 2


Schedule = Annotated[Constant | Exponential | MultiStep | Cosine, Field(discriminator="kind")]
