"""The paper's network and its loss, and the labels as the network sees them.

Riegler et al. 2015, Table 1: three convolutions and three fully-connected layers that look at one patch and put out
the coordinates of all landmarks.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthgen.errors import SynthgenError

Arch = Literal["paper"]
Array = TypeVar("Array", Tensor, NDArray[np.float64], NDArray[np.float32])
_CHANNELS, _HIDDEN = 32, 2048


class PaperNet(nn.Module):
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
            raise SynthgenError(f"image: {width}x{height} pixels are too small for this network; give at least 22x22")
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

    def forward(self, images: Tensor) -> Tensor:
        """Return labels (n, outputs) of images (n, 1, H, W)."""
        return cast("Tensor", self.regressor(self.features(images)))


def build_model(arch: Arch, size: tuple[int, int], outputs: int, dropout: float, seed: int) -> nn.Module:
    """Return a network with the random weights of a seed; torch's own generators stay as they are.

    Args:
        arch: Which network.
        size: Width and height of the patch, pixels.
        outputs: Numbers to put out.
        dropout: Share of the hidden units that is left out in training.
        seed: Of the weights.

    """
    makers = {"paper": PaperNet}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return makers[arch](size[0], size[1], outputs, dropout)


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers a network learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def landmark_loss(labels: Tensor, targets: Tensor, samples: float | None = None) -> Tensor:
    """Return half the squared error, summed over the coordinates and averaged over the batch.

    Args:
        labels: (n, outputs) of the network.
        targets: (n, outputs); what is NaN is not known and counts for nothing.
        samples: What to divide by, where this is only a part of the batch; n if left out.

    """
    known = ~torch.isnan(targets)
    errors = torch.where(known, labels.float() - targets, 0.0)
    return 0.5 * errors.square().sum() / (len(targets) if samples is None else samples)


@dataclass(frozen=True)
class LabelSpace:
    """How landmarks become the numbers that a network puts out, and back.

    The paper's text says [-1, 1], its equation (1) [-1/2, 1/2]: ``reach`` is 1 or 1/2. Beyond the patch labels go on
    in the same scale. Depths, where there are any, are already normalized and stay as they are.
    """

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    reach: float = 1.0
    depth: bool = False
    """Whether each landmark has a depth after x and y."""

    @property
    def coordinates(self) -> int:
        """Numbers of a landmark."""
        return 3 if self.depth else 2

    def encode(self, points: Array) -> Array:
        """Return labels (n, K * coordinates) of landmarks (n, K, coordinates): x, y in pixels, normalized depth."""
        labels = points * self._factors(points) - self._shifts(points)
        return labels.reshape(len(points), -1)

    def decode(self, labels: Array) -> Array:
        """Return landmarks (n, K, coordinates) of labels (n, K * coordinates)."""
        points = labels.reshape(len(labels), -1, self.coordinates)
        return (points + self._shifts(points)) / self._factors(points)

    def _factors(self, like: Array) -> Array:
        return _like((2 * self.reach / self.width, 2 * self.reach / self.height, 1.0)[: self.coordinates], like)

    def _shifts(self, like: Array) -> Array:
        return _like((self.reach, self.reach, 0.0)[: self.coordinates], like)


def _like(numbers: tuple[float, ...], like: Array) -> Array:
    if isinstance(like, Tensor):
        return torch.tensor(numbers, dtype=like.dtype, device=like.device)
    return np.array(numbers, dtype=like.dtype)
