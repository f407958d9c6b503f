"""The inputs of a training: the network and its data, and which files to write."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from synthgen.datasets.dataset import Dataset
from synthgen.datasets.plan import Split
from synthgen.progress import ProgressListener
from synthgen.specs.domain import Domain
from synthgen.specs.spec import ResolvedSpec
from synthgen.training.loop.checkpoint import TrainedOn, label_space
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.streaming.batches import ALONE, Batches, Epochs, Ranks, Stream
from synthgen.training.streaming.preparation import Preparation
from synthgen.training.streaming.shard_cache import ShardBlocks

UNMOVED_SAMPLES = 2000
"""Samples that are evaluated after each epoch."""


@dataclass(frozen=True)
class Job:
    """A network to train, and its data."""

    config: TrainingConfig
    domain: Domain
    data: Epochs
    history: tuple[TrainedOn, ...]
    """Data of all trainings so far, this one last."""
    validation: Batches | None = None
    """Evaluated after each epoch."""
    weights: dict[str, Tensor] | None = None
    """Initial weights; None for random ones."""


@dataclass(frozen=True)
class Keeping:
    """What is written while a training runs."""

    folder: Path
    save_every_s: float = 300.0
    """Seconds between checkpoints within an epoch; 0 saves after every step."""
    log_every: int = 50
    """Steps between rows of the log."""
    tensorboard: bool = False


@dataclass(frozen=True)
class Progress:
    """The progress of a training."""

    epoch: int
    """From 1."""
    epochs: int
    steps: int
    all_steps: int
    loss: float
    """Mean since the previous row of the log."""
    samples_per_s: float
    seconds_left: float


Listener = ProgressListener[Progress]


def dataset_job(
    dataset: Dataset, config: TrainingConfig, ranks: Ranks = ALONE, weights: dict[str, Tensor] | None = None
) -> Job:
    """Return the training of a network on a dataset, with its validation samples evaluated after each epoch.

    Args:
        dataset: An open dataset.
        config: How to train.
        ranks: Which of several processes this is.
        weights: Initial weights; random if left out.

    Raises:
        DatasetError: The dataset has no samples for training, or its labels cannot be read.

    """
    blocks = ShardBlocks(dataset, "train", config.input, config.samples)
    data = Stream(blocks, preparation_for(dataset.spec, config), config.batch_size, config.seed, ranks=ranks)
    history = (TrainedOn("dataset", dataset.title, dataset.sha256),)
    held_out = any(shard.split == "validation" for shard in dataset.shards)
    validation = unmoved(dataset, "validation", config) if held_out else None
    return Job(config, dataset.domain, data, history, validation, weights)


def preparation_for(spec: ResolvedSpec, config: TrainingConfig) -> Preparation:
    """Return the processing of a spec's samples for a network in training."""
    labels = label_space(Domain.of_spec(spec), config)
    artefacts = spec.artefacts if config.artefacts else None
    return Preparation(labels, artefacts, spec.seed, config.augmentation, config.seed)


def unmoved(dataset: Dataset, split: Split, config: TrainingConfig) -> Batches:
    """Return the first samples of a split in stored order, with the artefacts of epoch 0 but no augmentation.

    Raises:
        DatasetError: The split has no samples, or its labels cannot be read.

    """
    blocks = ShardBlocks(dataset, split, config.input, UNMOVED_SAMPLES)
    preparation = replace(preparation_for(dataset.spec, config), augmentation=None)
    return Stream(blocks, preparation, config.batch_size, window=0).epoch(0)
