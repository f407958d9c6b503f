"""The sample: the contract between the generator and training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import Floats


@dataclass(frozen=True)
class Labels:
    """The landmarks of one image, in the order of the landmark set."""

    landmarks_px: Floats
    """(K, 2) continuous pixels."""
    landmarks_mm: Floats
    """(K, 3) camera frame."""
    visible: NDArray[np.bool_]
    """(K,) seen by the camera, not hidden behind another surface."""
    in_frame: NDArray[np.bool_]
    """(K,) inside the image."""


@dataclass(frozen=True)
class Sample:
    """One rendering with its exact labels and its recipe."""

    index: int
    depth_mm: NDArray[np.float32]
    """(H, W) camera-frame z in mm, +inf where nothing is hit; the mask is where it is finite."""
    labels: Labels
    mm_per_px: float
    shape: dict[str, Any]
    pose: dict[str, Any]
    camera: dict[str, Any]
