"""A small fully-convolutional network: it predicts a heatmap of each landmark and returns its centre of mass.

The coordinates are the soft-argmax ("integral regression": Sun et al., ECCV 2018), with a hundredth of the weights of
the paper's network. The loss is on the heatmaps as well as on the coordinates (Nibali et al., arXiv:1801.07372): with
coordinates alone, every pixel of a map pulls at once, and the network stays at the mean hand for thousands of steps.
"""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from synthgen.errors import SynthgenError
from synthgen.training.networks.base import LandmarkNet
from synthgen.training.networks.coordinates import LabelSpace

_CHANNELS = (24, 48, 96)
_DILATIONS = (1, 2, 4)
"""At an eighth of the patch's size they let every place see all of a patch of about 100 pixels."""
_GROUPS = 8
_SIGMA = 1.0
"""Standard deviation of the Gaussian that a map is to become, in its own pixels, which are two of the patch's."""


class HeatmapNet(LandmarkNet):
    """Three halvings, dilated convolutions at the smallest size, and back up to maps of half the patch's size.

    A depth, where one is asked for, is the mean of a second map of each landmark, weighted by the first.
    """

    def __init__(self, labels: LabelSpace, landmarks: int, dropout: float = 0.0) -> None:
        """Make a network with random weights, drawn from torch's own generator.

        Args:
            labels: The patch and the scale of its labels.
            landmarks: How many.
            dropout: Share of the channels that is left out in training, at the smallest size.

        Raises:
            SynthgenError: The patch is too small.

        """
        super().__init__()
        if min(labels.width, labels.height) < 16:
            raise SynthgenError(
                f"image: {labels.width}x{labels.height} pixels are too small for this network; give at least 16x16"
            )
        self.landmarks, self.labels = landmarks, labels
        first = _CHANNELS[0]
        steps = [nn.Conv2d(1, first, 3, stride=2, padding=1), *(_halving(a, b) for a, b in pairwise(_CHANNELS))]
        self.down = nn.ModuleList(steps)
        wide = _CHANNELS[-1]
        self.around = nn.Sequential(*(_block(wide, wide, dilation) for dilation in _DILATIONS), nn.Dropout2d(dropout))
        self.up = nn.ModuleList(_block(b + a, a) for a, b in reversed(list(pairwise(_CHANNELS))))
        self.maps = nn.Conv2d(first, landmarks * (2 if labels.depth else 1), 1)

    def outputs(self, images: Tensor) -> Tensor:
        """Return maps (n, maps, H / 2, W / 2) of images (n, 1, H, W), as logarithms up to a constant."""
        skips = [images]
        for step in self.down:
            skips.append(step(skips[-1]))
        features = self.around(skips.pop())
        for step in self.up:
            skip = skips.pop()
            features = interpolate(features, size=skip.shape[2:], mode="bilinear", align_corners=False)
            features = step(torch.cat([features, skip], dim=1))
        return cast("Tensor", self.maps(features)).float()

    def labels_of(self, outputs: Tensor) -> Tensor:
        """Return the labels (n, landmarks * coordinates) of the centres of mass of heatmaps."""
        heat = self._log_heat(outputs).exp()
        # No matrix product: in bfloat16 it would leave a third of a pixel.
        coordinates = [(heat.sum(dim=5 - axis) * self._places(heat, axis)).sum(dim=2) for axis in (3, 2)]
        if self.labels.depth:
            coordinates.append((heat * outputs[:, self.landmarks :]).sum(dim=(2, 3)))
        return torch.stack(coordinates, dim=2).flatten(1)

    def loss_of(self, outputs: Tensor, targets: Tensor, samples: float) -> Tensor:
        """Return the loss of the coordinates and the divergence of the maps from Gaussians around the landmarks."""
        points = targets.reshape(len(targets), self.landmarks, self.labels.coordinates)[..., :2]
        known = ~torch.isnan(points).any(dim=2)
        wanted = self._log_gaussians(torch.where(known[..., None], points, 0.0), outputs)
        divergence = (wanted.exp() * (wanted - self._log_heat(outputs))).sum(dim=(2, 3))
        return super().loss_of(outputs, targets, samples) + torch.where(known, divergence, 0.0).sum() / samples

    def _log_heat(self, outputs: Tensor) -> Tensor:
        """Return the logarithms of each landmark's map, whose sum is 1."""
        maps = outputs[:, : self.landmarks]
        return maps.flatten(2).log_softmax(dim=2).reshape_as(maps)

    def _log_gaussians(self, points: Tensor, maps: Tensor) -> Tensor:
        """Return the logarithms of maps whose mass, in sum 1, is a Gaussian around labels (n, landmarks, 2)."""
        sides = []
        for coordinate, axis in ((0, 3), (1, 2)):
            places = self._places(maps, axis)
            sigma = _SIGMA * 2 * self.labels.reach / len(places)
            sides.append((-0.5 * ((places - points[..., coordinate, None]) / sigma).square()).log_softmax(dim=2))
        return sides[1][..., :, None] + sides[0][..., None, :]

    def _places(self, maps: Tensor, axis: int) -> Tensor:
        """Return the labels of the centres of the columns or rows of maps."""
        count = maps.shape[axis]
        centres = torch.arange(count, dtype=maps.dtype, device=maps.device) + 0.5
        return centres * (2 * self.labels.reach / count) - self.labels.reach


def _block(inputs: int, outputs: int, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, outputs), nn.ReLU())


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), _block(inputs, outputs, stride=2))
