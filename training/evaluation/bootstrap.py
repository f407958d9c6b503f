"""Means, deviations and percentiles of errors, with intervals from a bootstrap that draws whole subjects.

Scans of one person err alike, so drawing scans one by one would make intervals too narrow: subjects are drawn instead,
each with all its scans (Davison and Hinkley 1997, *Bootstrap methods and their application*, 3.8). The intervals are
percentiles; from fewer than about ten subjects they are still too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import Floats
from synthgen.randomness.seeding import stream

DRAWS = 2000
LEVEL = 0.95
Interval = tuple[float, float]
"""Lower and upper end of the interval at `LEVEL`."""


@dataclass(frozen=True)
class Bootstrap:
    """Which subjects each draw holds: the same draws for every method, so that methods can be compared."""

    subject_of: NDArray[np.intp]
    """(N,) subject of each scan, from 0."""
    times: Floats
    """(B, S) how often each draw holds each subject."""


@dataclass(frozen=True)
class Stats:
    """Errors of one landmark, or of several together; numbers are NaN where nothing is known."""

    known: int
    """Errors that went in."""
    mean: float
    """Mean over landmarks of each landmark's mean."""
    rmse: float
    """Mean over landmarks of each landmark's root mean square."""
    sd: float
    """Deviation of all errors together, with N - 1."""
    median: float
    """Of all errors together."""
    mean_interval: Interval | None
    """None where there is one subject, or nothing is known."""
    rmse_interval: Interval | None


def draw_subjects(subjects: Sequence[str], seed: int = 0, draws: int = DRAWS) -> Bootstrap:
    """Draw subjects with replacement, as many as there are, again and again; the order of scans does not count.

    Args:
        subjects: (N,) of the scans.
        seed: Another seed draws others.
        draws: How many times.

    """
    names, subject_of = np.unique(np.array(subjects, dtype=str), return_inverse=True)
    chance = np.full(len(names), 1 / len(names))
    times = stream(seed, 0, "bootstrap").multinomial(len(names), chance, size=draws).astype(np.float64)
    return Bootstrap(subject_of.reshape(-1), times)


def describe(errors: Floats, bootstrap: Bootstrap) -> Stats:
    """Describe errors (N, K), NaN where one is not known."""
    known = errors[np.isfinite(errors)]
    return Stats(
        known=known.size,
        mean=_mean(_column_means(errors)),
        rmse=_mean(np.sqrt(_column_means(errors**2))),
        sd=float(known.std(ddof=1)) if known.size > 1 else float("nan"),
        median=float(np.median(known)) if known.size else float("nan"),
        mean_interval=interval(mean_draws(errors, bootstrap)),
        rmse_interval=interval(_over_columns(np.sqrt(_drawn(errors**2, bootstrap)))),
    )


def mean_draws(errors: Floats, bootstrap: Bootstrap) -> Floats:
    """Return `Stats.mean` of errors (N, K) in each draw, (B,), NaN where it holds none; (0,) for a single subject."""
    return _over_columns(_drawn(errors, bootstrap))


def ratio_of(one: Floats, other: Floats, bootstrap: Bootstrap) -> tuple[float, Interval | None]:
    """Return the ratio of `Stats.mean` of errors (N, K) of two methods, and its interval; NaN if the other has none."""
    means = np.array([_mean(_column_means(one))]), np.array([_mean(_column_means(other))])
    drawn = mean_draws(one, bootstrap), mean_draws(other, bootstrap)
    return float(_ratio(*means)[0]), interval(_ratio(*drawn))


def interval(draws: Floats) -> Interval | None:
    """Return the interval that holds the middle `LEVEL` of what was drawn."""
    known = draws[np.isfinite(draws)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def share_within(errors: Floats, radius: float) -> float:
    """Return the share of known errors that are at most a radius: the success rate. NaN where none is known."""
    known = errors[np.isfinite(errors)]
    return float((known <= radius).mean()) if known.size else float("nan")


def count_beyond(errors: Floats, radius: float) -> int:
    """Return how many known errors are above a radius: the outliers."""
    return int((errors[np.isfinite(errors)] > radius).sum())


def _drawn(values: Floats, bootstrap: Bootstrap) -> Floats:
    """Return the mean of each column of values (N, K) in each draw, (B, K)."""
    subjects = bootstrap.times.shape[1]
    if subjects < 2:
        return np.empty((0, values.shape[1]))
    known = np.isfinite(values)
    sums, counts = np.zeros((2, subjects, values.shape[1]))
    np.add.at(sums, bootstrap.subject_of, np.where(known, values, 0))
    np.add.at(counts, bootstrap.subject_of, known)
    return _ratio(bootstrap.times @ sums, bootstrap.times @ counts)


def _column_means(values: Floats) -> Floats:
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))


def _over_columns(values: Floats) -> Floats:
    """Return the mean of each row of (B, K), of what is known."""
    return _column_means(values.T)


def _mean(values: Floats) -> float:
    return float(_column_means(values[:, None])[0])


def _ratio(sums: Floats, counts: Floats) -> Floats:
    """Return sums by counts, NaN where the count is 0."""
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
