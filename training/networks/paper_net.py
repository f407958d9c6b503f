"""The paper's network, and which networks there are.

Riegler et al. 2015, Table 1: three convolutions and three fully-connected layers that look at one patch and put out
the coordinates of all landmarks.
"""

from typing import Literal, cast

import torch
from torch import Tensor, nn

from synthgen.errors import SynthgenError
from synthgen.training.networks.base import LandmarkNet
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.heatmap_net import HeatmapNet

Arch = Literal["paper", "heatmap"]
_CHANNELS, _HIDDEN = 32, 2048


class PaperNet(LandmarkNet):
    """Table 1: conv5-32, pool, conv5-32, pool, conv3-32, fc2048, fc2048, fc; no padding, dropout after each hidden fc.

    A ReLU follows each convolution and each hidden fully-connected layer. Where a pool follows too it comes first: the
    larger of two numbers stays the larger one, so that the result and its gradient are the same at a quarter of the
    work.
    """

    def __init__(self, width: int, height: int, outputs: int, dropout: float = 0.5) -> None:
        """Make a network with random weights, drawn from torch's own generator.

        Args:
            width: Of the patch, pixels.
            height: Of the patch, pixels.
            outputs: Numbers to put out.
            dropout: Share of the hidden units that is left out in training.

        Raises:
            SynthgenError: The patch is too small for the convolutions.

        """
        super().__init__()
        columns, rows = (((side - 4) // 2 - 4) // 2 - 2 for side in (width, height))
        if columns < 1 or rows < 1:
            raise SynthgenError(f"image: {width}x{height} pixels are too small for this network; give at least 24x24")
        self.features = nn.Sequential(
            nn.Conv2d(1, _CHANNELS, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3), nn.ReLU(),
        )  # fmt: skip
        self.regressor = nn.Sequential(
            nn.Flatten(),
            nn.Linear(_CHANNELS * rows * columns, _HIDDEN), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(_HIDDEN, outputs),
        )  # fmt: skip

    def outputs(self, images: Tensor) -> Tensor:
        """Return labels (n, outputs) of images (n, 1, H, W)."""
        return cast("Tensor", self.regressor(self.features(images)))


def build_model(arch: Arch, labels: LabelSpace, landmarks: int, dropout: float, seed: int) -> LandmarkNet:
    """Return a network with the random weights of a seed; torch's own generators stay as they are.

    Args:
        arch: Which network.
        labels: The patch and what the network puts out.
        landmarks: How many.
        dropout: Share of the hidden units that is left out in training.
        seed: Of the weights.

    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if arch == "heatmap":
            return HeatmapNet(labels, landmarks, dropout)
        return PaperNet(labels.width, labels.height, landmarks * labels.coordinates, dropout)


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(parameter.numel() for parameter in model.parameters())
