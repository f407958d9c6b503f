"""Training from a spec, with nothing stored: samples are made when a batch needs them, some batches ahead.

They are the samples of the stored dataset of that spec, in its order where no number of steps is given, so the trained
network is the same as well, bit for bit. What makes them is given as a `Renderer`.
"""

import math
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from synthgen.errors import EngineError
from synthgen.specs.domain import Domain
from synthgen.specs.spec import ResolvedSpec, spec_hash
from synthgen.training.loop.checkpoint import TrainedOn
from synthgen.training.loop.config import Recipe
from synthgen.training.loop.job import UNMOVED_SAMPLES, Job, preparation_for
from synthgen.training.streaming.batches import ALONE, Batches, Ranks, Stream, epoch_order
from synthgen.training.streaming.on_demand_order import LiveSplit, Pace, RoundOrder, indices_of, pieces
from synthgen.training.streaming.packed_samples import Block, Inputs, join_blocks
from synthgen.training.streaming.preparation import Batch, Preparation

PIECE = 100
"""Samples that are made in one go."""
_LOST = (
    "a rendering process ended without a word, perhaps for want of memory; the same command goes on from the last "
    "checkpoint, with fewer --workers if need be"
)

Arrays = tuple[NDArray[Any], ...]
"""The fields of a `Block`, in their order."""


class Renderer(Protocol):
    """What makes samples, beside this process."""

    def submit(self, indices: NDArray[np.int64]) -> "Future[Arrays]":
        """Begin to make samples; side and pixels as they would be stored."""


@dataclass(frozen=True)
class LiveData:
    """A spec whose samples are made as they are needed."""

    spec: ResolvedSpec
    """Resolved."""
    train: LiveSplit
    validation: LiveSplit | None
    """None where the spec's count gives no such sample."""
    renderer: Renderer
    ahead: int
    """Samples that are made before they are needed."""

    @property
    def domain(self) -> Domain:
        """What its networks take."""
        return Domain.of_spec(self.spec)


def live_job(data: LiveData, recipe: Recipe, steps: int | None = None, ranks: Ranks = ALONE) -> Job:
    """Return the training of a network on a spec.

    Args:
        data: The spec, and what makes its samples.
        recipe: How to train. With ``steps`` its ``samples`` is left aside, for a new sample costs no more than one that
            was seen before, and its epochs only say how the rate falls.
        steps: Updates in all; None takes the recipe's samples and epochs, as from the stored dataset.
        ranks: Which of several processes this is.

    Raises:
        SynthgenError: There are fewer steps than epochs.

    """
    spec = data.spec
    if steps is not None:
        recipe = recipe.model_copy(update={"samples": None})
    train = data.train.first(recipe.samples)
    pace = Pace(sum(train.sizes), recipe.batch, recipe.epochs, steps)
    preparation = preparation_for(spec, recipe)
    source = _Blocks(data, recipe.input)
    stream = LiveStream(source, train, pace, preparation, Order(recipe.seed, ranks))
    return Job(recipe, data.domain, stream, (_trained_on(spec, steps),), _validation(source, recipe, preparation))


@dataclass(frozen=True)
class Order:
    """How the samples are mixed, and which of them this process takes."""

    seed: int
    ranks: Ranks = ALONE


class LiveStream:
    """Samples of a spec, mixed, made and prepared, in batches."""

    def __init__(self, source: "_Blocks", split: LiveSplit, pace: Pace, preparation: Preparation, order: Order) -> None:
        self._source, self._split, self._pace = source, split, pace
        self._preparation, self._order = preparation, order
        self._ahead = math.ceil(source.data.ahead / pace.batch)
        self._lock = threading.Lock()
        self._rounds: dict[int, RoundOrder] = {}
        self._waiting: dict[int, list[list[Future[Arrays]]]] = {}

    def epoch(self, epoch: int) -> "LiveBatches":
        """Return the batches of an epoch of the recipe."""
        return LiveBatches(self, self._pace.start(epoch), self._pace.start(epoch + 1))

    def batch(self, step: int) -> Batch:
        """Return the batch of an update, counted through all epochs; any thread may ask."""
        batches = []
        for (number, start, end), futures in zip(self._pace.parts(step), self._take(step), strict=True):
            batches.append(self._preparation.batch(self._source.block(futures), number, end - start))
        return batches[0] if len(batches) == 1 else _joined(batches)

    def _take(self, step: int) -> list[list[Future[Arrays]]]:
        """Return what makes the samples of an update, and begin with those of the next ones."""
        with self._lock:
            wanted = range(step, min(step + self._ahead + 1, self._pace.all_steps))
            for number in [n for n in self._waiting if abs(n - step) > 2 * self._ahead + 2]:  # another place to go on
                for future in [future for part in self._waiting.pop(number) for future in part]:
                    future.cancel()
            for number in wanted:
                if number not in self._waiting:
                    self._waiting[number] = [self._begin(*part) for part in self._pace.parts(number)]
            return self._waiting.pop(step)

    def _begin(self, number: int, start: int, end: int) -> list[Future[Arrays]]:
        if number not in self._rounds:
            self._rounds = {n: order for n, order in self._rounds.items() if abs(n - number) == 1}
            self._rounds[number] = RoundOrder(self._split, self._order.seed, number)
        ranks = self._order.ranks
        return self._source.begin(self._rounds[number].indices(start, end)[ranks.rank :: ranks.count])


class LiveBatches:
    """The batches of one epoch of the recipe."""

    def __init__(self, stream: LiveStream, start: int, end: int) -> None:
        self._stream, self._start, self._end = stream, start, end

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, number: int) -> Batch:
        """Return a batch, of which this rank has every so many-th sample."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._stream.batch(self._start + number)


class _Blocks:
    """The way from indices to blocks."""

    def __init__(self, data: LiveData, inputs: Inputs) -> None:
        self.data = data
        domain = data.domain
        shape = (0, domain.height, domain.width if inputs == "depth" else -(-domain.width // 8))
        images = np.empty(shape, np.uint16) if inputs == "depth" else np.empty(shape, np.uint8)
        points, nothing = np.empty((0, len(domain.landmarks), 2)), np.empty(0)
        self._empty = Block(np.empty(0, np.int64), images, points, points[..., 0], nothing, nothing)

    def begin(self, indices: NDArray[np.int64]) -> list[Future[Arrays]]:
        """Have samples made."""
        with _no_process_lost():
            return [self.data.renderer.submit(piece) for piece in pieces(indices, PIECE)]

    def block(self, futures: Iterable[Future[Arrays]]) -> Block:
        """Return the samples as one block, right hands mirrored to left ones."""
        with _no_process_lost():
            blocks = [Block(*future.result()) for future in futures]
        block = join_blocks(blocks) if blocks else self._empty
        return block.mirrored(self.data.domain.width) if self.data.spec.side == "right" else block


class _Validation:
    """Samples for validation, made when they are first looked at, and kept."""

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
        """Have nothing to prepare."""


def _validation(source: _Blocks, recipe: Recipe, preparation: Preparation) -> Batches | None:
    """Return the first samples for validation, as from a stored dataset."""
    if source.data.validation is None:
        return None
    blocks = _Validation(source, source.data.validation.first(UNMOVED_SAMPLES))
    return Stream(blocks, replace(preparation, augmentation=None), recipe.batch, window=0).epoch(0)


def _trained_on(spec: ResolvedSpec, steps: int | None) -> TrainedOn:
    many = f", {steps:,} steps" if steps is not None else ""
    title = f"synthgen-{spec.name}-v{spec.version}"
    return TrainedOn("spec", f"{title} ({spec.count:,} samples, seed {spec.seed}{many})", spec_hash(spec))


def _joined(batches: list[Batch]) -> Batch:
    images, targets, indices, scales = (
        torch.cat([getattr(batch, field) for batch in batches])
        for field in ("images", "targets", "indices", "depth_scale")
    )
    return Batch(images, targets, indices, scales, sum(batch.total for batch in batches))


@contextmanager
def _no_process_lost() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor:
        raise EngineError(_LOST) from None
