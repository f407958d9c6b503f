"""The order of the samples, and the batches of an epoch.

The order is a function of (seed, epoch) and of the sizes of the shards. A batch is a function of its position in
the epoch. So the number of workers, threads and ranks does not affect training, and a position suffices to resume.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synthgen.randomness.seeding import stream
from synthgen.training.streaming.packed_samples import Block, join_blocks
from synthgen.training.streaming.preparation import Batch, Preparation
from synthgen.training.streaming.shard_cache import Blocks

WINDOW = 16
"""Shards that are shuffled together, so held in memory together; every split has 1 shard or a multiple of 16."""


@dataclass(frozen=True)
class Ranks:
    """The rank of this process among those that share each batch."""

    rank: int = 0
    count: int = 1


ALONE = Ranks()


class Batches(Protocol):
    """The batches of one epoch."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Batch: ...


class Epochs(Protocol):
    """The data that a network is trained on."""

    def epoch(self, epoch: int) -> Batches:
        """Return the batches of an epoch, from 0."""


def epoch_order(sizes: Sequence[int], seed: int, epoch: int, window: int = WINDOW) -> list[NDArray[np.int32]]:
    """Return all samples as pairs (block, row), each once, in windows (n, 2).

    The blocks are shuffled, then the samples of each ``window`` blocks. A window of 0 keeps the stored order.
    """
    return list(epoch_windows(sizes, seed, epoch, window))


def epoch_windows(sizes: Sequence[int], seed: int, epoch: int, window: int = WINDOW) -> Iterator[NDArray[np.int32]]:
    """Yield the windows of `epoch_order` one by one."""
    rng = stream(seed, epoch, "order")
    blocks = rng.permutation(len(sizes)) if window else np.arange(len(sizes))
    for start in range(0, len(blocks), window or 1):
        part = blocks[start : start + (window or 1)]
        pairs = np.concatenate([np.stack([np.full(sizes[b], b), np.arange(sizes[b])], axis=1) for b in part])
        yield (pairs[rng.permutation(len(pairs))] if window else pairs).astype(np.int32)


@dataclass(frozen=True)
class Stream:
    """Samples, shuffled and prepared, in batches."""

    blocks: Blocks
    preparation: Preparation
    batch: int
    """Samples per batch, over all ranks; the last batch of an epoch may be smaller."""
    seed: int = 0
    """Shuffling seed."""
    window: int = WINDOW
    ranks: Ranks = ALONE
    even: bool = False
    """Drop the last samples of an epoch so that all ranks get the same number."""

    def epoch(self, epoch: int) -> "Epoch":
        """Return the batches of an epoch."""
        return Epoch(self, epoch)


class Epoch:
    """The batches of one epoch, each made on access; also works with `torch.utils.data.DataLoader`."""

    def __init__(self, stream: Stream, epoch: int) -> None:
        self.stream, self.epoch = stream, epoch
        windows = epoch_order(stream.blocks.sizes, stream.seed, epoch, stream.window)
        self.order = np.concatenate(windows)
        if stream.even:
            self.order = self.order[: len(self.order) - len(self.order) % stream.ranks.count]
        self._ends = np.cumsum([len(window) for window in windows])
        self._blocks = [np.unique(window[:, 0]).tolist() for window in windows]
        self._prepared: tuple[int, int] | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.stream.batch)

    def __getitem__(self, number: int) -> Batch:
        """Return this rank's share of a batch: every N-th sample, for N ranks."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, ranks = number * self.stream.batch, self.stream.ranks
        pairs = self.order[start : start + self.stream.batch]
        self._prepare(start, start + len(pairs))
        block = self._gather(pairs[ranks.rank :: ranks.count])
        return self.stream.preparation.batch(block, self.epoch, len(pairs))

    def _prepare(self, start: int, end: int) -> None:
        """Start reading the shards of the windows with these samples, and of the next window."""
        first, last = np.searchsorted(self._ends, [start, end - 1], side="right").tolist()
        if self._prepared != (first, last):
            self._prepared = (first, last)
            self.stream.blocks.prepare([block for window in self._blocks[first : last + 2] for block in window])

    def _gather(self, pairs: NDArray[np.int32]) -> Block:
        """Return samples from their blocks, in the order of the pairs."""
        if not len(pairs):  # a rank without samples in a small last batch
            return self.stream.blocks.block(int(self.order[0, 0])).take(slice(0, 0))
        by_block = np.argsort(pairs[:, 0], kind="stable")
        numbers, starts = np.unique(pairs[by_block, 0], return_index=True)
        rows = np.split(pairs[by_block, 1], starts[1:])
        parts = [self.stream.blocks.block(n).take(r) for n, r in zip(numbers.tolist(), rows, strict=True)]
        return join_blocks(parts).take(np.argsort(by_block))


def prefetched(batches: Batches, start: int = 0, threads: int = 1) -> Iterator[Batch]:
    """Yield the batches from ``start`` on, in order, made ahead by threads; with 0 threads, each on demand."""
    if not threads:
        yield from (batches[number] for number in range(start, len(batches)))
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="synthgen-batches")
    try:
        waiting: deque[Future[Batch]] = deque()
        for number in range(start, len(batches)):
            waiting.append(pool.submit(batches.__getitem__, number))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
