"""Draws shapes: phenotypes conditioned on age and sex, and local targets.

The Beta distributions of height, weight, muscle and proportions given age and sex, and the map from years to
MakeHuman's age, are anny's calibration on WHO growth data (Bregier et al. 2025), which the baked model carries.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import betaincinv

from synthgen.draws import DrawTable
from synthgen.geometry import Floats
from synthgen.seeding import Stream
from synthgen.shape_space import ShapeGroup, ShapeSpace, Who

DECIMALS = 4
"""Recipes are rounded when they are drawn, so that the stored numbers give the same body again."""
_CONDITIONED = {"height": "height", "weight": "weight_phenotype", "muscle": "muscle", "proportions": "proportions"}


class ShapeDrawer:
    """A shape space, prepared for drawing."""

    def __init__(self, space: ShapeSpace, calibration: Mapping[str, Floats]) -> None:
        """Prepare a space.

        Args:
            space: The shape space.
            calibration: Tables by name: ``age_map`` (M, 2) of years and MakeHuman's age, and ``male.height`` … (A, 3)
                of MakeHuman's age, alpha and beta.
        """
        self._space = space
        self._calibration = calibration
        weights = np.array([group.weight for group in space.groups])
        self._cumulative = np.cumsum(weights) / weights.sum()
        tables = [{**space.targets, **group.targets} for group in space.groups]
        self._targets = [DrawTable({f"target/{name}": one for name, one in table.items()}) for table in tables]
        self._names = sorted({name for table in tables for name in table})

    def draw(self, stream: Stream) -> dict[str, float]:
        """Draw one shape: gender, age_years, age and the other phenotypes, then every target of the space.

        A target that the drawn group does not have is 0, so that every sample has the same keys.
        """
        chosen = int(np.searchsorted(self._cumulative, stream.at("group").random(), side="right"))
        chosen = min(chosen, len(self._space.groups) - 1)
        group = self._space.groups[chosen]
        years = float(group.age_years.draw(stream.at("age_years"), 1)[0])
        age = float(np.interp(years, *self._calibration["age_map"].T))
        shape = {"gender": 0.0 if group.sex == "male" else 1.0, "age_years": years, "age": age}
        for name, field in _CONDITIONED.items():
            shape[name] = self._phenotype(group, name, getattr(group, field), age, stream)
        table = self._targets[chosen]
        drawn = dict(zip(table.names, table.draw(stream), strict=True))
        shape |= {name: drawn.get(f"target/{name}", 0.0) for name in self._names}
        return {name: round(float(value), DECIMALS) for name, value in shape.items()}

    def _phenotype(self, group: ShapeGroup, name: str, wanted: object, age: float, stream: Stream) -> float:
        if not isinstance(wanted, Who):
            return float(wanted.draw(stream.at(name), 1)[0])  # type: ignore[attr-defined]  # any other is a distribution
        ages, alphas, betas = self._calibration[f"{group.sex}.{name}"].T
        alpha, beta = float(np.interp(age, ages, alphas)), float(np.interp(age, ages, betas))
        mean = alpha / (alpha + beta)
        value = float(betaincinv(alpha, beta, stream.at(name).random()))
        return min(max(mean + wanted.scale * (value - mean) + wanted.shift, 0.0), 1.0)
