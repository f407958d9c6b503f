"""A small fully-convolutional network that draws a heatmap of each landmark and puts out where its mass lies.

Soft-argmax coordinates ("integral regression": Sun et al., ECCV 2018) train with the same loss on coordinates as the
paper's network, with a hundredth of its weights.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from synthgen.errors import SynthgenError
from synthgen.training.label_space import LabelSpace

_CHANNELS = (24, 48, 96)
_DILATIONS = (1, 2, 4)
"""At an eighth of the patch's size they let every place see all of a patch of about 100 pixels."""
_GROUPS = 8
_SHARPNESS = 10.0
"""What maps are multiplied by before the softmax; with 1, small weights give maps that are nearly flat."""


class HeatmapNet(nn.Module):
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

    def forward(self, images: Tensor) -> Tensor:
        """Return labels (n, landmarks * coordinates) of images (n, 1, H, W)."""
        skips = [images]
        for step in self.down:
            skips.append(step(skips[-1]))
        features = self.around(skips.pop())
        for step in self.up:
            skip = skips.pop()
            features = interpolate(features, size=skip.shape[2:], mode="bilinear", align_corners=False)
            features = step(torch.cat([features, skip], dim=1))
        maps = self.maps(features).float()
        heat = (_SHARPNESS * maps[:, : self.landmarks]).flatten(2).softmax(dim=2).reshape_as(maps[:, : self.landmarks])
        coordinates = [heat.sum(dim=2) @ self._places(heat, 3), heat.sum(dim=3) @ self._places(heat, 2)]
        if self.labels.depth:
            coordinates.append((heat * maps[:, self.landmarks :]).sum(dim=(2, 3)))
        return torch.stack(coordinates, dim=2).flatten(1)

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
