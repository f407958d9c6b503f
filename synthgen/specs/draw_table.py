"""Draws tables of named numbers for several samples at once, the common kinds in one vectorized step.

Each number has its own substream, so it depends neither on the other numbers nor on the other samples.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from synthgen.geometry import Floats
from synthgen.randomness.seeding import Streams, substream
from synthgen.specs.distributions import Constant, Normal, Uniform

_TINY, _BELOW_ONE = 1e-300, 1 - 2.0**-53


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

    def draw(self, streams: Streams) -> Floats:
        """Draw one value for each name and sample, (n, names) in the order of ``names``."""
        values = np.empty((len(streams), len(self.names)))
        for i, value in self._constants:
            values[:, i] = value
        if len(self._uniforms.at):
            low, high = self._low_high
            u = self._uniforms.draw(streams)
            values[:, self._uniforms.at] = np.minimum(np.maximum(low * (1 - u) + high * u, low), high)
        if len(self._normals.at):
            values[:, self._normals.at] = self._normal.quantile(self._normals.draw(streams))
        for i, code, distribution in self._others:
            values[:, i] = distribution.draw(streams.at(code), len(streams))
        return values


class _Places:
    """The columns of the numbers of one kind, and their substreams."""

    def __init__(self, entries: list[tuple[int, int, Any]]) -> None:
        self.at: NDArray[np.intp] = np.array([i for i, _, _ in entries], dtype=np.intp)
        self._codes = np.array([code for _, code, _ in entries], dtype=np.uint64)

    def draw(self, streams: Streams) -> Floats:
        """Draw one uniform for each, (n, N)."""
        return streams.uniforms(self._codes)


class TruncatedNormals:
    """Truncated normal distributions (N,), prepared for evaluating their quantile functions."""

    def __init__(self, mean: Floats, sd: Floats, low: Floats, high: Floats) -> None:
        self._mean, self._low, self._high = mean, low, high
        a, b = (low - mean) / sd, (high - mean) / sd
        flip = a > 0  # the distribution function is only precise in its lower tail
        self._low_end, self._direction = np.where(flip, 1.0, 0.0), np.where(flip, -1.0, 1.0)
        self._log_a = log_ndtr(np.where(flip, -b, a))
        self._log_b = log_ndtr(np.where(flip, -a, b))
        self._sd = np.where(flip, -sd, sd)

    def quantile(self, u: Floats) -> Floats:
        """Return the quantiles (n, N) for the probabilities u (n, N)."""
        u = self._low_end + self._direction * u
        u = np.minimum(np.maximum(u, _TINY), _BELOW_ONE)  # avoids warnings about log(0)
        logs = np.logaddexp(self._log_a + np.log1p(-u), self._log_b + np.log(u))
        values = self._mean + self._sd * ndtri_exp(np.minimum(logs, 0.0))
        return cast("Floats", np.minimum(np.maximum(values, self._low), self._high))


def rounded(values: Floats, decimals: int) -> Floats:
    """Round numbers to a number of decimals, as they will be stored."""
    scale = 10.0**decimals
    return np.rint(values * scale) / scale


def named(names: Iterable[str], values: Floats) -> list[dict[str, float]]:
    """Return the rows of values (n, names) as dictionaries by name."""
    names = tuple(names)
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]
