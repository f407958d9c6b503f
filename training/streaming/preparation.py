"""From packed samples to a network's input: unpack, augment, apply artefacts, normalize.

A batch is a pure function of its samples, the settings and the epoch.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from synthgen.geometry import Floats
from synthgen.specs.artefacts import Artefacts, apply_artefacts
from synthgen.storage.depth import BACKGROUND
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.streaming.augmentation import Augmentation, draw_moves, move_images, move_points
from synthgen.training.streaming.packed_samples import Block, Inputs, unpack_masks


@dataclass(frozen=True)
class Batch:
    """n samples in the form a network takes, on the CPU."""

    images: Tensor
    """(n, 1, H, W): masks as uint8, 0 or 1; or normalized depth as float32."""
    targets: Tensor
    """(n, outputs) float32 labels, NaN where a landmark is missing."""
    indices: Tensor
    """(n,) int64, of the samples within their dataset."""
    depth_scale: Tensor
    """(n, 2) float64, mm: mean and standard deviation that undo the normalization; NaN if the images are masks."""
    total: int
    """Samples of the whole batch, over all ranks."""
    visible: Tensor
    """(n, K) bool, visible to the camera."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Preparation:
    """The processing of samples for a network."""

    labels: LabelSpace
    artefacts: Artefacts | None = None
    """Simulated scan artefacts of silhouettes; None adds none."""
    artefact_seed: int = 0
    """The seed of the spec."""
    augmentation: Augmentation | None = None
    augmentation_seed: int = 0

    @property
    def inputs(self) -> Inputs:
        """The network's input."""
        return "depth" if self.labels.depth else "mask"

    def batch(self, block: Block, epoch: int, total: int) -> Batch:
        """Return samples as a batch.

        Args:
            block: The samples.
            epoch: Each epoch draws different artefacts and moves.
            total: Samples of the whole batch.

        """
        images, points = block.images, block.landmarks_px
        masks = unpack_masks(images, self.labels.width) if self.inputs == "mask" else None
        if self.augmentation is not None:
            moves = draw_moves(self.augmentation, self.augmentation_seed, epoch, block.indices)
            points = move_points(points, moves, (self.labels.width, self.labels.height))
            if masks is None:
                images = move_images(images, moves)
            else:
                masks = move_images(masks, moves)
        if masks is None:
            return self._depth_batch(replace(block, images=images, landmarks_px=points), epoch, total)
        if self.artefacts is not None:
            masks = apply_artefacts(masks, self.artefacts, self.artefact_seed, epoch, block.indices)
        nothing = torch.full((len(block), 2), torch.nan, dtype=torch.float64)
        return self._batch(torch.from_numpy(masks), points, (block, nothing), total)

    def _depth_batch(self, block: Block, epoch: int, total: int) -> Batch:
        masks = (block.images > 0).astype(np.uint8)
        if self.artefacts is not None:
            masks = apply_artefacts(masks, self.artefacts, self.artefact_seed, epoch, block.indices)
        images = np.empty(masks.shape, dtype=np.float32)
        scale = np.empty((len(block), 2))
        _normalize(block.images, masks, np.float32(BACKGROUND), images, scale)
        scale = _in_mm(scale, block)
        depths = (block.landmarks_z_mm - scale[:, :1]) / scale[:, 1:]
        points = np.concatenate([block.landmarks_px, depths[..., None]], axis=2)
        return self._batch(torch.from_numpy(images), points, (block, torch.from_numpy(scale)), total)

    def _batch(self, images: Tensor, points: Floats, rest: tuple[Block, Tensor], total: int) -> Batch:
        block, scale = rest
        targets = torch.from_numpy(self.labels.encode(points).astype(np.float32))
        indices, visible = torch.from_numpy(block.indices), torch.from_numpy(block.visible)
        return Batch(images[:, None], targets, indices, scale, total, visible)


def _in_mm(scale: Floats, block: Block) -> Floats:
    """Convert means and deviations (n, 2) from codes to mm; deviation 1 if flat or empty, as in `depth`."""
    steps = block.depth_steps_per_mm
    mean = block.depth_near_mm + (scale[:, 0] - 1) / steps
    empty, flat = np.isnan(scale[:, 0]), scale[:, 1] == 0
    return np.stack([np.where(empty, 0.0, mean), np.where(flat, 1.0, scale[:, 1] / steps)], axis=1)


@njit(cache=True, nogil=True)
def _normalize(
    codes: NDArray[Any], masks: NDArray[np.uint8], background: Any, images: NDArray[np.float32], scale: Floats
) -> None:  # pragma: no cover
    """Normalize the codes under a mask to zero mean and unit deviation, scale (n, 2), like `synthgen.storage.depth`.

    Pixels that an artefact added have no depth and get the mean.
    """
    for n in range(len(codes)):
        code, mask, image = codes[n].reshape(-1), masks[n].reshape(-1), images[n].reshape(-1)
        count, total, lowest, highest = 0, np.int64(0), np.int64(65536), np.int64(0)
        for i in range(len(code)):
            if code[i] and mask[i]:
                value = np.int64(code[i])
                count += 1
                total += value
                lowest, highest = min(lowest, value), max(highest, value)
        mean: Any = math.nan
        deviation: Any = 0.0
        if count:
            mean = total / count
            for i in range(len(code)):
                if code[i] and mask[i]:
                    deviation += (code[i] - mean) * (code[i] - mean)
            deviation = math.sqrt(deviation / count)
        scale[n, 0], scale[n, 1] = mean, deviation
        for i in range(len(code)):
            image[i] = background
            if mask[i]:
                image[i] = np.float32((code[i] - mean) / deviation) if code[i] and highest > lowest else np.float32(0)
