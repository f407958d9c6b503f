"""Samples for your own training loop: a `torch.utils.data.IterableDataset` over the same stream of batches.

Order, artefacts and moves are those of our own loop with the same seed. An item's number is all that is needed to
resume, and worker ``w`` of ``W`` makes every ``W``-th item, so a DataLoader puts them back in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from synthgen.errors import SynthgenError
from synthgen.training.loop.sample_origin import Origin, Reading
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.streaming.batches import ALONE, Batches, Ranks, prefetched
from synthgen.training.streaming.preparation import Batch

Item = dict[str, Tensor]
_AT_ONCE = 64
"""Samples that are prepared together if single ones are requested."""


class LandmarkDataset(IterableDataset[Item]):
    """Samples, or batches of them, as tensors; created by `synthgen.torch_dataset`.

    An item is a dict; in a batch of N samples, each tensor has N as its first dimension:

    - ``image`` (1, H, W) float32: the mask, 0 or 1; or depth with mean 0 and deviation 1 over the body.
    - ``target`` (K, 2) float32: the landmarks as x and y from -1 (left, top edge) to 1; for depth (K, 3), with
      the depth of each in the units of ``image``.
    - ``landmarks_px`` (K, 2) float32: the landmarks in continuous pixels of the patch.
    - ``visible`` (K,) bool, ``index`` int64.
    - ``depth_scale`` (2,) float32, for depth: mean and deviation in mm, which undo the normalization.

    Right hands are mirrored to left hands. Ranks get disjoint samples, the same number each, so that all do the same
    number of steps: up to ``world_size - 1`` samples of an epoch are dropped.
    """

    def __init__(self, origin: Origin, reading: Reading) -> None:
        self._origin, self._reading = origin, reading
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # workers that outlive an epoch read it
        self._resume: dict[str, Any] = {}
        self._done = 0
        origin.samples(reading.split)  # rejects a split without samples
        ranks = self._ranks()
        if not 0 <= ranks.rank < ranks.count:
            raise SynthgenError(f"rank: value {ranks.rank}; give 0 to {ranks.count - 1}, below world_size")
        if reading.batch_size is not None and reading.batch_size < 1:
            raise SynthgenError(f"batch_size: value {reading.batch_size}; give 1 or more, or None for single samples")

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass, from 0: each epoch has its own order, artefacts and moves."""
        self._epoch.fill_(epoch)
        if self._resume.get("epoch") != epoch:
            self._resume, self._done = {}, 0

    def __len__(self) -> int:
        """Return the number of items in a pass on this rank, the same on all ranks."""
        samples, size = self._origin.samples(self._reading.split) // self._ranks().count, self._reading.batch_size
        return samples if size is None else -(-samples // size)

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Return the state for `load_state_dict`: the epoch and the number of completed items.

        Args:
            position: Items that the training loop has used in this epoch. With ``num_workers`` above 0 and a plain
                DataLoader only the loop knows this number, because the workers run ahead; None is correct for
                ``num_workers=0``, and in workers whose loader collects their states.

        """
        worker, workers = _worker()
        if position is not None:
            worker, workers = 0, 0
        done = self._done if position is None else position
        return {"epoch": int(self._epoch), "position": done, "worker": worker, "workers": workers} | self._identity()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the epoch, and start its next pass after the completed items.

        Raises:
            SynthgenError: The state belongs to other data, or to a dataset with other options.

        """
        for key, here in self._identity().items():
            if state.get(key) != here:
                raise SynthgenError(f"state: {key} is {state.get(key)!r:.80} in the state but {here!r:.80} here; "
                                    "resume with the same data and options")  # fmt: skip
        self.set_epoch(state["epoch"])
        self._resume, self._done = dict(state), state["position"]

    def __iter__(self) -> Iterator[Item]:
        worker, workers = _worker()
        epoch = int(self._epoch)
        self._done = self._begin(worker, workers, epoch)
        return self._items((worker, workers), epoch, self._done)

    def _items(self, process: tuple[int, int], epoch: int, begin: int) -> Iterator[Item]:
        (worker, workers), ranks = process, self._ranks()
        size, labels = self._reading.batch_size, self._reading.preparation(self._origin.spec).labels
        with self._origin.open(self._reading, (size or _AT_ONCE) * ranks.count, ranks, workers) as epochs:
            batches, stride = epochs.epoch(epoch), max(workers, 1)
            first, skipped = (begin, 0) if size else (worker + stride * (begin // _AT_ONCE), begin % _AT_ONCE)
            mine = _Part(batches, range(first, len(batches), stride))
            for number, batch in zip(mine.numbers, prefetched(mine, 0, 0 if workers else 1), strict=True):
                if size:
                    self._done = number + stride
                    yield _item(batch, labels)
                    continue
                for row in _rows(_item(batch, labels), skipped):
                    self._done += 1
                    yield row
                skipped = 0

    def _begin(self, worker: int, workers: int, epoch: int) -> int:
        """Return the first batch of this process; for single samples, the number of its own that are completed."""
        state, batches = self._resume, self._reading.batch_size is not None
        self._resume = {}  # for one pass; persistent workers make more of them
        first = worker if batches else 0
        if not state or state["epoch"] != epoch:
            return first
        if state["workers"]:  # of one worker
            if (state["worker"], state["workers"]) != (worker, workers):
                raise SynthgenError(
                    f"num_workers: value {workers}; the state was saved with {state['workers']}; give the same number"
                )
            return int(state["position"])
        if workers > 1 and not batches and state["position"]:
            raise SynthgenError("batch_size: value None; give a number of samples to resume with several workers")
        return first + int(state["position"])

    def _ranks(self) -> Ranks:
        if self._reading.ranks is not None:
            return self._reading.ranks
        group = torch.distributed
        if group.is_available() and group.is_initialized():
            return Ranks(group.get_rank(), group.get_world_size())
        return ALONE

    def _identity(self) -> dict[str, Any]:
        reading = self._reading
        moves = reading.augmentation.model_dump() if reading.augmentation else None
        return {
            "data": self._origin.sha256, "split": reading.split, "input": reading.input, "seed": reading.seed,
            "artefacts": reading.artefacts, "augmentation": moves, "batch_size": reading.batch_size,
            "shuffle": reading.shuffle, "world_size": self._ranks().count,
        }  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Pass the rank on to worker processes, which belong to no process group."""
        return self.__dict__ | {"_reading": replace(self._reading, ranks=self._ranks())}


@dataclass(frozen=True)
class _Part:
    """Some of the batches of an epoch."""

    batches: Batches
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, position: int) -> Batch:
        return self.batches[self.numbers[position]]


def _worker() -> tuple[int, int]:
    """Return which worker process this is, and of how many; (0, 0) in the main process."""
    info = get_worker_info()
    return (info.id, info.num_workers) if info else (0, 0)


def _item(batch: Batch, labels: LabelSpace) -> Item:
    targets = batch.targets.reshape(len(batch), -1, labels.coordinates)
    item = {
        "image": batch.images.float(),
        "target": targets,
        "landmarks_px": labels.decode(batch.targets)[..., :2],
        "visible": batch.visible,
        "index": batch.indices,
    }
    return item | ({"depth_scale": batch.depth_scale.float()} if labels.depth else {})


def _rows(item: Item, start: int) -> Iterator[Item]:
    return ({key: values[row] for key, values in item.items()} for row in range(start, len(item["index"])))
