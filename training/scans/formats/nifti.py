"""The header of NIfTI files (versions 1 and 2, one file, gzipped or not), read by nibabel."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.untrusted_files import open_regular
from synthgen.training.scans.formats.voxels import Layout, check_affine, check_sizes

_GZIP = b"\x1f\x8b"
_HEADER_BYTES = 540
"""Header size of version 2; that of version 1 is smaller."""
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNIT_MM = {"unknown": 1.0, "meter": 1000.0, "mm": 1.0, "micron": 0.001}


def nifti_layout(path: Path) -> Layout:
    """Read and check the header of a ``.nii`` or ``.nii.gz`` file.

    The affine is the file's sform, or its qform where it has no sform, turned from RAS to LPS.

    Raises:
        ScanError: The header is invalid or unsupported; the text gives the reason.

    """
    packed, header = _read_header(path)
    try:
        with np.errstate(all="ignore"):  # values that are not finite are rejected later
            return _layout(path, header, packed=packed)
    except (HeaderDataError, ValueError) as error:
        raise ScanError(f"{path}: {' '.join(str(error).split())[:120]}; correct the header") from None


def _read_header(path: Path) -> tuple[bool, Nifti1Header]:
    """Return whether the file is gzipped, and its header."""
    with open_regular(path) as file:
        packed = file.peek(2)[:2] == _GZIP
        try:
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(_HEADER_BYTES)
        except (EOFError, OSError, zlib.error) as error:
            raise ScanError(f"{path}: cannot be decompressed ({error}); copy or export it again") from None
    kinds: tuple[Any, ...] = (Nifti1Header, Nifti2Header)
    for kind in kinds:
        if kind.may_contain_header(data):
            header = kind(data[: kind.sizeof_hdr], check=False)
            if header["magic"].item() != kind.single_magic:
                raise ScanError(f"{path}: is one of a pair of NIfTI files; save it as one .nii.gz")
            return packed, header
    raise ScanError(f"{path}: has no NIfTI header; copy or export it again")


def _layout(path: Path, header: Nifti1Header, *, packed: bool) -> Layout:
    sizes = tuple(int(size) for size in header.get_data_shape())
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    check_sizes(path, sizes)
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        dtype = np.dtype("V")
    channels = len(dtype.names or "1")  # colors are records of bytes
    dtype = np.dtype(np.uint8) if dtype.names else dtype
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ScanError(f"{path}: has voxels of NIfTI type {int(header['datatype'])}; save it with integers or floats")
    slope, intercept = header.get_slope_inter()
    return Layout(
        path=path,
        data=path,
        start=0,
        packed=packed,
        skip=_offset(path, header),
        dtype=dtype,
        sizes=sizes,
        channels=channels,
        affine=_affine(path, header, volume=len(sizes) == 3 and sizes[2] > 1),
        spacing_stated=True,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
    )


def _offset(path: Path, header: Nifti1Header) -> int:
    """Return the offset of the voxels; 0 in the header means directly after it."""
    offset, least = float(header["vox_offset"]), header.sizeof_hdr + 4
    if offset == 0:
        return least
    if not (least <= offset <= 2**30 and offset == int(offset)):
        raise ScanError(f"{path}: its voxels begin at byte {offset:g}, within its header; export it again")
    return int(offset)


def _affine(path: Path, header: Nifti1Header, *, volume: bool) -> Floats:
    """Return the affine (4, 4) from voxel centres to LPS mm; a 2D image needs no patient orientation."""
    try:
        unit = _UNIT_MM[header.get_xyzt_units()[0]]
    except KeyError:
        raise ScanError(f"{path}: its unit of length is unknown; correct xyzt_units in the header") from None
    if volume and header["sform_code"] <= 0 and header["qform_code"] <= 0:
        raise ScanError(f"{path}: has no patient orientation (no sform, no qform); set its sform")
    if header["pixdim"][0] != -1:
        header["pixdim"][0] = 1  # the standard reads 0 as 1, but nibabel rejects it
    affine: Floats = header.get_best_affine().astype(np.float64)
    affine[:3] *= unit
    affine = _TO_LPS @ affine
    if volume:
        check_affine(path, affine)
    return affine
