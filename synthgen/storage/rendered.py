"""Rendered samples as arrays: what passes between rendering and training without being stored."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import Floats


class RenderedSamples(NamedTuple):
    """n samples with K landmarks, with the values that they would have if stored and read again."""

    indices: NDArray[np.int64]
    """(n,) of the samples in their dataset."""
    images: NDArray[np.uint8] | NDArray[np.uint16]
    """(n, H, W / 8) masks, eight pixels per byte, the leftmost highest; or (n, H, W) depth codes, 0 the background."""
    landmarks_px: Floats
    """(n, K, 2) continuous pixels."""
    visible: NDArray[np.bool_]
    """(n, K) whether the camera sees the landmark."""
    landmarks_z_mm: Floats
    """(n, K) depth of each landmark; NaN if the images are masks."""
    depth_near_mm: Floats
    """(n,) the depth whose code is 1; NaN if the images are masks."""
    depth_steps_per_mm: Floats
    """(n,) codes per mm; NaN if the images are masks."""
