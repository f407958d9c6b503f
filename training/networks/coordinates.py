"""Landmarks as the numbers that a network puts out, and back."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", Tensor, NDArray[np.float64], NDArray[np.float32])


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
        return labels.reshape(len(points), points.shape[1] * self.coordinates)

    def decode(self, labels: Array) -> Array:
        """Return landmarks (n, K, coordinates) of labels (n, K * coordinates)."""
        points = labels.reshape(len(labels), labels.shape[1] // self.coordinates, self.coordinates)
        return (points + self._shifts(points)) / self._factors(points)

    def _factors(self, like: Array) -> Array:
        return _like((2 * self.reach / self.width, 2 * self.reach / self.height, 1.0)[: self.coordinates], like)

    def _shifts(self, like: Array) -> Array:
        return _like((self.reach, self.reach, 0.0)[: self.coordinates], like)


def _like(numbers: tuple[float, ...], like: Array) -> Array:
    if isinstance(like, Tensor):
        return torch.tensor(numbers, dtype=like.dtype, device=like.device)
    return np.array(numbers, dtype=like.dtype)
