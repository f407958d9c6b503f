"""The two kinds of real scans: volumes, which have patient coordinates, and 2D pictures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import Floats


@dataclass(frozen=True)
class Volume:
    """A 3D scan."""

    voxels: NDArray[Any]
    """(I, J, K), integers or floats, indexed i, j, k as in the file; a transposed view in which i varies fastest."""
    affine: Floats
    """(4, 4), homogeneous: from a voxel's centre (i, j, k, 1) to the patient frame LPS, mm; never singular."""

    @property
    def spacing_mm(self) -> Floats:
        """(3,) distance between neighbouring voxel centres along i, j and k."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        i, j, k = self.voxels.shape
        return i, j, k


@dataclass(frozen=True)
class Picture:
    """A 2D scan, such as a radiograph or a drawn mask, as it is stored."""

    pixels: NDArray[Any]
    """(H, W), one channel, integers, floats or booleans; dense material is bright."""
    mm_per_px: tuple[float, float] | None
    """Pixel spacing along x and y, mm; None if the file does not give it."""
