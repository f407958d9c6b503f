"""The voxels of an image file whose header has been read: checked against file size and free memory, then loaded."""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.untrusted_files import file_size, open_regular

MAX_EXPANSION = 1032
"""DEFLATE's maximum ratio: no byte decompresses to more."""
MEMORY_SHARE = 0.5
"""Share of the free memory that one scan may take."""
SPACING_MM = (1e-4, 1e4)
"""Smallest and largest plausible voxel spacing."""
_MAX_ORIGIN_MM = 1e7
_MIN_VOLUME = 0.1
"""Minimum volume of three unit vectors along the axes: 1 if they are orthogonal, 0 if singular."""
_SURPLUS = 65536
"""Bytes after the voxels that are tolerated."""
_PACKED, _UNPACKED = 2**16, 2**20
_AUTO = 47
"""zlib's window bits: the largest window, with a zlib or gzip header detected automatically."""


@dataclass(frozen=True)
class Layout:
    """How an image file stores its voxels, according to its header; no voxel has been read yet."""

    path: Path
    """The image, for messages."""
    data: Path
    """The file with the voxels."""
    start: int
    """Offset in that file of the voxels, or of the compressed stream with them."""
    packed: bool
    """Whether the rest is a zlib or gzip stream."""
    skip: int
    """Bytes to skip before the voxels, after decompression."""
    dtype: np.dtype[Any]
    """Type of a stored number, with its byte order."""
    sizes: tuple[int, ...]
    """Voxels along i, j and, for a volume, k."""
    channels: int
    """Channels per voxel; this axis varies fastest."""
    affine: Floats
    """(4, 4), homogeneous: voxel centre (i, j, k, 1) to LPS mm."""
    spacing_stated: bool
    slope: float = 1.0
    """Value = slope * stored + intercept."""
    intercept: float = 0.0

    @property
    def bytes(self) -> int:
        """Size of the voxels in memory, as stored."""
        return math.prod(self.sizes) * self.channels * self.dtype.itemsize


def check_sizes(path: Path, sizes: tuple[int, ...]) -> None:
    """Reject images that are neither 3D nor 2D, or are empty.

    Raises:
        ScanError: The sizes are of another kind.

    """
    shown = " x ".join(str(size) for size in sizes[:8])
    if len(sizes) not in {2, 3}:
        raise ScanError(f"{path}: is {len(sizes)}D ({shown}); give one 3D volume, or one 2D image")
    if min(sizes) < 1:
        raise ScanError(f"{path}: its size is {shown}; export it again")


def check_affine(path: Path, affine: Floats) -> None:
    """Reject an affine (4, 4) from voxel centres to mm that no real scan can have.

    Raises:
        ScanError: A value is not finite, the spacing or origin is implausible, or the axes are coplanar.

    """
    with np.errstate(over="ignore", invalid="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all():
        raise ScanError(f"{path}: its spacing, directions or origin are not finite; export it again")
    if not ((spacing >= SPACING_MM[0]) & (spacing <= SPACING_MM[1])).all():
        shown = " x ".join(f"{value:g}" for value in spacing)
        raise ScanError(f"{path}: its spacing is {shown} mm; correct the header")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < _MIN_VOLUME:
        raise ScanError(f"{path}: the directions of its axes are singular; correct the header")
    if np.abs(affine[:3, 3]).max() > _MAX_ORIGIN_MM:
        raise ScanError(f"{path}: its origin is {np.abs(affine[:3, 3]).max():g} mm away; correct the header")


def check_memory(path: Path, count: int) -> None:
    """Reject a scan that would take too much of the free memory, before any is allocated.

    Raises:
        ScanError: The scan is too large.

    """
    free = psutil.virtual_memory().available
    if count > free * MEMORY_SHARE:
        raise ScanError(
            f"{path}: declares {count / 1e9:.1f} GB of voxels, but only {free / 1e9:.1f} GB of memory are free; "
            "resample it, or check its header"
        )


def load(layout: Layout) -> NDArray[Any]:
    """Return the voxels ([K,] J, I[, channels]) in native byte order, scaled if the header says so.

    Raises:
        ScanError: The file has fewer voxels than its header declares, is damaged, or is too large for memory.

    """
    with open_regular(layout.data) as file:
        _check_claim(layout, file_size(file) - layout.start)
        stored = np.empty(layout.bytes, dtype=np.uint8)
        file.seek(layout.start)
        if layout.packed:
            _unpack_into(layout, file, stored)
        else:
            file.seek(layout.skip, 1)
            if file.readinto(stored.data) != layout.bytes:
                raise ScanError(f"{layout.path}: became shorter while it was being read; try again")
    values = stored.view(layout.dtype)
    if not layout.dtype.isnative:
        values = values.byteswap(inplace=True).view(layout.dtype.newbyteorder("="))
    if (layout.slope, layout.intercept) != (1.0, 0.0):
        values = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            values *= layout.slope
            values += layout.intercept
    shape = layout.sizes[::-1] + ((layout.channels,) if layout.channels > 1 else ())
    return values.reshape(shape)


def _check_claim(layout: Layout, there: int) -> None:
    """Compare the size that the header declares with the ``there`` bytes that follow the header."""
    wanted = layout.skip + layout.bytes
    if layout.packed:
        if wanted > max(there, 0) * MAX_EXPANSION:
            raise ScanError(
                f"{layout.path}: its {max(there, 0)} compressed bytes cannot hold the {wanted} of its header; "
                "copy or export it again"
            )
    elif there < wanted:
        raise ScanError(
            f"{layout.path}: ends too early, with {max(there - layout.skip, 0)} bytes of voxels; its header declares "
            f"{layout.bytes}; copy or export it again"
        )
    elif there > wanted + _SURPLUS:
        raise ScanError(
            f"{layout.path}: has {there - layout.skip} bytes of voxels, but its header declares {layout.bytes}; "
            "correct the header, or export it again"
        )
    check_memory(layout.path, layout.bytes * (1 if layout.slope == 1.0 and layout.intercept == 0.0 else 5))


def _unpack_into(layout: Layout, file: BinaryIO, stored: NDArray[np.uint8]) -> None:
    """Fill the array from the compressed stream at the file's position, and read on to its end and checksum."""
    place = -layout.skip
    for piece in unpacked(layout.path, file):
        first = max(-place, 0)
        part = piece[first : first + len(stored) - max(place, 0)]
        begin = max(place, 0)
        stored[begin : begin + len(part)] = np.frombuffer(part, dtype=np.uint8)
        place += len(piece)
        if place > len(stored) + _SURPLUS:
            raise ScanError(
                f"{layout.path}: decompresses to more than the {len(stored)} bytes of its header; export it again"
            )
    if place < len(stored):
        raise ScanError(
            f"{layout.path}: ends too early, with {max(place, 0)} bytes of voxels; its header declares {len(stored)}; "
            "copy or export it again"
        )


def unpacked(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a zlib or gzip stream at the file's position, in pieces of at most 1 MB.

    Raises:
        ScanError: The stream is damaged, or ends too early.

    """
    unpacker, rest = zlib.decompressobj(_AUTO), b""
    while True:
        rest += b"" if len(rest) > 1 else file.read(_PACKED)
        if unpacker.eof:
            if rest[:2] != b"\x1f\x8b":  # the end, unless it is the next member of a gzip file
                return
            unpacker = zlib.decompressobj(_AUTO)
        try:
            piece = unpacker.decompress(rest, _UNPACKED)
        except zlib.error as error:
            raise ScanError(f"{path}: cannot be decompressed ({error}); copy or export it again") from None
        if not rest and not piece and not unpacker.eof:
            raise ScanError(f"{path}: ends too early, within its compressed voxels; copy or export it again")
        rest = unpacker.unconsumed_tail or unpacker.unused_data
        if piece:
            yield piece
