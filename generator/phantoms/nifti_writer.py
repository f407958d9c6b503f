"""Writes volumes as NIfTI-1 (.nii.gz) deterministically, and reorders their axes."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import Floats
from synthgen.storage.atomic_files import atomic_file

_SCANNER = 1
"""NIfTI's code for scanner coordinates."""
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LEVEL = 1
"""gzip level; noise hardly compresses, so higher levels only take longer."""


def stored_as(
    voxels: NDArray[np.int16], affine: Floats, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> tuple[NDArray[np.int16], Floats]:
    """Return the same volume in another of the 48 axis orders and directions: a view of its voxels, and its affine.

    Args:
        voxels: (I, J, K)
        affine: (4, 4) from voxel centres (i, j, k, 1) to mm.
        order: The old axis of each new axis.
        flips: Whether each new axis is reversed.
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
    """Write a volume; nibabel streams it slice by slice, so there is no second copy in memory.

    Args:
        path: File to write, .nii.gz.
        voxels: (I, J, K)
        affine: (4, 4) from voxel centres (i, j, k, 1) to LPS mm; its columns are orthogonal.
    """
    from nibabel.nifti1 import Nifti1Image  # noqa: PLC0415 (slow to load, and not needed for rendering)

    ras = _LPS_TO_RAS @ affine
    image = Nifti1Image(voxels, ras)
    image.set_sform(ras, _SCANNER)
    image.set_qform(ras, _SCANNER)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"phantom made by synthgen, not patient data"
    with atomic_file(path) as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as file:
        image.to_stream(file)
