"""The first bytes of compressed DICOM pixels, which decoders trust more than they should.

GDCM's JPEG decoder ends the process when the stream says 200 bits per number, and others take memory for whatever size
the stream says. So what a stream says of itself must be what the DICOM header says.
"""

import struct
from dataclasses import dataclass

RLE = "1.2.840.10008.1.2.5"
_JPEG, _JPEG_2000 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG and JPEG-LS that state a size."""
_BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length."""
_SCAN = 0xDA


@dataclass(frozen=True)
class StreamSize:
    """What a compressed stream says of itself."""

    rows: int
    columns: int
    samples: int
    """Numbers per pixel."""
    bits: int
    """Most bits per number."""


def stream_size(head: bytes) -> StreamSize | None:
    """Return what the first bytes of a JPEG, JPEG-LS or JPEG 2000 stream say; None if they say nothing that counts."""
    try:
        if head.startswith(_JPEG):
            return _jpeg_size(head)
        if head.startswith(_JPEG_2000):
            return _jpeg_2000_size(head)
    except (struct.error, IndexError):
        pass  # cut off before its size
    return None


def check_rle(head: bytes, planes: int) -> bool:
    """Tell whether the 64 bytes in front of run lengths list this many planes, one behind the other."""
    if len(head) < 64:
        return False
    count, *places = struct.unpack_from("<16I", head)
    used = places[:planes]
    return count == planes <= 15 and used[0] == 64 and used == sorted(set(used)) and not any(places[planes:])


def _jpeg_size(head: bytes) -> StreamSize | None:
    place = 2
    while head[place] == 0xFF:
        marker = head[place + 1]
        if marker in _BARE or marker == 0xFF:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            return None
        if marker in _FRAMES:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", head, place + 4)
            return StreamSize(rows, columns, samples, bits)
        place += 2 + int(struct.unpack_from(">H", head, place + 2)[0])
    return None


def _jpeg_2000_size(head: bytes) -> StreamSize | None:
    right, bottom, left, top = struct.unpack_from(">4I", head, 8)
    samples = int(struct.unpack_from(">H", head, 40)[0])
    if not 1 <= samples <= 4:
        return None
    bits = max((head[42 + 3 * n] & 0x7F) + 1 for n in range(samples))
    return StreamSize(bottom - top, right - left, samples, bits)
