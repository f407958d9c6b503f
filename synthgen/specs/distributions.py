"""The distributions from which a spec's numbers are drawn.

Each distribution is a frozen model tagged by ``kind``; in YAML a bare number means a constant. ``draw(rng, n)`` takes
a number of uniforms from ``rng`` that depends only on ``n`` and the distribution's kind, never on the values drawn, so
that changing a bound does not affect other draws of the same stream.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import PydanticCustomError, core_schema

Floats = NDArray[np.float64]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; text and booleans are rejected, not converted."""
Weight = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class _Distribution(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Constant(_Distribution):
    """Always the same number; the short form is the number itself."""

    kind: Literal["constant"] = "constant"
    value: Number = Field(description="The number, in the unit of the field.")

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Return the value n times, (n,) float64; ``rng`` is not used."""
        return np.full(n, self.value)

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value that can be drawn."""
        return self.value, self.value


class Uniform(_Distribution):
    """Every number between two bounds, equally likely."""

    kind: Literal["uniform"]
    low: Number = Field(description="Smallest value, in the unit of the field.")
    high: Number = Field(description="Largest value, at least low.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _require_order(self.low, self.high)
        return self

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw n values, (n,) float64, from one uniform each."""
        return _between(rng.random(n), self.low, self.high)

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value that can be drawn."""
        return self.low, self.high


class Normal(_Distribution):
    """A normal distribution truncated to two bounds (not clipped to them)."""

    kind: Literal["normal"]
    mean: Number = Field(description="Mean before truncation, in the unit of the field.")
    sd: Number = Field(gt=0, description="Standard deviation before truncation, above 0, in the unit of the field.")
    low: Number = Field(description="Smallest value.")
    high: Number = Field(description="Largest value, at least low.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _require_order(self.low, self.high)
        return self

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw n values, (n,) float64, by inverting the distribution function of one uniform each."""
        z = _standard_normal_between(rng.random(n), (self.low - self.mean) / self.sd, (self.high - self.mean) / self.sd)
        return np.clip(self.mean + self.sd * z, self.low, self.high)

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value that can be drawn."""
        return self.low, self.high


class Beta(_Distribution):
    """A beta distribution scaled from [0, 1] to two bounds."""

    kind: Literal["beta"]
    alpha: Number = Field(gt=0, description="First shape parameter, above 0; equal to beta: symmetric.")
    beta: Number = Field(gt=0, description="Second shape parameter, above 0.")
    low: Number = Field(default=0.0, description="Smallest value, in the unit of the field.")
    high: Number = Field(default=1.0, description="Largest value, at least low.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _require_order(self.low, self.high)
        return self

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw n values, (n,) float64, by inverting the distribution function of one uniform each."""
        from scipy.special import betaincinv  # noqa: PLC0415 (scipy takes longer to load than everything else here)

        return _between(betaincinv(self.alpha, self.beta, rng.random(n)), self.low, self.high)

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value that can be drawn."""
        return self.low, self.high


class Choice(_Distribution):
    """One of the listed numbers."""

    kind: Literal["choice"]
    values: tuple[Number, ...] = Field(min_length=1, description="The numbers, in the unit of the field.")
    weights: tuple[Weight, ...] | None = Field(
        default=None, description="One weight for each value, at least 0; they need not sum to 1. Default: equal."
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        _require_weights(self.weights, len(self.values), "values")
        return self

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw n values, (n,) float64, from one uniform each."""
        return np.asarray(self.values, dtype=np.float64)[_pick(rng.random(n), self.weights, len(self.values))]

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value that can be drawn."""
        possible = _possible(self.values, self.weights)
        return min(possible), max(possible)


class Mixture(_Distribution):
    """One of several distributions, chosen independently for each value."""

    kind: Literal["mixture"]
    parts: tuple["Distribution", ...] = Field(min_length=1, description="The distributions to choose from.")
    weights: tuple[Weight, ...] | None = Field(
        default=None, description="One weight for each part, at least 0; they need not sum to 1. Default: equal."
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        _require_weights(self.weights, len(self.parts), "parts")
        return self

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw n values, (n,) float64; every part draws n, so consumption does not depend on the choice."""
        picked = _pick(rng.random(n), self.weights, len(self.parts))
        drawn = np.stack([part.draw(rng, n) for part in self.parts])
        return cast("Floats", np.take_along_axis(drawn, picked[None, :], axis=0)[0])

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value that can be drawn."""
        supports = [part.support() for part in _possible(self.parts, self.weights)]
        return min(low for low, _ in supports), max(high for _, high in supports)


def _constant_of(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return {"kind": "constant", "value": value}


class _NumberAsConstant:
    """Annotation: a bare number means a constant, in validation and in the JSON schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(_constant_of, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, handler(schema)]}


Distribution = Annotated[
    Constant | Uniform | Normal | Beta | Choice | Mixture, Field(discriminator="kind"), _NumberAsConstant()
]
"""Any distribution, for use as a field's type; write ``Annotated[Distribution, Within(low, high)]`` to bound it."""

Mixture.model_rebuild()


class HasSupport(Protocol):
    """What `Within` needs to know about a distribution."""

    def support(self) -> tuple[float, float]:
        """Return the smallest and the largest value that can be drawn."""


S = TypeVar("S", bound=HasSupport)
T = TypeVar("T")


class Within:
    """Annotation: everything that the distribution can draw lies between two bounds."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, drawn: S) -> S:
        low, high = drawn.support()
        if not (self.low <= low and high <= self.high):
            spread = f"value {low:g}" if low == high else f"draws from {low:g} to {high:g}"
            raise PydanticCustomError(
                "within", "{text}", {"text": f"{spread}; keep it from {self.low:g} to {self.high:g}"}
            )
        return drawn


def _require_order(low: float, high: float) -> None:
    if low > high:
        raise PydanticCustomError("order", "{text}", {"text": f"low {low:g} is above high {high:g}; swap them"})


def _require_weights(weights: tuple[float, ...] | None, n: int, what: str) -> None:
    if weights is None:
        return
    if len(weights) != n:
        text = f"{len(weights)} weights for {n} {what}; give one weight for each"
        raise PydanticCustomError("weights", "{text}", {"text": text, "field": ("weights",)})
    if sum(weights) <= 0:
        text = "all weights are 0; make at least one positive"
        raise PydanticCustomError("weights", "{text}", {"text": text, "field": ("weights",)})


def _between(fraction: Floats, low: float, high: float) -> Floats:
    """Interpolate without overflow for the largest numbers, and without rounding beyond the bounds."""
    return np.clip(low * (1 - fraction) + high * fraction, low, high)


def _pick(uniforms: Floats, weights: tuple[float, ...] | None, n: int) -> NDArray[np.intp]:
    """Choose indices below n by uniforms in [0, 1); a weight of 0 is never chosen."""
    cumulative = np.cumsum(np.ones(n) if weights is None else np.asarray(weights) / max(weights))
    return np.searchsorted(cumulative / cumulative[-1], uniforms, side="right")


def _possible(items: Sequence[T], weights: tuple[float, ...] | None) -> list[T]:
    return [item for item, weight in zip(items, weights or (1.0,) * len(items), strict=True) if weight > 0]


def _standard_normal_between(uniforms: Floats, low: float, high: float) -> Floats:
    """Draw a standard normal truncated to [low, high] from uniforms (n,), accurate far into either tail."""
    if low > 0:  # the distribution function is only precise in its lower tail
        return -_standard_normal_between(1 - uniforms, -high, -low)
    from scipy.special import log_ndtr, ndtri_exp  # noqa: PLC0415 (as above)

    with np.errstate(divide="ignore"):  # the logarithm of 0 is the lower bound
        logs = np.logaddexp(log_ndtr(low) + np.log1p(-uniforms), log_ndtr(high) + np.log(uniforms))
    return cast("Floats", ndtri_exp(np.minimum(logs, 0.0)))
