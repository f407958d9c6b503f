"""Training from a spec without a stored dataset: samples are rendered on demand, some batches ahead.

They are the samples of the stored dataset of that spec, in its order unless a number of steps is given, so the trained
network is the same, bit for bit. A `Renderer` makes them.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from synthgen.errors import EngineError
from synthgen.specs.domain import Domain
from synthgen.specs.spec import ResolvedSpec, spec_hash
from synthgen.storage.rendered import RenderedSamples
from synthgen.training.loop.checkpoint import TrainedOn
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.job import UNMOVED_SAMPLES, Job, preparation_for
from synthgen.training.streaming.batches import ALONE, WINDOW, Batches, Ranks, Stream, epoch_order
from synthgen.training.streaming.on_demand_order import LiveSplit, Pace, RoundOrder, indices_of, pieces
from synthgen.training.streaming.packed_samples import Block, Inputs, join_blocks
from synthgen.training.streaming.preparation import Batch, Preparation

_ENDLESS = 2**40
"""Epochs."""
PIECE = 100
"""Samples per call of the renderer."""
_LOST = (
    "a rendering process was killed, perhaps because memory ran out; run the same command again to resume from the "
    "last checkpoint, with fewer --workers if necessary"
)


class Renderer(Protocol):
    """Renders samples in other processes."""

    def submit(self, indices: NDArray[np.int64]) -> "Future[RenderedSamples]":
        """Start to render samples; sides and pixels are as in a stored dataset."""


@dataclass(frozen=True)
class LiveData:
    """A spec whose samples are rendered on demand."""

    spec: ResolvedSpec
    """Resolved."""
    train: LiveSplit
    validation: LiveSplit | None
    """None if the spec's count is too small for this split."""
    renderer: Renderer
    ahead: int
    """Number of samples to render ahead."""

    @property
    def domain(self) -> Domain:
        """The domain of its networks."""
        return Domain.of_spec(self.spec)


def live_job(data: LiveData, config: TrainingConfig, steps: int | None = None, ranks: Ranks = ALONE) -> Job:
    """Return the training of a network on a spec.

    Args:
        data: The spec, and the renderer of its samples.
        config: How to train. With ``steps`` its ``samples`` is ignored, because a new sample costs no more than a
            repeated one, and its epochs only set the learning rate schedule.
        steps: Optimizer steps in total; None takes the config's samples and epochs, as for a stored dataset.
        ranks: Which of several processes this is.

    Raises:
        SynthgenError: There are fewer steps than epochs.

    """
    spec = data.spec
    if steps is not None:
        config = config.model_copy(update={"samples": None})
    train = data.train.first(config.samples)
    pace = Pace(sum(train.sizes), config.batch_size, config.epochs, steps)
    preparation = preparation_for(spec, config)
    source = _Blocks(data, config.input)
    stream = LiveStream(source, train, pace, preparation, Order(config.seed, ranks))
    return Job(config, data.domain, stream, (_trained_on(spec, steps),), _validation(source, config, preparation))


def live_stream(data: LiveData, preparation: Preparation, batch: int, order: "Order") -> "LiveStream":
    """Return an endless stream of a spec's training samples: every epoch is one round through them.

    Args:
        data: The spec and its renderer. The last samples are dropped so that all ranks get the same number.
        preparation: The processing of the samples.
        batch: Samples per batch, over all ranks.
        order: How they are shuffled.

    """
    samples = sum(data.train.sizes)
    split = data.train.first(samples - samples % order.ranks.count)
    pace = Pace(sum(split.sizes), batch, _ENDLESS)
    return LiveStream(_Blocks(data, preparation.inputs), split, pace, preparation, order)


@dataclass(frozen=True)
class Order:
    """The shuffling seed, and the share of this process."""

    seed: int
    ranks: Ranks = ALONE
    window: int = WINDOW


class LiveStream:
    """Samples of a spec, shuffled, rendered and prepared, in batches."""

    def __init__(self, source: "_Blocks", split: LiveSplit, pace: Pace, preparation: Preparation, order: Order) -> None:
        self._source, self._split, self._pace = source, split, pace
        self._preparation, self._order = preparation, order
        self._ahead = math.ceil(source.data.ahead / pace.batch)
        self._lock = threading.Lock()
        self._rounds: dict[int, RoundOrder] = {}
        self._waiting: dict[int, list[list[Future[RenderedSamples]]]] = {}

    def epoch(self, epoch: int) -> "LiveBatches":
        """Return the batches of an epoch of the training config."""
        return LiveBatches(self, self._pace.start(epoch), self._pace.start(epoch + 1))

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted over all epochs; thread-safe."""
        batches = []
        for (number, start, end), futures in zip(self._pace.parts(step), self._take(step), strict=True):
            batches.append(self._preparation.batch(self._source.block(futures), number, end - start))
        return batches[0] if len(batches) == 1 else _joined(batches)

    def _take(self, step: int) -> list[list[Future[RenderedSamples]]]:
        """Return the futures of a step's samples, and start those of the next steps."""
        with self._lock:
            wanted = range(step, min(step + self._ahead + 1, self._pace.all_steps))
            for number in [
                n for n in self._waiting if abs(n - step) > 2 * self._ahead + 2
            ]:  # after a jump, as when resuming
                for future in [future for part in self._waiting.pop(number) for future in part]:
                    future.cancel()
            for number in wanted:
                if number not in self._waiting:
                    self._waiting[number] = [self._begin(*part) for part in self._pace.parts(number)]
            return self._waiting.pop(step)

    def _begin(self, number: int, start: int, end: int) -> list[Future[RenderedSamples]]:
        if number not in self._rounds:
            self._rounds = {n: order for n, order in self._rounds.items() if abs(n - number) == 1}
            self._rounds[number] = RoundOrder(self._split, self._order.seed, number, self._order.window)
        ranks = self._order.ranks
        return self._source.begin(self._rounds[number].indices(start, end)[ranks.rank :: ranks.count])


class LiveBatches:
    """The batches of one epoch of the training config."""

    def __init__(self, stream: LiveStream, start: int, end: int) -> None:
        self._stream, self._start, self._end = stream, start, end

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, number: int) -> Batch:
        """Return a batch: this rank's share of its samples."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._stream.batch(self._start + number)


class _Blocks:
    """Renders blocks of samples by their indices."""

    def __init__(self, data: LiveData, inputs: Inputs) -> None:
        self.data = data
        domain = data.domain
        shape = (0, domain.height, domain.width if inputs == "depth" else -(-domain.width // 8))
        images = np.empty(shape, np.uint16) if inputs == "depth" else np.empty(shape, np.uint8)
        points, nothing = np.empty((0, len(domain.landmarks), 2)), np.empty(0)
        self._empty = Block(np.empty(0, np.int64), images, points, points[..., 0] > 0, points[..., 0], nothing, nothing)

    def begin(self, indices: NDArray[np.int64]) -> list[Future[RenderedSamples]]:
        """Start to render samples."""
        with _no_process_lost():
            return [self.data.renderer.submit(piece) for piece in pieces(indices, PIECE)]

    def block(self, futures: Iterable[Future[RenderedSamples]]) -> Block:
        """Return the samples as one block, right hands mirrored to left ones."""
        with _no_process_lost():
            blocks = [Block(**future.result()._asdict()) for future in futures]
        block = join_blocks(blocks) if blocks else self._empty
        return block.mirrored(self.data.domain.width) if self.data.spec.side == "right" else block


class _Validation:
    """Samples for validation, rendered once and kept in memory."""

    def __init__(self, source: _Blocks, split: LiveSplit) -> None:
        self._source, self._split = source, split
        self._content: Block | None = None
        self._lock = threading.Lock()
        self.sizes: tuple[int, ...] = (sum(split.sizes),)

    def block(self, number: int) -> Block:
        """Return the only block."""
        if number != 0:
            raise IndexError(number)
        with self._lock:
            if self._content is None:
                pairs = np.concatenate(epoch_order(self._split.sizes, 0, 0, window=0))
                self._content = self._source.block(self._source.begin(indices_of(self._split, pairs)))
            return self._content

    def prepare(self, numbers: Iterable[int]) -> None:
        """Do nothing: the block is made when it is first needed."""


def _validation(source: _Blocks, config: TrainingConfig, preparation: Preparation) -> Batches | None:
    """Return the first samples for validation, as from a stored dataset."""
    if source.data.validation is None:
        return None
    blocks = _Validation(source, source.data.validation.first(UNMOVED_SAMPLES))
    return Stream(blocks, replace(preparation, augmentation=None), config.batch_size, window=0).epoch(0)


def _trained_on(spec: ResolvedSpec, steps: int | None) -> TrainedOn:
    many = f", {steps:,} steps" if steps is not None else ""
    title = f"synthgen-{spec.name}-v{spec.version}"
    return TrainedOn("spec", f"{title} ({spec.count:,} samples, seed {spec.seed}{many})", spec_hash(spec))


def _joined(batches: list[Batch]) -> Batch:
    images, targets, indices, scales, visible = (
        torch.cat([getattr(batch, field) for batch in batches])
        for field in ("images", "targets", "indices", "depth_scale", "visible")
    )
    return Batch(images, targets, indices, scales, sum(batch.total for batch in batches), visible)


@contextmanager
def _no_process_lost() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor:
        raise EngineError(_LOST) from None
