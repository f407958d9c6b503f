"""PNG and JPEG files as one greyscale channel."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from synthgen.errors import ScanError
from synthgen.training.scans.formats.untrusted_files import read_small

MAX_BYTES = 512_000_000
_FORMATS = {b"\x89PNG": ("PNG", b"IEND\xaeB`\x82"), b"\xff\xd8\xff": ("JPEG", b"\xff\xd9")}
"""By the first bytes: the format's name, and the last bytes of a complete file."""
_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luminance (ITU-R BT.601)."""
_FAULTS = (OSError, SyntaxError, ValueError, TypeError, OverflowError, IndexError, EOFError, struct.error, zlib.error)
"""What Pillow raises on damaged files."""


def read_flat(path: Path) -> NDArray[Any]:
    """Return the pixels (H, W) of a PNG or JPEG file as stored: integers, or booleans for one bit.

    Raises:
        ScanError: The file is damaged, truncated, too large, or neither PNG nor JPEG.

    """
    data = read_small(path, MAX_BYTES)
    name, ending = next((known for start, known in _FORMATS.items() if data.startswith(start)), ("", b""))
    if not name:
        raise ScanError(f"{path}: is neither PNG nor JPEG; export it again")
    if ending not in data:
        raise ScanError(f"{path}: ends too early; copy or export it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[name]) as image:
                return _grey(image)
    except UnidentifiedImageError:
        raise ScanError(f"{path}: is not a complete {name} file; copy or export it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ScanError(f"{path}: has more than {Image.MAX_IMAGE_PIXELS} pixels; scale it down") from None
    except _FAULTS as error:
        raise ScanError(f"{path}: cannot be read ({str(error)[:80]}); copy or export it again") from None


def luminance(colours: NDArray[Any]) -> NDArray[Any]:
    """Return the luminance (…) of colors (…, 3 or 4), in the same type; a fourth channel, opacity, is ignored."""
    grey = sum(weight * colours[..., n].astype(np.float64) for n, weight in enumerate(_WEIGHTS))
    return np.asarray(np.rint(grey) if colours.dtype.kind in "iu" else grey).astype(colours.dtype)


def _grey(image: Image.Image) -> NDArray[Any]:
    """Decode an image to one channel."""
    if image.mode in {"1", "L", "I", "I;16", "I;16B", "F"}:
        return np.asarray(image)
    if image.mode == "LA":
        return np.asarray(image)[..., 0]
    return luminance(np.asarray(image.convert("RGB")))
