"""The samples of each step of a training from a spec: in the order of the stored dataset, or N steps in total.

The only randomness is the order of `synthgen.training.streaming.batches`, so the step is enough to resume.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SynthgenError
from synthgen.training.streaming.batches import WINDOW, epoch_windows


@dataclass(frozen=True)
class LiveSplit:
    """A split, divided as a stored dataset would divide it."""

    sizes: tuple[int, ...]
    """Samples of each shard."""
    indices: Callable[[int], NDArray[np.int64]]
    """Return the indices (n,) of a shard's samples."""

    def first(self, samples: int | None) -> "LiveSplit":
        """Return its first samples; all for None."""
        left, sizes = sum(self.sizes) if samples is None else samples, []
        for size in self.sizes:
            if left > 0:
                sizes.append(min(size, left))
                left -= size
        return LiveSplit(tuple(sizes), self.indices)


@dataclass(frozen=True)
class Pace:
    """How samples are divided into steps, and steps into the epochs of a training config.

    Without ``steps``, as for a stored dataset: every sample once per epoch, and the last batch of an epoch may be
    smaller. With ``steps``, all batches are full and the steps are divided evenly among the epochs.
    """

    samples: int
    """Samples per round through the data."""
    batch: int
    epochs: int
    """Epochs of the training config, by which the learning rate decays."""
    steps: int | None = None
    """Optimizer steps in total."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < self.epochs:
            raise SynthgenError(
                f"--steps: value {self.steps}; give at least {self.epochs}, one for each epoch of the training config"
            )

    @property
    def all_steps(self) -> int:
        """Optimizer steps in total."""
        return self.start(self.epochs)

    def start(self, epoch: int) -> int:
        """Return the number of steps before an epoch, counted from 0."""
        if self.steps is None:
            return epoch * math.ceil(self.samples / self.batch)
        return epoch * self.steps // self.epochs

    def parts(self, step: int) -> list[tuple[int, int, int]]:
        """Return the samples of a step as (round, start, end), in the order of each round."""
        if self.steps is None:
            done, number = divmod(step, math.ceil(self.samples / self.batch))
            return [(done, number * self.batch, min((number + 1) * self.batch, self.samples))]
        parts, position, end = [], step * self.batch, (step + 1) * self.batch
        while position < end:
            done, start = divmod(position, self.samples)
            taken = min(self.samples - start, end - position)
            parts.append((done, start, start + taken))
            position += taken
        return parts


class RoundOrder:
    """The order of one round through a split, with only a few windows in memory at a time."""

    def __init__(self, split: LiveSplit, seed: int, number: int, window: int = WINDOW) -> None:
        self._split = split
        self._windows: Callable[[], Iterator[NDArray[np.int32]]] = lambda: epoch_windows(
            split.sizes, seed, number, window
        )
        self._begin()

    def indices(self, start: int, end: int) -> NDArray[np.int64]:
        """Return the indices of the samples from one position to another; fast forwards, slow backwards."""
        if start < self._first:
            self._begin()
        while self._end < end:
            window = next(self._coming)
            self._kept.append(window)
            self._end += len(window)
        while self._first + len(self._kept[0]) <= start:
            self._first += len(self._kept.pop(0))
        pairs = np.concatenate(self._kept)[start - self._first : end - self._first]
        return indices_of(self._split, pairs)

    def _begin(self) -> None:
        self._coming, self._first, self._end = self._windows(), 0, 0
        self._kept: list[NDArray[np.int32]] = []


def indices_of(split: LiveSplit, pairs: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the indices (n,) of samples given as pairs (shard, row)."""
    indices = np.empty(len(pairs), dtype=np.int64)
    for shard in np.unique(pairs[:, 0]).tolist():
        here = pairs[:, 0] == shard
        indices[here] = split.indices(shard)[pairs[here, 1]]
    return indices


def pieces(indices: NDArray[np.int64], size: int) -> Sequence[NDArray[np.int64]]:
    """Split indices into pieces of at most ``size``; no pieces if there are no indices."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]
