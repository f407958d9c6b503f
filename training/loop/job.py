"""What a training is given: the network and its data, what to write, and whom to tell."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from synthgen.datasets.dataset import Dataset
from synthgen.datasets.plan import Split
from synthgen.progress import ProgressListener
from synthgen.specs.domain import Domain
from synthgen.specs.spec import ResolvedSpec
from synthgen.training.loop.checkpoint import TrainedOn, label_space
from synthgen.training.loop.config import Recipe
from synthgen.training.streaming.batches import ALONE, Batches, Epochs, Ranks, Stream
from synthgen.training.streaming.preparation import Preparation
from synthgen.training.streaming.shard_cache import ShardBlocks

UNMOVED_SAMPLES = 2000
"""On which a network is looked at: a few, because this happens after each epoch."""


@dataclass(frozen=True)
class Job:
    """What is to be trained."""

    recipe: Recipe
    domain: Domain
    data: Epochs
    history: tuple[TrainedOn, ...]
    """The data of this training last, of earlier ones before it."""
    validation: Batches | None = None
    """Looked at after each epoch."""
    weights: dict[str, Tensor] | None = None
    """To begin with; random ones if left out."""


@dataclass(frozen=True)
class Keeping:
    """What is written while a training runs."""

    folder: Path
    save_every_s: float = 300.0
    """Besides the ends of epochs that take half a minute; 0 saves after every update."""
    log_every: int = 50
    """Updates of a line in the log."""
    tensorboard: bool = False


@dataclass(frozen=True)
class Progress:
    """A training at one moment."""

    epoch: int
    """From 1."""
    epochs: int
    updates: int
    all_updates: int
    loss: float
    """Mean since the last line of the log."""
    samples_per_s: float
    seconds_left: float


Listener = ProgressListener[Progress]


def dataset_job(
    dataset: Dataset, recipe: Recipe, ranks: Ranks = ALONE, weights: dict[str, Tensor] | None = None
) -> Job:
    """Return the training of a network on a dataset, with its validation samples looked at after each epoch.

    Args:
        dataset: An open dataset.
        recipe: How to train.
        ranks: Which of several processes this is.
        weights: To begin with; random ones if left out.

    Raises:
        DatasetError: The dataset has no samples for training, or its labels cannot be read.

    """
    blocks = ShardBlocks(dataset, "train", recipe.input, recipe.samples)
    data = Stream(blocks, preparation_for(dataset.spec, recipe), recipe.batch, recipe.seed, ranks=ranks)
    history = (TrainedOn("dataset", dataset.title, dataset.sha256),)
    held_out = any(shard.split == "validation" for shard in dataset.shards)
    validation = unmoved(dataset, "validation", recipe) if held_out else None
    return Job(recipe, dataset.domain, data, history, validation, weights)


def preparation_for(spec: ResolvedSpec, recipe: Recipe) -> Preparation:
    """Return what is done to the samples of a spec on their way to a network in training."""
    labels = label_space(Domain.of_spec(spec), recipe)
    artefacts = spec.artefacts if recipe.artefacts else None
    return Preparation(labels, artefacts, spec.seed, recipe.augmentation, recipe.seed)


def unmoved(dataset: Dataset, split: Split, recipe: Recipe) -> Batches:
    """Return the first samples of a split as stored, with the artefacts of epoch 0 but not moved.

    Raises:
        DatasetError: The split has no samples, or its labels cannot be read.

    """
    blocks = ShardBlocks(dataset, split, recipe.input, UNMOVED_SAMPLES)
    preparation = replace(preparation_for(dataset.spec, recipe), augmentation=None)
    return Stream(blocks, preparation, recipe.batch, window=0).epoch(0)
