"""DICOM: a folder that holds one series, or a single radiograph."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.dicom_header import DicomHeader, read_header
from synthgen.training.scans.formats.image_types import Picture, Volume
from synthgen.training.scans.formats.png_jpeg import luminance
from synthgen.training.scans.formats.untrusted_files import read_head
from synthgen.training.scans.formats.voxels import check_affine, check_memory

MAX_FILES = 20_000
_ITK: Any = SimpleITK
"""Without types: its functions have none."""
_SLICES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
}
"""Classes of images that are slices of a volume."""
_DICOM_ENDINGS = {".dcm", ".dicom", ".ima", ".img"}
_COLOURS = {"RGB", "PALETTE COLOR", "YBR_RCT", "YBR_ICT", "YBR_FULL_422"}
_UNEVEN = 0.02
"""Largest difference of a gap between slices from the usual one, as a fraction of it."""
_ROUNDING_MM = 0.005
_SAME_DIRECTION = 1e-3


def read_series(folder: Path) -> Volume | Picture:
    """Read the one series in a folder; a single radiograph in it is a picture.

    Slices are ordered by their positions along the normal of their planes, whatever the files are called. Files that
    are plainly something else (hidden, or of another ending and content) are passed over.

    Raises:
        ScanError: No series, several, a slice that is missing, double or damaged, or slices that make no volume.

    """
    headers = [read_header(path) for path in _files(folder)]
    if not headers:
        folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
        fix = f"give the folder that does ({', '.join(folders[:5])})" if folders else "give the series' folder"
        raise ScanError(f"{folder}: holds no DICOM file; {fix}")
    series: dict[str, list[DicomHeader]] = {}
    for header in headers:
        series.setdefault(header.series, []).append(header)
    if len(series) > 1:
        shown = ", ".join(
            f"{group[0].description or group[0].modality or 'unnamed'} ({len(group)} files, {group[0].path.name} …)"
            for group in list(series.values())[:4]
        )
        raise ScanError(f"{folder}: holds {len(series)} series: {shown}; move each to a folder of its own")
    if len(headers) == 1:
        return _picture(headers[0])
    return _volume(folder, headers)


def read_single(path: Path) -> Picture:
    """Read a DICOM file that holds one flat image.

    Raises:
        ScanError: It is damaged, or holds a slice of a volume or several frames.

    """
    return _picture(read_header(path))


def _files(folder: Path) -> list[Path]:
    """List the DICOM files of a folder; a file that may be a broken slice is not passed over."""
    found = []
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        files = [path for path in entries if not path.is_dir() and path.name.upper() != "DICOMDIR"]
    except OSError as error:
        raise ScanError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from None
    if len(files) > MAX_FILES:
        raise ScanError(f"{folder}: holds {len(files)} files, at most {MAX_FILES} are read; give the series' folder")
    for path in files:
        if read_head(path, 132)[128:] == b"DICM":
            found.append(path)
        elif path.suffix.lower() in _DICOM_ENDINGS or not any(letter.isalpha() for letter in path.suffix):
            raise ScanError(f"{path}: is no DICOM file; move it away, or copy or export it again")
    return found


def _picture(header: DicomHeader) -> Picture:
    """Load a single image."""
    kind = _SLICES.get(header.sop_class)
    if header.frames > 1:
        raise ScanError(f"{header.path}: holds {header.frames} images; export them as single slices, or as NIfTI")
    if kind and "LOCALIZER" not in header.image_type:
        raise ScanError(f"{header.path}: is one slice of a {kind} volume; give the folder that holds them all")
    check_memory(header.path, header.bytes * 4)
    pixels = _pixels(header)
    spacing = None
    if header.spacing is not None:
        y, x = header.spacing
        check_affine(header.path, np.diag([x, y, 1.0, 1.0]))
        spacing = (x, y)
    return Picture(pixels, spacing)


def _volume(folder: Path, headers: Sequence[DicomHeader]) -> Volume:
    """Check and order the slices, and load them."""
    _check_alike(headers)
    affine, ordered = _place(folder, headers)
    check_affine(folder, affine)
    first = ordered[0]
    check_memory(folder, first.bytes * len(ordered) * 2)
    voxels: NDArray[Any] = np.empty((0,), dtype=np.int8)
    for k, header in enumerate(ordered):
        pixels = _pixels(header)
        if k == 0:
            voxels = np.empty((len(ordered), first.rows, first.columns), dtype=pixels.dtype)
        elif voxels.dtype != pixels.dtype:  # the slices are scaled each by its own factor
            voxels = voxels.astype(np.promote_types(voxels.dtype, pixels.dtype), copy=False)
        voxels[k] = pixels
    return Volume(voxels.transpose(2, 1, 0), affine)


def _check_alike(headers: Sequence[DicomHeader]) -> None:
    """Refuse slices that are not single grey images of one size, place and direction."""
    first = headers[0]
    for header in headers:
        if header.position is None or header.orientation is None or header.spacing is None:
            lacks = (
                "position" if header.position is None else "orientation" if header.orientation is None else "spacing"
            )
            raise ScanError(f"{header.path}: has no {lacks}, so it is no slice; move it away, or export it again")
        if header.frames > 1 or header.samples > 1:
            raise ScanError(f"{header.path}: holds several images, or colours; export single grey slices, or NIfTI")
        alike = (header.rows, header.columns, header.photometric) == (first.rows, first.columns, first.photometric)
        same = np.allclose(_geometry(header), _geometry(first), atol=_SAME_DIRECTION)
        if not alike or not same:
            raise ScanError(
                f"{header.path}: differs from {first.path.name} in size, direction or spacing; "
                "move each set of slices to a folder of its own"
            )


def _geometry(header: DicomHeader) -> list[float]:
    orientation, spacing = header.orientation, header.spacing
    return [] if orientation is None or spacing is None else [*orientation.ravel(), *spacing]


def _place(folder: Path, headers: Sequence[DicomHeader]) -> tuple[Floats, list[DicomHeader]]:
    """Return voxel centres to LPS mm (4, 4), and the slices in the order of k."""
    first = headers[0]
    axes = np.reshape(_geometry(first)[:6], (2, 3))
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > _SAME_DIRECTION or abs(axes[0] @ axes[1]) > _SAME_DIRECTION:
        raise ScanError(f"{first.path}: its directions are not square to each other; export it again")
    normal = np.cross(axes[0], axes[1])
    positions = np.array([header.position for header in headers], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [headers[n] for n in order]
    positions = positions[order]
    _check_gaps(folder, ordered, positions, normal)
    row_mm, column_mm = _geometry(first)[6:]
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * column_mm
    affine[:3, 1] = axes[1] * row_mm
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    return affine, ordered


def _check_gaps(folder: Path, ordered: Sequence[DicomHeader], positions: Floats, normal: Floats) -> None:
    """Refuse slices (K, 3 mm) that are double, missing, or not one behind the other at even distances."""
    steps = np.diff(positions, axis=0)
    gaps = steps @ normal
    middle = np.argsort(gaps, kind="stable")[(len(gaps) - 1) // 2]
    usual = float(gaps[middle])
    for n in np.flatnonzero(gaps < max(0.1 * usual, 1e-4)):
        pair = f"{ordered[n].path.name} and {ordered[n + 1].path.name}"
        raise ScanError(f"{folder}: {pair} lie at the same place; keep one slice of each place")
    allowed = _UNEVEN * usual + _ROUNDING_MM
    for n in np.flatnonzero(np.linalg.norm(steps - steps[middle], axis=1) > allowed):
        pair = f"{ordered[n].path.name} and {ordered[n + 1].path.name}"
        if gaps[n] > 1.5 * usual:
            raise ScanError(
                f"{folder}: between {pair} lie {gaps[n]:g} mm and elsewhere {usual:g}, so slices are missing; "
                "export the series again"
            )
        raise ScanError(
            f"{folder}: its slices are uneven, {gaps[n]:g} mm between {pair} and elsewhere {usual:g}; resample it"
        )


def _pixels(header: DicomHeader) -> NDArray[Any]:
    """Decode one image to (H, W), scaled as its rescale slope and intercept say.

    ITK turns MONOCHROME1 upside down itself, so that what is dense is bright.
    """
    reader = _ITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(header.path))
    shown = _ITK.ProcessObject.GetGlobalWarningDisplay()
    _ITK.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003 (ITK's own)
    try:
        pixels: NDArray[Any] = _ITK.GetArrayFromImage(reader.Execute())
    except RuntimeError:  # its text is ITK's source lines and addresses
        raise ScanError(f"{header.path}: its pixels cannot be decoded; copy it again, or export uncompressed") from None
    finally:
        _ITK.ProcessObject.SetGlobalWarningDisplay(shown)
    pixels = pixels.reshape(pixels.shape[1:]) if pixels.shape[0] == 1 else pixels
    if pixels.ndim == 3 and pixels.shape[2] in {3, 4}:
        if header.photometric not in _COLOURS:
            raise ScanError(f"{header.path}: has colours of kind {header.photometric[:40]!r}; export it in grey")
        pixels = luminance(pixels)
    if pixels.shape != (header.rows, header.columns) or pixels.dtype.kind not in "iuf":
        raise ScanError(f"{header.path}: its pixels do not fit its header; copy or export it again")
    return pixels.astype(np.float32) if pixels.dtype == np.float64 else pixels
