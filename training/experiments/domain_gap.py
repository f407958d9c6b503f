"""The gap that fine-tuning is to close: how much worse a network is on scans than on renderings it has not seen.

Both errors are in pixels of the patch, which is what a network sees, so that they can be compared.
"""

from dataclasses import dataclass

import numpy as np

from synthgen.datasets.dataset import Dataset
from synthgen.training.evaluation.errors import Prediction
from synthgen.training.loop.checkpoint import Checkpoint
from synthgen.training.loop.device import Device
from synthgen.training.loop.job import unmoved
from synthgen.training.loop.train import evaluate
from synthgen.training.scans.scan_set import ScanSet


@dataclass(frozen=True)
class Gap:
    """Mean errors of a network that was trained on renderings, pixels of the patch."""

    test_px: float
    """On the test split of its own dataset, with the dataset's artefacts."""
    scans_px: float

    @property
    def ratio(self) -> float:
        """How many times worse it is on the scans."""
        return self.scans_px / self.test_px if self.test_px else float("nan")

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"CNN(syn) is off by {self.test_px:.2f} px of the patch on its own test split and by {self.scans_px:.2f} "
            f"on the scans, {self.ratio:.2f} times as much"
        )


def has_own_test_split(dataset: Dataset, network: Checkpoint) -> bool:
    """Whether the dataset is the one that the network was trained on, and has samples that it was not shown."""
    unseen = any(shard.split == "test" for shard in dataset.shards)
    return unseen and [data.sha256 for data in network.history] == [dataset.sha256]


def own_test_error(dataset: Dataset, network: Checkpoint, device: Device) -> float:
    """Return the mean error of a network on the first samples of a test split, pixels of the patch.

    Raises:
        DatasetError: The split has no samples, or is damaged.

    """
    batches = unmoved(dataset, "test", network.config)
    return evaluate(device.place(network.model()), batches, network.labels, device)


def scans_error(scans: ScanSet, found: Prediction) -> float:
    """Return the mean error of predictions at the known landmarks of scans, pixels of the patch."""
    return float(np.nanmean(np.linalg.norm(found.points_px - scans.stacked("landmarks_px"), axis=2)))
