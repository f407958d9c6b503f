"""Sources of blocks: shards, read on demand and cached within a memory budget, or arrays."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from synthgen.datasets.dataset import Dataset
from synthgen.datasets.manifest import Shard
from synthgen.datasets.plan import Split
from synthgen.errors import DatasetError
from synthgen.training.streaming.labels import LabelTable
from synthgen.training.streaming.packed_samples import Block, Inputs
from synthgen.training.streaming.shard_reader import check_shard, read_images


class Blocks(Protocol):
    """The samples of a split or a scan set, in blocks of known sizes."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of each block."""

    def block(self, number: int) -> Block:
        """Return a block; thread-safe."""

    def prepare(self, numbers: Iterable[int]) -> None:
        """Announce that exactly these blocks are in use or will be soon."""


@dataclass(frozen=True)
class ArrayBlocks:
    """One block that is already in memory, such as a scan set."""

    content: Block

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of the only block."""
        return (len(self.content),)

    def block(self, number: int) -> Block:
        """Return the only block."""
        if number != 0:
            raise IndexError(number)
        return self.content

    def prepare(self, numbers: Iterable[int]) -> None:
        """Do nothing: the block is in memory."""


class ShardBlocks:
    """The shards of a split, each read, checked and decoded on first use.

    Shards stay in memory, packed, until the budget is exceeded; then the least recently used ones are dropped, except
    those in use. 2.2 million masks of 96 x 96 with five fingertips take 2.7 GB.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        inputs: Inputs,
        samples: int | None = None,
        budget: int = 4 * 2**30,
    ) -> None:
        """Open a split.

        Args:
            dataset: An open dataset.
            split: Which split to read.
            inputs: Masks or depths; the other images are not decoded.
            samples: Use only the first N samples; None uses all.
            budget: Maximum number of bytes to keep in memory.

        Raises:
            DatasetError: The split has no samples, or its labels cannot be read.

        """
        self._setting = (dataset, split, inputs, samples, budget)
        self._shards = _first_shards(dataset.shards_of(split), samples)
        self._labels = LabelTable(dataset, split, inputs)
        self._kept = _Kept(budget)
        self._ahead: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of each shard."""
        return tuple(samples for _, samples in self._shards)

    def block(self, number: int) -> Block:
        """Return the samples of a shard.

        Raises:
            DatasetError: The shard is missing or damaged.

        """
        if self._process != os.getpid():  # a forked process shares open files and has no threads
            self.__setstate__(self.__getstate__())
        future, mine = self._kept.claim(number)
        if mine:
            try:
                future.set_result(self._read(number))
            except BaseException as error:
                self._kept.forget(number)
                future.set_exception(error)
                raise
            self._kept.shrink()
        return future.result()

    def prepare(self, numbers: Iterable[int]) -> None:
        """Start to read these shards in a background thread, and keep them in memory."""
        absent = self._kept.protect(numbers)
        if absent and self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, thread_name_prefix="synthgen-shards")
        for number in absent:
            if self._ahead is not None:
                self._ahead.submit(self.block, number)  # an error is raised again when the shard is used

    def _read(self, number: int) -> Block:
        dataset, _, inputs, *_ = self._setting
        shard, samples = self._shards[number]
        where, domain = f"{dataset.source.address}: {shard.path}", dataset.domain
        data = dataset.source.shard(shard.path, shard.bytes)
        check_shard(data, shard, where)
        indices, images = read_images(data, shard.samples, (domain.width, domain.height), inputs, where)
        labels = self._labels.read(number)
        if not np.array_equal(labels.indices, indices):
            raise DatasetError(f"{where}: its samples do not match {self._labels.path}; restore both")
        numbers = (labels.landmarks_z_mm, labels.depth_near_mm, labels.depth_steps_per_mm)
        block = Block(indices, images, labels.landmarks_px, labels.visible, *numbers)
        block = block.mirrored(domain.width) if dataset.spec.side == "right" else block
        return block if samples == len(block) else block.take(np.arange(samples))

    def __getstate__(self) -> tuple[Any, ...]:
        """Return what a worker process needs to open the split itself."""
        return self._setting

    def __setstate__(self, setting: tuple[Any, ...]) -> None:
        self.__init__(*setting)  # type: ignore[misc]  # reopens the split in place


class _Kept:
    """The blocks in memory, most recently used last; blocks that are being read are pending futures."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Future[Block]] = OrderedDict()
        self._protected: frozenset[int] = frozenset()

    def claim(self, number: int) -> tuple[Future[Block], bool]:
        """Return a block, and whether the caller has to read it."""
        with self._lock:
            mine = number not in self._blocks
            future = self._blocks.setdefault(number, Future())
            self._blocks.move_to_end(number)
            return future, mine

    def protect(self, numbers: Iterable[int]) -> list[int]:
        """Keep these blocks regardless of the budget, and return those that are not in memory."""
        numbers = list(numbers)
        with self._lock:
            self._protected = frozenset(numbers)
            absent = [number for number in numbers if number not in self._blocks]
        self.shrink()  # frees finished windows
        return absent

    def forget(self, number: int) -> None:
        """Drop a block."""
        with self._lock:
            self._blocks.pop(number, None)

    def shrink(self) -> None:
        """Drop the least recently used blocks until the rest fits the budget."""
        with self._lock:
            sizes = {n: future.result().nbytes for n, future in self._blocks.items() if future.done()}
            over = sum(sizes.values()) - self._budget
            for number in [n for n in sizes if n not in self._protected]:
                if over <= 0:
                    break
                over -= sizes[number]
                del self._blocks[number]


def _first_shards(shards: tuple[Shard, ...], samples: int | None) -> tuple[tuple[Shard, int], ...]:
    """Return the shards that hold the first samples, and the number of samples to take from each."""
    taken, left = [], sum(shard.samples for shard in shards) if samples is None else samples
    for shard in shards:
        if left <= 0:
            break
        taken.append((shard, min(shard.samples, left)))
        left -= shard.samples
    return tuple(taken)
