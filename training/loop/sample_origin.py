"""Where the items of `synthgen.training.loop.torch_dataset` come from: a stored dataset, or a spec that is rendered."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from synthgen.datasets.dataset import Dataset
from synthgen.datasets.plan import Split
from synthgen.errors import SynthgenError
from synthgen.specs.domain import Domain
from synthgen.specs.messages import spec_error
from synthgen.specs.spec import ResolvedSpec, spec_hash
from synthgen.training.loop.on_demand import LiveData, Order, live_stream
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.streaming.augmentation import Augmentation
from synthgen.training.streaming.batches import WINDOW, Epochs, Ranks, Stream
from synthgen.training.streaming.packed_samples import Inputs
from synthgen.training.streaming.preparation import Preparation
from synthgen.training.streaming.shard_cache import ShardBlocks

_BUDGET = 4 * 2**30
"""Bytes of packed samples to keep in memory, over all workers of a process."""


@dataclass(frozen=True)
class Reading:
    """How samples are read and prepared."""

    split: Split = "train"
    input: Inputs = "mask"
    artefacts: bool = True
    """Apply the dataset's artefacts."""
    augmentation: Augmentation | None = None
    batch_size: int | None = None
    """Samples per batch on each rank; None gives single samples."""
    seed: int = 0
    """Seed of order and augmentation."""
    shuffle: bool = True
    ranks: Ranks | None = None
    """None takes them from ``torch.distributed``."""

    def preparation(self, spec: ResolvedSpec) -> Preparation:
        """Return the processing of a spec's samples."""
        domain = Domain.of_spec(spec)
        labels = LabelSpace(domain.width, domain.height, depth=self.input == "depth")
        return Preparation(labels, spec.artefacts if self.artefacts else None, spec.seed, self.augmentation, self.seed)

    @property
    def window(self) -> int:
        """Number of shards that are shuffled together."""
        return WINDOW if self.shuffle else 0


class Origin(Protocol):
    """A source of samples."""

    @property
    def spec(self) -> ResolvedSpec:
        """Of the samples."""

    @property
    def sha256(self) -> str:
        """A digest that is equal only for equal samples."""

    def samples(self, split: Split) -> int:
        """Return the number of samples of a split."""

    def open(self, reading: Reading, batch: int, ranks: Ranks, workers: int) -> AbstractContextManager[Epochs]:
        """Open the batches for one pass; ``workers`` is the number of worker processes, 0 for none."""


class Stored:
    """The samples of a dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._blocks: tuple[int, ShardBlocks] | None = None

    @property
    def spec(self) -> ResolvedSpec:
        """Of the dataset."""
        return self._dataset.spec

    @property
    def sha256(self) -> str:
        """SHA-256 of the dataset's manifest."""
        return self._dataset.sha256

    def samples(self, split: Split) -> int:
        """Return the number of samples of a split."""
        return sum(shard.samples for shard in self._dataset.shards_of(split))

    @contextmanager
    def open(self, reading: Reading, batch: int, ranks: Ranks, workers: int) -> Iterator[Epochs]:
        """Open the batches; shards stay in memory for the next pass of this process."""
        if self._blocks is None or self._blocks[0] != os.getpid():
            budget = _BUDGET // max(workers, 1)
            blocks = ShardBlocks(self._dataset, reading.split, reading.input, None, budget)
            self._blocks = os.getpid(), blocks
        preparation = reading.preparation(self.spec)
        yield Stream(self._blocks[1], preparation, batch, reading.seed, reading.window, ranks, even=True)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs to open the dataset itself."""
        return self.__dict__ | {"_blocks": None}


class Renders(Protocol):
    """Renders the samples of a split of a spec in other processes, inside a ``with`` block."""

    @property
    def spec(self) -> ResolvedSpec:
        """Of the samples."""

    def samples(self, split: Split) -> int:
        """Return the number of samples of a split."""

    def open(self, split: Split, inputs: Inputs, processes: int) -> AbstractContextManager[LiveData]:
        """Start the renderer, for one of several processes that train together."""


@dataclass(frozen=True)
class Rendered:
    """The samples of a spec, rendered on demand."""

    renders: Renders

    @property
    def spec(self) -> ResolvedSpec:
        """The spec."""
        return self.renders.spec

    @property
    def sha256(self) -> str:
        """Of the spec."""
        return spec_hash(self.spec)

    def samples(self, split: Split) -> int:
        """Return the number of samples of a split."""
        return self.renders.samples(split)

    @contextmanager
    def open(self, reading: Reading, batch: int, ranks: Ranks, workers: int) -> Iterator[Epochs]:
        """Start the rendering processes; they end with the pass.

        Raises:
            SynthgenError: This is a worker process.

        """
        if workers:
            raise SynthgenError(
                f"num_workers: value {workers}; a spec is rendered by separate processes; give num_workers=0 to "
                "the DataLoader, and workers= to torch_dataset"
            )
        order = Order(reading.seed, ranks, reading.window)
        with self.renders.open(reading.split, reading.input, ranks.count) as data:
            yield live_stream(data, reading.preparation(self.spec), batch, order)


def moves(augmentation: Mapping[str, float] | None) -> Augmentation | None:
    """Return an augmentation from values by field name.

    Raises:
        SpecError: There is no such field, or a value is out of range.

    """
    if augmentation is None:
        return None
    data = {name: float(value) for name, value in augmentation.items()}
    try:
        return Augmentation.model_validate(data)
    except ValidationError as error:
        raise spec_error(error, Augmentation, data, lambda _: "") from None
