"""Decoded and packed samples: the form of shards, scan sets and batches in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthgen.geometry import Floats

Inputs = Literal["mask", "depth"]
"""What a network takes as input."""
Rows = NDArray[np.integer[Any]] | slice

_EIGHTS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).view(np.uint64)[:, 0].copy()
"""The eight pixels of each byte; twice as fast as `numpy.unpackbits`."""


@dataclass(frozen=True)
class Block:
    """n samples, packed."""

    indices: NDArray[np.int64]
    """(n,) of the samples within their dataset."""
    images: NDArray[np.uint8] | NDArray[np.uint16]
    """(n, H, W / 8) masks, 8 pixels per byte, leftmost highest; or (n, H, W) depth codes, 0 for background."""
    landmarks_px: Floats
    """(n, K, 2) continuous pixels, NaN where missing."""
    visible: NDArray[np.bool_]
    """(n, K) visible to the camera; for a scan: known."""
    landmarks_z_mm: Floats
    """(n, K) depth of each landmark, in the frame of the codes; all NaN if the images are masks."""
    depth_near_mm: Floats
    """(n,) the depth whose code is 1; NaN if the images are masks."""
    depth_steps_per_mm: Floats
    """(n,) codes per mm; NaN if the images are masks."""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(int(getattr(self, field.name).nbytes) for field in fields(self))

    def take(self, rows: Rows) -> "Block":
        """Return some of the samples."""
        return Block(*(getattr(self, field.name)[rows] for field in fields(self)))

    def mirrored(self, width: int) -> "Block":
        """Return the samples mirrored: right hands as left hands."""
        images = self.images[:, :, ::-1] if self.images.dtype == np.uint16 else None
        if images is None:
            images = pack_masks(unpack_masks(self.images, width)[:, :, ::-1])
        landmarks = self.landmarks_px * (-1, 1) + (width, 0)
        numbers = (self.landmarks_z_mm, self.depth_near_mm, self.depth_steps_per_mm)
        return Block(self.indices, np.ascontiguousarray(images), landmarks, self.visible, *numbers)


def join_blocks(blocks: Sequence[Block]) -> Block:
    """Concatenate blocks."""
    return Block(*(np.concatenate([getattr(block, field.name) for block in blocks]) for field in fields(Block)))


def mask_block(indices: NDArray[np.int64], masks: NDArray[np.bool_], landmarks_px: Floats) -> Block:
    """Return masks (n, H, W) with their landmarks (n, K, 2) as a block."""
    nothing = np.full(len(masks), np.nan)
    unknown, known = np.full(landmarks_px.shape[:2], np.nan), ~np.isnan(landmarks_px).any(axis=2)
    return Block(indices, pack_masks(masks), landmarks_px, known, unknown, nothing, nothing)


def pack_masks(masks: NDArray[np.bool_] | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack masks (n, H, W) to (n, H, W / 8), rounded up."""
    return np.packbits(masks, axis=2)


def unpack_masks(packed: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """Return packed masks as (n, H, W), 0 or 1."""
    eights = np.empty(packed.shape, dtype=np.uint64)
    _look_up(np.ascontiguousarray(packed).reshape(-1), _EIGHTS, eights.reshape(-1))
    return np.ascontiguousarray(eights.view(np.uint8)[:, :, :width])


@njit(cache=True, nogil=True)
def _look_up(
    codes: NDArray[np.uint8], table: NDArray[np.uint64], words: NDArray[np.uint64]
) -> None:  # pragma: no cover
    for i in range(np.uint64(len(codes))):
        words[i] = table[codes[i]]


def unpack_depths(block: Block) -> NDArray[np.float32]:
    """Return the depth codes of a block as mm in the camera frame, (n, H, W), infinite in the background."""
    if block.images.dtype != np.uint16:
        raise ValueError("images: masks have no depth; give a block with inputs depth")
    depths = np.empty(block.images.shape, dtype=np.float32)
    _decode(block.images, block.depth_near_mm, block.depth_steps_per_mm, depths)
    return depths


@njit(cache=True, nogil=True)
def _decode(
    codes: NDArray[Any], near_mm: Floats, steps: Floats, depths: NDArray[np.float32]
) -> None:  # pragma: no cover
    for n in range(len(codes)):
        code, depth = codes[n].reshape(-1), depths[n].reshape(-1)
        for i in range(len(code)):
            if code[i]:
                depth[i] = near_mm[n] + np.int32(np.int32(code[i]) - np.int32(1)) / steps[n]
            else:
                depth[i] = np.inf
