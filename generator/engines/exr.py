"""Reads the uncompressed OpenEXR images that Blender writes, its only pixel output in background mode.

Blender's own image loader wakes a thread pool for each file, which takes a fifth of the time of a small frame.
Layout: https://openexr.com/en/latest/OpenEXRFileLayout.html
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import EngineError

_MAGIC = b"v/1\x01\x02"
_FLOAT = 2


class _Header(NamedTuple):
    attributes: dict[str, bytes]
    end: int


def read_channels(raw: bytes, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the named channels (len(names), H, W), the top row first, of an uncompressed float scan-line image.

    Raises:
        EngineError: The bytes are another format or truncated.

    """
    try:
        header = _header(raw)
        left, top, right, bottom = struct.unpack("<4i", header.attributes["dataWindow"])
        channels = _channels(header.attributes["channels"])
        if header.attributes["compression"] != b"\0" or set(channels.values()) != {_FLOAT}:
            raise EngineError("engine: Blender's OpenEXR image is not uncompressed 32-bit float; reinstall bpy")
        width, height = right - left + 1, bottom - top + 1
        line = np.dtype([("y", "<i4"), ("size", "<i4"), ("pixels", "<f4", (len(channels), width))])
        lines = np.frombuffer(raw, dtype=line, count=height, offset=header.end + 8 * height)
        image = np.empty((len(names), height, width), dtype=np.float32)
        for plane, name in zip(image, names, strict=True):
            plane[lines["y"] - top] = lines["pixels"][:, list(channels).index(name)]
    except (KeyError, ValueError, IndexError, struct.error) as error:
        raise EngineError(
            f"engine: cannot read the image that Blender wrote ({error}); check that the disk is not full"
        ) from error
    return image


def _header(raw: bytes) -> _Header:
    """Split the header into its attributes; the table of line offsets begins at ``end``."""
    if raw[:5] != _MAGIC:
        raise ValueError("not an OpenEXR image")
    attributes = {}
    at = 8
    while raw[at]:
        name, _type, rest = raw[at : at + 600].split(b"\0", 2)
        at += len(name) + len(_type) + 2
        (size,) = struct.unpack_from("<i", rest)
        attributes[name.decode()] = raw[at + 4 : at + 4 + size]
        at += 4 + size
    return _Header(attributes, at + 1)


def _channels(raw: bytes) -> dict[str, int]:
    """Return each channel's pixel type, in the order of storage."""
    channels = {}
    at = 0
    while raw[at]:
        end = raw.index(b"\0", at)
        channels[raw[at:end].decode()] = int.from_bytes(raw[end + 1 : end + 5], "little")
        at = end + 17
    return channels
