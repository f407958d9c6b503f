"""Draws a whole table of named numbers at once: one substream each, the common kinds in one vectorized step."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from synthgen.distributions import Constant, Normal, Uniform
from synthgen.geometry import Floats
from synthgen.seeding import Stream


class DrawTable:
    """Named distributions, prepared for drawing many times."""

    def __init__(self, distributions: Mapping[str, Any]) -> None:
        self.names = tuple(distributions)
        kinds = [(i, name, one) for i, (name, one) in enumerate(distributions.items())]
        self._constants = [(i, one.value) for i, _, one in kinds if isinstance(one, Constant)]
        self._uniforms = [(i, name) for i, name, one in kinds if isinstance(one, Uniform)]
        self._normals = [(i, name) for i, name, one in kinds if isinstance(one, Normal)]
        self._others = [(i, name, one) for i, name, one in kinds if not isinstance(one, (Constant, Uniform, Normal))]
        low_high = [(one.low, one.high) for _, _, one in kinds if isinstance(one, Uniform)]
        self._low_high = np.array(low_high, dtype=np.float64).reshape(-1, 2).T
        normal = [(one.mean, one.sd, one.low, one.high) for _, _, one in kinds if isinstance(one, Normal)]
        self._normal = np.array(normal, dtype=np.float64).reshape(-1, 4).T

    def draw(self, stream: Stream) -> Floats:
        """Draw one value for each name, (N,) in the order of ``names``."""
        values = np.empty(len(self.names))
        for i, value in self._constants:
            values[i] = value
        if self._uniforms:
            low, high = self._low_high
            u = np.array([stream.at(name).random() for _, name in self._uniforms])
            values[[i for i, _ in self._uniforms]] = np.clip(low * (1 - u) + high * u, low, high)
        if self._normals:
            u = np.array([stream.at(name).random() for _, name in self._normals])
            values[[i for i, _ in self._normals]] = truncated_normal(u, *self._normal)
        for i, name, distribution in self._others:
            values[i] = distribution.draw(stream.at(name), 1)[0]
        return values


def truncated_normal(u: Floats, mean: Floats, sd: Floats, low: Floats, high: Floats) -> Floats:
    """Invert the distribution function of truncated normals at u, all (N,)."""
    a, b = (low - mean) / sd, (high - mean) / sd
    flip = a > 0  # the distribution function is only precise in its lower tail
    a, b, u = np.where(flip, -b, a), np.where(flip, -a, b), np.where(flip, 1 - u, u)
    with np.errstate(divide="ignore"):  # the logarithm of 0 is the lower bound
        logs = np.logaddexp(log_ndtr(a) + np.log1p(-u), log_ndtr(b) + np.log(u))
    z = ndtri_exp(np.minimum(logs, 0.0)) * np.where(flip, -1, 1)
    return cast("Floats", np.clip(mean + sd * z, low, high))
