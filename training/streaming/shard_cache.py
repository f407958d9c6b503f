"""Where blocks come from: shards that are read when they are needed and kept while there is room, or arrays."""

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
    """The samples of a split or a set, in blocks of known sizes."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of each block."""

    def block(self, number: int) -> Block:
        """Return a block; any thread may ask."""

    def prepare(self, numbers: Iterable[int]) -> None:
        """Take note that these blocks, and no others, are in use or will be soon."""


@dataclass(frozen=True)
class ArrayBlocks:
    """One block that is in memory already, such as a scan set."""

    content: Block

    @property
    def sizes(self) -> tuple[int, ...]:
        """The one size."""
        return (len(self.content),)

    def block(self, number: int) -> Block:
        """Return the block."""
        if number != 0:
            raise IndexError(number)
        return self.content

    def prepare(self, numbers: Iterable[int]) -> None:
        """Have nothing to prepare."""


class ShardBlocks:
    """The shards of a split, each read, checked and unpacked when it is first needed.

    What was read stays in memory, packed, until the budget is spent; then the shards that were not asked for the
    longest go, but none that is in use. 2.2 million masks of 96 x 96 with five fingertips take 2.7 GB.
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
            split: Which.
            inputs: Masks or depths; the others are not unpacked.
            samples: Only so many, the first ones.
            budget: Bytes that may stay in memory.

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
        if self._process != os.getpid():  # a fork shares open files, and has no threads
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
        """Begin to read these shards in a thread beside, and let none of them go."""
        absent = self._kept.protect(numbers)
        if absent and self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, thread_name_prefix="synthgen-shards")
        for number in absent:
            if self._ahead is not None:
                self._ahead.submit(self.block, number)  # an error is raised again for whoever needs the shard

    def _read(self, number: int) -> Block:
        dataset, _, inputs, *_ = self._setting
        shard, samples = self._shards[number]
        where, domain = f"{dataset.source.address}: {shard.path}", dataset.domain
        data = dataset.source.shard(shard.path, shard.bytes)
        check_shard(data, shard, where)
        indices, images = read_images(data, shard.samples, (domain.width, domain.height), inputs, where)
        labels = self._labels.read(number)
        if not np.array_equal(labels.indices, indices):
            raise DatasetError(f"{where}: its samples are not those of {self._labels.path}; restore both")
        numbers = (labels.landmarks_z_mm, labels.depth_near_mm, labels.depth_steps_per_mm)
        block = Block(indices, images, labels.landmarks_px, labels.visible, *numbers)
        block = block.mirrored(domain.width) if dataset.spec.side == "right" else block
        return block if samples == len(block) else block.take(np.arange(samples))

    def __getstate__(self) -> tuple[Any, ...]:
        """Give a worker process what it needs to open the split for itself."""
        return self._setting

    def __setstate__(self, setting: tuple[Any, ...]) -> None:
        self.__init__(*setting)  # type: ignore[misc]  # the same object, opened anew


class _Kept:
    """The blocks in memory, the one asked for last at the end; blocks that are being read are there as promises."""

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
        """Let these blocks stay whatever the budget, and return those that are not there."""
        numbers = list(numbers)
        with self._lock:
            self._protected = frozenset(numbers)
            absent = [number for number in numbers if number not in self._blocks]
        self.shrink()  # the windows that are done
        return absent

    def forget(self, number: int) -> None:
        """Drop a block."""
        with self._lock:
            self._blocks.pop(number, None)

    def shrink(self) -> None:
        """Drop the oldest blocks until the others fit."""
        with self._lock:
            sizes = {n: future.result().nbytes for n, future in self._blocks.items() if future.done()}
            over = sum(sizes.values()) - self._budget
            for number in [n for n in sizes if n not in self._protected]:
                if over <= 0:
                    break
                over -= sizes[number]
                del self._blocks[number]


def _first_shards(shards: tuple[Shard, ...], samples: int | None) -> tuple[tuple[Shard, int], ...]:
    """Return the shards that hold the first samples, and how many of each."""
    taken, left = [], sum(shard.samples for shard in shards) if samples is None else samples
    for shard in shards:
        if left <= 0:
            break
        taken.append((shard, min(shard.samples, left)))
        left -= shard.samples
    return tuple(taken)
