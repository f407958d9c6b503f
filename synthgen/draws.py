"""Draws a whole table of named numbers at once: one substream each, the common kinds in one vectorized step."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from synthgen.distributions import Constant, Normal, Uniform
from synthgen.geometry import Floats
from synthgen.seeding import Stream, substream


class DrawTable:
    """Named distributions, prepared for drawing many times."""

    def __init__(self, distributions: Mapping[str, Any]) -> None:
        self.names = tuple(distributions)
        kinds = [(i, substream(name), one) for i, (name, one) in enumerate(distributions.items())]
        self._constants = [(i, one.value) for i, _, one in kinds if isinstance(one, Constant)]
        self._others = [(i, code, one) for i, code, one in kinds if not isinstance(one, (Constant, Uniform, Normal))]
        uniforms = [(i, code, one) for i, code, one in kinds if isinstance(one, Uniform)]
        self._uniforms = _Places(uniforms)
        self._low_high = np.array([(one.low, one.high) for _, _, one in uniforms], dtype=np.float64).reshape(-1, 2).T
        normals = [(i, code, one) for i, code, one in kinds if isinstance(one, Normal)]
        self._normals = _Places(normals)
        bounds = [(one.mean, one.sd, one.low, one.high) for _, _, one in normals]
        self._normal = TruncatedNormals(*np.array(bounds, dtype=np.float64).reshape(-1, 4).T)

    def draw(self, stream: Stream) -> Floats:
        """Draw one value for each name, (N,) in the order of ``names``."""
        values = np.empty(len(self.names))
        for i, value in self._constants:
            values[i] = value
        if len(self._uniforms.at):
            low, high = self._low_high
            u = self._uniforms.draw(stream)
            values[self._uniforms.at] = np.clip(low * (1 - u) + high * u, low, high)
        if len(self._normals.at):
            values[self._normals.at] = self._normal.quantile(self._normals.draw(stream))
        for i, code, distribution in self._others:
            values[i] = distribution.draw(stream.at_code(code), 1)[0]
        return values


class _Places:
    """Where the numbers of one kind stand, and their substreams."""

    def __init__(self, entries: list[tuple[int, int, Any]]) -> None:
        self.at: NDArray[np.intp] = np.array([i for i, _, _ in entries], dtype=np.intp)
        self._codes = [code for _, code, _ in entries]

    def draw(self, stream: Stream) -> Floats:
        """Draw a uniform for each, (N,)."""
        return np.array([stream.at_code(code).random() for code in self._codes])


class TruncatedNormals:
    """Truncated normal distributions (N,), prepared for inverting their distribution functions."""

    def __init__(self, mean: Floats, sd: Floats, low: Floats, high: Floats) -> None:
        self._mean, self._low, self._high = mean, low, high
        a, b = (low - mean) / sd, (high - mean) / sd
        self._flip = a > 0  # the distribution function is only precise in its lower tail
        self._log_a = log_ndtr(np.where(self._flip, -b, a))
        self._log_b = log_ndtr(np.where(self._flip, -a, b))
        self._sd = np.where(self._flip, -sd, sd)

    def quantile(self, u: Floats) -> Floats:
        """Return the values (N,) below which the fractions u (N,) of the distributions lie."""
        u = np.where(self._flip, 1 - u, u)
        with np.errstate(divide="ignore"):  # the logarithm of 0 is the lower bound
            logs = np.logaddexp(self._log_a + np.log1p(-u), self._log_b + np.log(u))
        values = self._mean + self._sd * ndtri_exp(np.minimum(logs, 0.0))
        return cast("Floats", np.minimum(np.maximum(values, self._low), self._high))
