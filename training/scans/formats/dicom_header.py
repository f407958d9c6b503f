"""What a DICOM image file says of itself, checked against what it holds before GDCM reads it."""

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.dicom_codestream import RLE, StreamSize, check_rle, stream_size
from synthgen.training.scans.formats.dicom_walk import Elements, text_of, walk_elements

MAX_EXPANSION = 10_000
"""Of compressed pixels; JPEG 2000 packs an empty image of a scanner's size to about this."""
_WANTED = {
    "image_type": (0x0008, 0x0008),
    "sop_class": (0x0008, 0x0016),
    "modality": (0x0008, 0x0060),
    "description": (0x0008, 0x103E),
    "imager_spacing": (0x0018, 0x1164),
    "series": (0x0020, 0x000E),
    "position": (0x0020, 0x0032),
    "orientation": (0x0020, 0x0037),
    "samples": (0x0028, 0x0002),
    "photometric": (0x0028, 0x0004),
    "frames": (0x0028, 0x0008),
    "rows": (0x0028, 0x0010),
    "columns": (0x0028, 0x0011),
    "spacing": (0x0028, 0x0030),
    "bits": (0x0028, 0x0100),
}


@dataclass(frozen=True)
class DicomHeader:
    """What one DICOM image file says of itself."""

    path: Path
    rows: int
    columns: int
    frames: int
    samples: int
    """Numbers per pixel."""
    bits: int
    """Per number, as stored."""
    photometric: str
    """``MONOCHROME1`` is bright where little is absorbed."""
    series: str
    """The series' unique number."""
    description: str
    """What the scanner's operator called the series; may be empty."""
    sop_class: str
    image_type: str
    modality: str
    position: Floats | None
    """(3,) LPS mm of the first pixel's centre."""
    orientation: Floats | None
    """(2, 3) unit vectors: in which direction the columns, and in which the rows, are counted."""
    spacing: tuple[float, float] | None
    """Distance of rows (y) and of columns (x), mm."""

    @property
    def bytes(self) -> int:
        """What the pixels take in memory as stored."""
        return self.rows * self.columns * self.frames * self.samples * (self.bits // 8)


def read_header(path: Path) -> DicomHeader:
    """Read a file's header, and follow its elements to the end of the file.

    Raises:
        ScanError: It is no DICOM file, is cut off or damaged, holds no image, or states impossible sizes.

    """
    found = walk_elements(path, _WANTED)
    header = _header(path, found)
    _check_pixels(header, found)
    return header


def _header(path: Path, found: Elements) -> DicomHeader:
    """Make sense of the values."""

    def whole(name: str, default: int) -> int:
        data = found.values.get(name, b"")
        return int(struct.unpack((">" if found.big else "<") + "H", data)[0]) if len(data) == 2 else default

    def text(name: str) -> str:
        return text_of(found.values.get(name, b""))

    def numbers(name: str, count: int) -> Floats | None:
        words = text(name).split("\\")
        if words == [""]:
            return None
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            values = np.array([])
        if values.shape != (count,) or not np.isfinite(values).all():
            raise ScanError(f"{path}: its {name} is {text(name)[:60]!r}; export it again")
        return values

    frames = numbers("frames", 1)
    orientation = numbers("orientation", 6)
    spacing = numbers("spacing", 2)
    if spacing is None:
        spacing = numbers("imager_spacing", 2)
    return DicomHeader(
        path=path,
        rows=whole("rows", 0),
        columns=whole("columns", 0),
        frames=1 if frames is None else int(frames[0]),
        samples=whole("samples", 1),
        bits=whole("bits", 0),
        photometric=text("photometric"),
        series=text("series"),
        description=text("description"),
        sop_class=text("sop_class"),
        image_type=text("image_type"),
        modality=text("modality"),
        position=numbers("position", 3),
        orientation=None if orientation is None else orientation.reshape(2, 3),
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
    )


def _is_stream_of(header: DicomHeader, found: Elements) -> bool:
    """Tell whether the compressed pixels say of themselves what the header says."""
    if found.syntax == RLE:
        return check_rle(found.stream, header.samples * (header.bits // 8))
    said = stream_size(found.stream)
    wanted = StreamSize(header.rows, header.columns, header.samples, header.bits)
    return said is not None and replace(said, bits=header.bits) == wanted and 2 <= said.bits <= header.bits


def _check_pixels(header: DicomHeader, found: Elements) -> None:
    """Refuse sizes that the pixel data cannot fill."""
    path = header.path
    if found.pixel_bytes is None or not header.rows or not header.columns:
        raise ScanError(f"{path}: holds no image; move it away, or copy or export it again")
    if header.bits not in {8, 16, 32} or header.samples not in {1, 3} or header.frames < 1:
        raise ScanError(
            f"{path}: has {header.frames} frames of {header.samples} x {header.bits} bits; export it with 8 or 16 bits"
        )
    wanted = header.bytes
    fits = wanted <= found.pixel_bytes <= wanted + 1 if found.native else wanted <= found.pixel_bytes * MAX_EXPANSION
    if not found.native and not _is_stream_of(header, found):
        raise ScanError(f"{path}: its compressed pixels are damaged or not what its header says; export it again")
    if not fits:
        raise ScanError(
            f"{path}: {found.pixel_bytes} bytes of pixels where its header says {wanted}; copy or export it again"
        )
