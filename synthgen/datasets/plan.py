"""Which samples are in which shard of a dataset: a function of its name, version and count alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.storage.dataset_paths import LAST, PARTS, PICTURES, PREVIEW, labels_path

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_CYCLE = 50
_OFFSET = {"train": 0, "validation": 48, "test": 49}
_TRAIN_OF_CYCLE = 48
_ONE_SHARD_BELOW = 160
_PER_SIXTEEN = 137_600


@dataclass(frozen=True)
class ShardPlan:
    """One archive: its place in the dataset and the samples in it."""

    number: int
    """Through all splits."""
    split: Split
    position: int
    """Among the shards of the split."""
    of: int
    """Shards of the split."""
    first: int
    """Rank of its first sample among the samples of the split."""
    samples: int
    path: str
    """Relative to the dataset, with forward slashes."""

    @property
    def indices(self) -> NDArray[np.int64]:
        """(n,) indices of its samples, ascending."""
        ranks = np.arange(self.first, self.first + self.samples, dtype=np.int64)
        if self.split == "train":
            return ranks // _TRAIN_OF_CYCLE * _CYCLE + ranks % _TRAIN_OF_CYCLE
        return ranks * _CYCLE + _OFFSET[self.split]

    @property
    def part(self) -> str:
        """Path of its label lines, relative to the dataset."""
        return f"{PARTS}/{self.split}-{self.position:05d}.jsonl.gz"


def split_of(index: int) -> Split:
    """Return the split of a sample; it depends on nothing but the index."""
    return {48: SPLITS[1], 49: SPLITS[2]}.get(index % _CYCLE, SPLITS[0])


def plan_shards(name: str, version: int, count: int) -> tuple[ShardPlan, ...]:
    """Lay out the samples 0 to count - 1; a split without samples has no shards.

    Args:
        name: The dataset's.
        version: The dataset's.
        count: Samples, at least 1.

    """
    plans: list[ShardPlan] = []
    for split in SPLITS:
        samples = _split_size(split, count)
        of = _shard_count(samples)
        for position in range(of):
            first, end = position * samples // of, (position + 1) * samples // of
            path = f"{split}/synthgen-{name}-v{version}-{split}-{position:05d}-of-{of:05d}.tar"
            plans.append(ShardPlan(len(plans), split, position, of, first, end - first, path))
    return tuple(plans)


def find_plan(plans: Iterable[ShardPlan], index: int) -> ShardPlan | None:
    """Return the shard of a sample; None where there is none."""
    split, cycles = split_of(index), index // _CYCLE
    rank = cycles * _TRAIN_OF_CYCLE + index % _CYCLE if split == "train" else cycles
    return next((p for p in plans if p.split == split and p.first <= rank < p.first + p.samples), None)


def dataset_paths(plans: Sequence[ShardPlan]) -> set[str]:
    """Return the paths that a dataset of these shards may have, relative to its folder."""
    tables = {PREVIEW, *(labels_path(plan.split) for plan in plans)}
    return {*LAST, *PICTURES, *tables, *(plan.path for plan in plans)}


def _split_size(split: Split, count: int) -> int:
    cycles, rest = divmod(count, _CYCLE)
    if split == "train":
        return cycles * _TRAIN_OF_CYCLE + min(rest, _TRAIN_OF_CYCLE)
    return cycles + (rest > _OFFSET[split])


def _shard_count(samples: int) -> int:
    return 16 * -(-samples // _PER_SIXTEEN) if samples >= _ONE_SHARD_BELOW else min(samples, 1)
