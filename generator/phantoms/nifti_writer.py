"""Writes volumes as NIfTI-1 (.nii.gz), the same bytes on every run; and turns their axes about."""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import Floats
from synthgen.storage.atomic_files import atomic_file

_HEADER_BYTES, _INT16, _UNITS_MM, _SCANNER = 348, 4, 2, 1
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SLAB_BYTES = 2**24
_LEVEL = 1
"""Noise hardly shrinks, and a higher level only takes longer."""


def stored_as(
    voxels: NDArray[np.int16], affine: Floats, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> tuple[NDArray[np.int16], Floats]:
    """Return the same volume in another of the 48 orders of its axes: a view of its voxels, and their affine.

    Args:
        voxels: (I, J, K)
        affine: (4, 4) from voxel centres (i, j, k, 1) to mm.
        order: The old axis that each new axis is.
        flips: Whether each new axis runs backwards.
    """
    turned = voxels.transpose(order)
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, old in enumerate(order):
        change[old, new] = -1 if flips[new] else 1
        change[old, 3] = turned.shape[new] - 1 if flips[new] else 0
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    return turned[steps], affine @ change


def write_nifti(path: Path, voxels: NDArray[np.int16], affine: Floats) -> None:
    """Write a volume.

    Args:
        path: File to write, .nii.gz.
        voxels: (I, J, K)
        affine: (4, 4) from voxel centres (i, j, k, 1) to LPS mm; its columns are at right angles.
    """
    slab = max(1, _SLAB_BYTES // (2 * voxels.shape[0] * voxels.shape[1]))
    with atomic_file(path) as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as file:
        file.write(nifti_header(voxels.shape, affine))
        for first in range(0, voxels.shape[2], slab):
            file.write(np.ascontiguousarray(voxels[:, :, first : first + slab].T, dtype="<i2").data)


def nifti_header(shape: tuple[int, ...], affine: Floats) -> bytes:
    """Return the header of an int16 volume up to its voxels: the affine as qform and as sform, in the scanner's RAS."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 (slow to load, and rendering needs none of it)

    ras = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(ras[:3, :3], axis=0)
    rotation = ras[:3, :3] / spacing
    handed = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    x, y, z, w = Rotation.from_matrix(rotation * [1, 1, handed]).as_quat()
    quaternion = np.array([x, y, z]) * (1 if w >= 0 else -1)
    header = bytearray(_HEADER_BYTES + 4)
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _INT16, 16)
    struct.pack_into("<8f", header, 76, handed, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _HEADER_BYTES + 4, 1, 0)  # where the voxels start; their slope, intercept
    struct.pack_into("<b", header, 123, _UNITS_MM)
    struct.pack_into("<80s", header, 148, b"phantom made by synthgen, not patient data")
    struct.pack_into("<2h", header, 252, _SCANNER, _SCANNER)
    struct.pack_into("<6f", header, 256, *quaternion, *ras[:3, 3])
    struct.pack_into("<12f", header, 280, *ras[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1")
    return bytes(header)
