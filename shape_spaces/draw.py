"""Draws shapes: phenotypes conditioned on age and sex, and local targets.

The Beta distributions of height, weight, muscle and proportions given age and sex, and the map from years to
MakeHuman's age, are anny's calibration on WHO growth data (Bregier et al. 2025), which the baked model carries.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import betaincinv

from synthgen.draws import DrawTable, rounded
from synthgen.geometry import Floats
from synthgen.seeding import Stream, substream
from synthgen.shape_space import ShapeGroup, ShapeSpace, Targets, Who

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
        weights = np.array([group.weight for group in space.groups])
        self._cumulative = np.cumsum(weights) / weights.sum()
        self._groups = [_Group(group, space.targets, calibration) for group in space.groups]
        targets = sorted({name for group in space.groups for name in (*space.targets, *group.targets)})
        self._absent = dict.fromkeys(targets, 0.0)
        self._choice = np.array([substream("group")], dtype=np.uint64)

    def draw(self, stream: Stream) -> dict[str, float]:
        """Draw one shape: gender, age_years, age and the other phenotypes, then every target of the space.

        A target that the drawn group does not have is 0, so that every sample has the same keys.
        """
        chosen = int(np.searchsorted(self._cumulative, stream.uniforms(self._choice)[0], side="right"))
        phenotypes, targets = self._groups[min(chosen, len(self._groups) - 1)].draw(stream)
        return rounded({**phenotypes, **self._absent, **targets}, DECIMALS)


class _Group:
    """One group of people, prepared for drawing."""

    def __init__(self, group: ShapeGroup, targets: Targets, calibration: Mapping[str, Floats]) -> None:
        wanted = {name: getattr(group, field) for name, field in _CONDITIONED.items()}
        plain = {name: one for name, one in wanted.items() if not isinstance(one, Who)}
        targets = {**targets, **group.targets}
        self._gender = 0.0 if group.sex == "male" else 1.0
        self._table = DrawTable(
            {"age_years": group.age_years, **plain, **{f"target/{name}": one for name, one in targets.items()}}
        )
        self._plain, self._targets = tuple(plain), tuple(targets)
        who = {name: one for name, one in wanted.items() if isinstance(one, Who)}
        self._who = tuple(who)
        self._codes = np.array([substream(name) for name in who], dtype=np.uint64)
        self._scale, self._shift = np.array([(one.scale, one.shift) for one in who.values()]).reshape(-1, 2).T
        self._age_map = calibration["age_map"].T
        self._betas = [calibration[f"{group.sex}.{name}"].T for name in who]

    def draw(self, stream: Stream) -> tuple[dict[str, float], dict[str, float]]:
        """Draw the phenotypes and the targets."""
        years, *values = self._table.draw(stream).tolist()
        age = float(np.interp(years, *self._age_map))
        drawn = dict(zip(self._plain, values, strict=False)) | self._conditioned(age, stream)
        phenotypes = {"gender": self._gender, "age_years": years, "age": age}
        phenotypes |= {name: drawn[name] for name in _CONDITIONED}
        return phenotypes, dict(zip(self._targets, values[len(self._plain) :], strict=True))

    def _conditioned(self, age: float, stream: Stream) -> dict[str, float]:
        """Draw the phenotypes that age and sex condition."""
        if not self._who:
            return {}
        alpha, beta = np.array([[np.interp(age, ages, row) for row in rows] for ages, *rows in self._betas]).T
        mean = alpha / (alpha + beta)
        values = mean + self._scale * (betaincinv(alpha, beta, stream.uniforms(self._codes)) - mean) + self._shift
        return dict(zip(self._who, np.minimum(np.maximum(values, 0.0), 1.0).tolist(), strict=True))
