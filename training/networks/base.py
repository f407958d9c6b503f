"""What every network of ours is: labels of images, and the loss that it learns by."""

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn


class LandmarkNet(nn.Module, ABC):
    """A network that finds landmarks.

    The loss is computed inside of `forward`, because that alone is what compiled and distributed networks pass on.
    """

    @abstractmethod
    def outputs(self, images: Tensor) -> Tensor:
        """Return what the layers put out for images (n, 1, H, W)."""

    def labels_of(self, outputs: Tensor) -> Tensor:
        """Convert outputs to labels (n, coordinates of all landmarks)."""
        return outputs

    def loss_of(self, outputs: Tensor, targets: Tensor, samples: float) -> Tensor:
        """Return what is to become small; arguments as in `landmark_loss`."""
        return landmark_loss(self.labels_of(outputs), targets, samples)

    def forward(self, images: Tensor, targets: Tensor | None = None, samples: float = 0.0) -> Tensor:
        """Return the labels of images, or with targets the loss.

        Args:
            images: (n, 1, H, W).
            targets: (n, coordinates of all landmarks), NaN where one is not known.
            samples: What the loss is divided by: the batch of which these are all or a part.

        """
        outputs = self.outputs(images)
        return self.labels_of(outputs) if targets is None else self.loss_of(outputs, targets, samples)

    def __call__(self, images: Tensor, targets: Tensor | None = None, samples: float = 0.0) -> Tensor:
        """Run `forward`, with its types."""
        return cast("Tensor", super().__call__(images, targets, samples))


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
