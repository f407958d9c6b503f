"""Reading a whole shard in memory: the archive is scanned once, and its images are decompressed in batches.

Nothing in a shard is trusted. Its size and digest are compared with the manifest first, so the checksums in its
headers, which guard against the same faults, need not be verified; what the fast paths do not support, such as a PNG
written by another program, goes through `synthgen.storage.png`, which reads or rejects it.
"""

import hashlib
import io
import struct
import zlib
from typing import Any

import numpy as np
from isal import isal_zlib
from numba import njit
from numpy.typing import NDArray

from synthgen.datasets.manifest import Shard
from synthgen.errors import DatasetError
from synthgen.storage.png import read_depth_png, read_mask_png
from synthgen.storage.sample import MEMBERS
from synthgen.storage.tar import list_members
from synthgen.training.streaming.packed_samples import Inputs, pack_masks

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Size = tuple[int, int]
"""Width and height of the images, pixels."""
_SUFFIXES = tuple(f".{name}\0".encode() for name in MEMBERS)
_SUFFIX_BYTES = np.frombuffer(b"".join(suffix.ljust(16, b"\0") for suffix in _SUFFIXES), dtype=np.uint8).reshape(3, 16)
_SUFFIX_LENGTHS = np.array([len(suffix) for suffix in _SUFFIXES])
_AT_ONCE = 256
"""Images that are decompressed together before their rows are decoded."""
_STORED_PER_BYTE = 100
"""An incompressible stream adds at most one byte per this many, and a few for its header and checksum."""
_HEAD, _TAIL = 33, 16
"""Bytes of a PNG before its IDAT chunk, and from that chunk's checksum on."""


def check_shard(data: memoryview, shard: Shard, where: str) -> None:
    """Compare a shard's bytes with the manifest.

    Raises:
        DatasetError: The checksum differs.

    """
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise DatasetError(f"{where}: has changed (its checksum differs from the manifest); restore it")


def read_images(data: memoryview, samples: int, size: Size, inputs: Inputs, where: str) -> tuple[Ints, NDArray[Any]]:
    """Return the indices of a shard's samples, (n,), and one image of each, packed as in `Block`.

    Args:
        data: The archive.
        samples: Expected number of samples.
        size: Size of the images.
        inputs: Which images to read.
        where: Name of the archive in errors.

    Raises:
        DatasetError: The archive does not contain this number of samples of this size.

    """
    content = np.frombuffer(data, dtype=np.uint8)
    indices, offsets, sizes = _members(content, data, samples, where)
    member = MEMBERS.index("mask.png" if inputs == "mask" else "depth.png")
    starts, lengths = offsets[member::3], sizes[member::3]
    images, own = _own_images(data, (starts, lengths), size, inputs)
    for n in np.flatnonzero(~own):
        png = bytes(data[starts[n] : starts[n] + lengths[n]])
        images[n] = _foreign(png, size, inputs, f"{where}: {indices[n]:09d}.{MEMBERS[member]}")
    return indices, images


def _members(content: Bytes, data: memoryview, samples: int, where: str) -> tuple[Ints, Ints, Ints]:
    """Return the samples' indices (n,), and the offsets and sizes (3 n,) of all files."""
    offsets, sizes = np.empty(3 * samples, dtype=np.int64), np.empty(3 * samples, dtype=np.int64)
    indices = np.empty(samples, dtype=np.int64)
    found = _walk(content, indices, offsets, sizes, _SUFFIX_BYTES, _SUFFIX_LENGTHS)
    if found == 3 * samples:
        return indices, offsets, sizes
    # The general tar reader reports what is wrong with the archive; if it accepts it, the names are wrong.
    members = list(list_members(io.BytesIO(data), where))
    if len(members) != 3 * samples:
        raise DatasetError(f"{where}: has {len(members)} files, expected {3 * samples}; restore it")
    wrong = members[min(found, len(members) - 1)].name
    raise DatasetError(f"{where}: {wrong!r:.80} is not the expected {MEMBERS[found % 3]} of a sample; restore it")


@njit(cache=True, nogil=True)
def _walk(
    data: Bytes, indices: Ints, offsets: Ints, sizes: Ints, suffixes: Bytes, suffix_lengths: Ints
) -> int:  # pragma: no cover
    """Fill in the positions of the files, and return their number up to the end or the first invalid one."""
    at = 0
    for member in range(len(offsets)):
        if at + 512 > len(data):
            return member
        header, kind = data[at : at + 512], member % 3
        size = _octal(header, 124, 135)
        digits, index = _leading_digits(header)
        same = size >= 0 and digits >= 9 and header[156] == 48 and header[345] == 0
        for i in range(suffix_lengths[kind]):
            same = same and header[digits + i] == suffixes[kind, i]
        same = same and (kind == 0 or index == indices[member // 3])
        after = at + 512 + (size + 511) // 512 * 512
        if not same or after > len(data):
            return member
        indices[member // 3], offsets[member], sizes[member] = index, at + 512, size
        at = after
    ended = at + 512 <= len(data)
    for i in range(at, min(at + 512, len(data))):
        ended = ended and data[i] == 0
    return len(offsets) if ended else len(offsets) + 1


@njit(cache=True, nogil=True)
def _octal(header: Bytes, start: int, end: int) -> int:  # pragma: no cover
    """Read an octal number; -1 if it is invalid."""
    number = 0
    for i in range(start, end):
        if not 48 <= header[i] < 56:
            return -1
        number = number * 8 + header[i] - 48
    return number


@njit(cache=True, nogil=True)
def _leading_digits(header: Bytes) -> tuple[int, int]:  # pragma: no cover
    """Return the number of leading digits of the name, and their value."""
    digits, number = 0, 0
    while digits < 15 and 48 <= header[digits] < 58:
        number = number * 10 + header[digits] - 48
        digits += 1
    return digits, number


def _own_images(
    data: memoryview, places: tuple[Ints, Ints], size: Size, inputs: Inputs
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read the PNGs in synthgen's own form, a few at a time to stay in the CPU cache.

    Returns:
        The images (n, ...), packed as in `Block`, and which of them were read (n,).

    """
    starts, lengths = places
    width, height = size
    n, pitch = len(starts), (width + 7) // 8
    own = np.empty(n, dtype=np.bool_)
    images: NDArray[Any] = (
        np.empty((n, height, pitch), dtype=np.uint8)
        if inputs == "mask"
        else np.empty((n, height, width), dtype=np.uint16)
    )
    for first in range(0, n, _AT_ONCE):
        part = slice(first, min(first + _AT_ONCE, n))
        form = (width, height, 1 if inputs == "mask" else 16)
        rows, own[part] = _decompress_own(data, starts[part], lengths[part], form)
        (_without_filter if inputs == "mask" else _add_up)(rows, images[part], own[part])
    return images, own


def _decompress_own(
    data: memoryview, starts: Ints, lengths: Ints, form: tuple[int, int, int]
) -> tuple[Bytes, NDArray[np.bool_]]:
    """Decompress PNGs in our own form (width, height, bits): rows (n, H, 1 + bytes), and which were read (n,)."""
    width, height, bits = form
    pitch = 1 + (width * bits + 7) // 8
    header = struct.pack(">8sI4sIIBBBBB", b"\x89PNG\r\n\x1a\n", 13, b"IHDR", width, height, bits, 0, 0, 0, 0)
    content = np.frombuffer(data, dtype=np.uint8)
    own = _own_form(content, starts, lengths, np.frombuffer(header, dtype=np.uint8))
    rows, sound = decompress_all(data, starts + _HEAD + 8, starts + lengths - _TAIL, own, height * pitch)
    return rows.reshape(-1, height, pitch), sound


def decompress_all(
    data: memoryview, starts: Ints, ends: Ints, wanted: NDArray[np.bool_], size: int
) -> tuple[Bytes, NDArray[np.bool_]]:
    """Decompress n zlib streams that are expected to hold ``size`` bytes each.

    A stream that is longer than ``size`` bytes stored uncompressed is not read. So a malicious one takes at most
    1032 times that memory, the maximum ratio of DEFLATE.

    Args:
        data: Bytes with the streams.
        starts: (n,) where each begins.
        ends: (n,) where each ends.
        wanted: (n,) which ones to read.
        size: Bytes of each, decompressed.

    Returns:
        The bytes (n, size), arbitrary for streams that were not read, and (n,) which were read: those wanted, intact
        and of that size.

    """
    rows = np.empty((len(starts), size), dtype=np.uint8)
    read = wanted & (ends - starts <= size + size // _STORED_PER_BYTE + _TAIL)
    out, places = rows.data.cast("B"), np.flatnonzero(read)
    for n, start, end in zip(places.tolist(), starts[places].tolist(), ends[places].tolist(), strict=True):
        try:
            content = isal_zlib.decompress(data[start:end], zlib.MAX_WBITS, size + 1)
        except isal_zlib.error:  # type: ignore[misc]  # the stubs give an instance
            content = b""
        if len(content) == size:
            out[n * size : (n + 1) * size] = content
        else:
            read[n] = False
    return rows, read


@njit(cache=True, nogil=True)
def _own_form(data: Bytes, starts: Ints, lengths: Ints, header: Bytes) -> NDArray[np.bool_]:  # pragma: no cover
    """Return which PNGs have exactly this header, one IDAT chunk and an end."""
    own = np.empty(len(starts), dtype=np.bool_)
    for n in range(len(starts)):
        png = data[starts[n] : starts[n] + lengths[n]]
        right = len(png) >= 33 + 12 + 12
        for i in range(len(header)):
            right = right and png[i] == header[i]
        if right:
            length = (
                (np.int64(png[33]) << 24) | (np.int64(png[34]) << 16) | (np.int64(png[35]) << 8) | np.int64(png[36])
            )
            right = length == len(png) - 57
            right = right and png[37] == 73 and png[38] == 68 and png[39] == 65 and png[40] == 84  # IDAT
            tail = len(png) - 8
            right = right and png[tail] == 73 and png[tail + 1] == 69 and png[tail + 2] == 78 and png[tail + 3] == 68
        own[n] = right
    return own


@njit(cache=True, nogil=True)
def _without_filter(rows: Bytes, masks: Bytes, own: NDArray[np.bool_]) -> None:  # pragma: no cover
    """Copy unfiltered rows without their filter byte; other filters are not our own form."""
    for n in range(len(own)):
        for y in range(rows.shape[1]):
            own[n] = own[n] and rows[n, y, 0] == 0
            for x in range(masks.shape[2]):
                masks[n, y, x] = rows[n, y, 1 + x]


@njit(cache=True, nogil=True)
def _add_up(rows: Bytes, codes: NDArray[np.uint16], own: NDArray[np.bool_]) -> None:  # pragma: no cover
    """Undo the filter Up and read pairs of bytes as numbers; other filters are not our own form."""
    above = np.empty(2 * codes.shape[2], dtype=np.uint8)
    for n in range(len(codes)):
        above[:] = 0
        for y in range(codes.shape[1]):
            own[n] = own[n] and rows[n, y, 0] == 2
            row, result = rows[n, y, 1:], codes[n, y]
            for i in range(len(above)):
                above[i] += row[i]
            for x in range(len(result)):
                result[x] = np.uint16(above[2 * x]) << np.uint16(8) | np.uint16(above[2 * x + 1])


def _foreign(png: bytes, size: Size, inputs: Inputs, where: str) -> NDArray[Any]:
    """Read a PNG in another form."""
    try:
        image: NDArray[Any] = read_mask_png(png) if inputs == "mask" else read_depth_png(png)
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from None
    if image.shape != (size[1], size[0]):
        raise DatasetError(f"{where}: {image.shape[1]}x{image.shape[0]} pixels, not {size[0]}x{size[1]}; restore it")
    return pack_masks(image[None])[0] if inputs == "mask" else image
