"""Augmentation that keeps labels exact: patches are rotated, scaled and shifted together with their landmarks."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from synthgen.geometry import Floats
from synthgen.randomness.philox import Sequences
from synthgen.randomness.seeding import Streams


class Augmentation(BaseModel):
    """Maximum rotation, scaling and shift of patches; each value is drawn uniformly from its range."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation_deg: float = Field(
        0.0, ge=0, le=180, strict=True, description="Turn about the patch's centre, degrees, to either side."
    )
    scale: float = Field(
        0.0, ge=0, lt=1, strict=True, description="Change of size: 0.1 gives 0.9 to 1.1 times the size."
    )
    shift: float = Field(
        0.0,
        ge=0,
        le=0.5,
        strict=True,
        description="Shift in x and in y, as a fraction of the patch's width and height.",
    )


def draw_moves(augmentation: Augmentation, seed: int, epoch: int, indices: NDArray[np.int64]) -> Floats:
    """Draw the moves of samples in an epoch: (n, 4) angle in radians, scale factor, and shifts as fractions."""
    reach = [np.deg2rad(augmentation.rotation_deg), augmentation.scale, augmentation.shift, augmentation.shift]
    streams = Sequences(Streams(seed, tuple(indices.tolist()), f"augment/{epoch}").keys)
    moves: Floats = (streams.each(4).random(4 * len(indices)).reshape(-1, 4) * 2 - 1) * np.array(reach)
    moves[:, 1] += 1
    return moves


def move_points(points: Floats, moves: Floats, size: tuple[int, int]) -> Floats:
    """Return landmarks (n, K, 2) after moves (n, 4), in continuous pixels of patches of (width, height)."""
    turn, centre = _turns(moves), np.array(size) / 2
    shift = moves[:, None, 2:] * size
    return np.einsum("nij,nkj->nki", turn, points - centre) * moves[:, 1, None, None] + centre + shift


def move_images(images: NDArray[Any], moves: Floats) -> NDArray[Any]:
    """Return masks or depth codes (n, H, W) after moves (n, 4).

    A pixel is foreground if its bilinearly interpolated coverage is at least half. Depths are never interpolated: the
    nearest pixel with a depth gives it. Pixels from outside the patch repeat its border, because a forearm that the
    border cuts continues beyond it.
    """
    moved = np.empty_like(images)
    _move(images, moved, _turns(moves), moves)
    return moved


def _turns(moves: Floats) -> Floats:
    """Return rotations (n, 2, 2); positive angles turn from x to y, clockwise in an image."""
    cosine, sine = np.cos(moves[:, 0]), np.sin(moves[:, 0])
    return np.stack([np.stack([cosine, -sine], axis=1), np.stack([sine, cosine], axis=1)], axis=1)


@njit(cache=True, nogil=True)
def _move(images: NDArray[Any], moved: NDArray[Any], turns: Floats, moves: Floats) -> None:  # pragma: no cover
    """Fill each pixel from the position of its centre before the move."""
    height, width = images.shape[1:]
    for n in range(len(images)):
        image, turn, factor = images[n], turns[n], moves[n, 1]
        left, top = width / 2 + moves[n, 2] * width, height / 2 + moves[n, 3] * height
        for row in range(height):
            for column in range(width):
                x, y = (column + 0.5 - left) / factor, (row + 0.5 - top) / factor
                # The inverse of a rotation is its transpose; pixel centres become integers.
                source_x = min(max(turn[0, 0] * x + turn[1, 0] * y + width / 2 - 0.5, 0.0), width - 1.0)
                source_y = min(max(turn[0, 1] * x + turn[1, 1] * y + height / 2 - 0.5, 0.0), height - 1.0)
                x0, y0 = int(source_x), int(source_y)
                along, down = source_x - x0, source_y - y0
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                covered, best, value = 0.0, -1.0, image[y0, x0]
                for k in range(4):
                    xk, yk = (x1, y0) if k == 1 else (x0, y1) if k == 2 else (x1, y1) if k == 3 else (x0, y0)
                    weight = (along if k & 1 else 1 - along) * (down if k & 2 else 1 - down)
                    if image[yk, xk]:
                        covered += weight
                        if weight > best:
                            best, value = weight, image[yk, xk]
                moved[n, row, column] = value if covered >= 0.5 else 0
