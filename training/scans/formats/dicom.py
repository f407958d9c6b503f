"""DICOM scans: a folder with one series, a multi-frame file (Enhanced CT, MR), or a single radiograph."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.dicom_file import DicomFile, Frame, frames_of, pixels_of, read_file
from synthgen.training.scans.formats.image_types import Picture, Volume
from synthgen.training.scans.formats.untrusted_files import read_head
from synthgen.training.scans.formats.voxels import check_affine, check_memory

MAX_FILES = 20_000
_SLICES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.130": "PET",
}
"""SOP classes of slices of a volume; those of multi-frame files have these UIDs as prefixes."""
_DICOM_ENDINGS = {".dcm", ".dicom", ".ima", ".img"}
_UNEVEN = 0.02
"""Largest deviation of a gap between slices from the median gap, as a fraction of it."""
_ROUNDING_MM = 0.005
_SAME_DIRECTION = 1e-3


def read_series(folder: Path) -> Volume | Picture:
    """Read the one series in a folder; a single radiograph in it is a picture.

    Slices are ordered by their positions along the normal of their planes, regardless of file names and of the number
    of frames per file. Files that are clearly something else (hidden, or with another extension and other content)
    are skipped.

    Raises:
        ScanError: No series or several, a missing, duplicate or damaged slice, or slices that do not form a volume.

    """
    files = [read_file(path) for path in _files(folder)]
    if not files:
        folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
        fix = f"give the folder that contains them ({', '.join(folders[:5])})" if folders else "give the series' folder"
        raise ScanError(f"{folder}: contains no DICOM files; {fix}")
    series: dict[str, list[DicomFile]] = {}
    for file in files:
        series.setdefault(file.series, []).append(file)
    if len(series) > 1:
        shown = ", ".join(
            f"{group[0].title} ({len(group)} files, {group[0].path.name} …)" for group in list(series.values())[:4]
        )
        raise ScanError(f"{folder}: contains {len(series)} series: {shown}; move each to its own folder")
    return _scan(folder, [frame for file in files for frame in frames_of(file)])


def read_single(path: Path) -> Volume | Picture:
    """Read a DICOM file: one flat image, or the slices of a multi-frame file.

    Raises:
        ScanError: The file is damaged, is one slice of a volume, or its frames do not form a volume.

    """
    return _scan(path, frames_of(read_file(path)))


def _scan(source: Path, frames: Sequence[Frame]) -> Volume | Picture:
    return _volume(source, frames) if len(frames) > 1 else _picture(frames[0])


def _files(folder: Path) -> list[Path]:
    """List the DICOM files of a folder; a file that may be a damaged slice is an error, not skipped."""
    found = []
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        files = [path for path in entries if not path.is_dir() and path.name.upper() != "DICOMDIR"]
    except OSError as error:
        raise ScanError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from None
    if len(files) > MAX_FILES:
        raise ScanError(f"{folder}: contains {len(files)} files, the maximum is {MAX_FILES}; give the series' folder")
    for path in files:
        if read_head(path, 132)[128:] == b"DICM":
            found.append(path)
        elif path.suffix.lower() in _DICOM_ENDINGS or not any(letter.isalpha() for letter in path.suffix):
            raise ScanError(f"{path}: is not a DICOM file; move it elsewhere, or copy or export it again")
    return found


def _picture(frame: Frame) -> Picture:
    """Load a single image."""
    file = frame.file
    kind = next((kind for uid, kind in _SLICES.items() if f"{file.sop_class}.".startswith(f"{uid}.")), None)
    if kind and not file.is_localizer:
        raise ScanError(f"{file.path}: is one slice of a {kind} volume; give the folder with all slices")
    check_memory(file.path, file.bytes_per_frame * 4)
    spacing = None
    if frame.spacing is not None:
        y, x = frame.spacing.tolist()
        check_affine(file.path, np.diag([x, y, 1.0, 1.0]))
        spacing = (x, y)
    return Picture(pixels_of(frame), spacing)


def _volume(source: Path, frames: Sequence[Frame]) -> Volume:
    """Check and order the slices, and load them."""
    _check_alike(frames)
    stacks = sorted({frame.stack for frame in frames})
    if len(stacks) > 1:
        shown = ", ".join(f"stack {stack or '-'} time {time or '-'}" for stack, time in stacks[:4])
        raise ScanError(f"{source}: contains {len(stacks)} stacks of slices ({shown}); export a single one")
    affine, ordered = _place(source, frames)
    check_affine(source, affine)
    check_memory(source, frames[0].file.bytes_per_frame * len(frames) * 2)
    voxels: NDArray[Any] = np.empty((0,), dtype=np.int8)
    for k, frame in enumerate(ordered):
        pixels = pixels_of(frame)
        if k == 0:
            voxels = np.empty((len(ordered), *pixels.shape), dtype=pixels.dtype)
        elif voxels.dtype != pixels.dtype:  # each slice has its own scale factor
            voxels = voxels.astype(np.promote_types(voxels.dtype, pixels.dtype), copy=False)
        voxels[k] = pixels
    return Volume(voxels.transpose(2, 1, 0), affine)


def _check_alike(frames: Sequence[Frame]) -> None:
    """Reject slices that are not greyscale images of the same size, orientation and spacing."""
    first = frames[0]
    for frame in frames:
        file, path = frame.file, frame.file.path
        if file.samples > 1 or (file.frames > 1 and not file.has_frame_groups):
            raise ScanError(
                f"{path}: has color or several frames without positions; export single greyscale slices, or NIfTI"
            )
        for name in ("position", "orientation", "spacing"):
            if getattr(frame, name) is None:
                raise ScanError(f"{path}: has no {name}, so it is not a slice; move it elsewhere, or export it again")
        same = np.allclose(_geometry(frame), _geometry(first), atol=_SAME_DIRECTION)
        if _form(frame) != _form(first) or not same:
            raise ScanError(
                f"{path}: {'' if file.frames == 1 else f'frame {frame.number + 1} '}differs from {first.name} in "
                "size, orientation or spacing; move each set of slices to its own folder"
            )


def _form(frame: Frame) -> tuple[int, int, str]:
    return frame.file.rows, frame.file.columns, frame.file.photometric


def _geometry(frame: Frame) -> list[float]:
    orientation, spacing = frame.orientation, frame.spacing
    return [] if orientation is None or spacing is None else [*orientation.ravel(), *spacing]


def _place(source: Path, frames: Sequence[Frame]) -> tuple[Floats, list[Frame]]:
    """Return the affine (4, 4) from voxel centres to LPS mm, and the slices in the order of k."""
    first = frames[0]
    axes = np.reshape(_geometry(first)[:6], (2, 3))
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > _SAME_DIRECTION or abs(axes[0] @ axes[1]) > _SAME_DIRECTION:
        raise ScanError(f"{first.file.path}: its image axes are not orthogonal; export it again")
    normal = np.cross(axes[0], axes[1])
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [frames[n] for n in order]
    positions = positions[order]
    _check_gaps(source, ordered, positions, normal)
    row_mm, column_mm = _geometry(first)[6:]
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * column_mm
    affine[:3, 1] = axes[1] * row_mm
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    return affine, ordered


def _check_gaps(source: Path, ordered: Sequence[Frame], positions: Floats, normal: Floats) -> None:
    """Reject slices at positions (K, 3 mm) that are duplicate, missing, unaligned or unevenly spaced."""
    steps = np.diff(positions, axis=0)
    gaps = steps @ normal
    middle = np.argsort(gaps, kind="stable")[(len(gaps) - 1) // 2]
    usual = float(gaps[middle])
    for n in np.flatnonzero(gaps < max(0.1 * usual, 1e-4)):
        pair = f"{ordered[n].name} and {ordered[n + 1].name}"
        raise ScanError(f"{source}: {pair} have the same position; keep one slice per position")
    allowed = _UNEVEN * usual + _ROUNDING_MM
    for n in np.flatnonzero(np.linalg.norm(steps - steps[middle], axis=1) > allowed):
        pair = f"{ordered[n].name} and {ordered[n + 1].name}"
        if gaps[n] > 1.5 * usual:
            raise ScanError(
                f"{source}: the gap between {pair} is {gaps[n]:g} mm, elsewhere {usual:g}: slices are missing; "
                "export the series again"
            )
        raise ScanError(
            f"{source}: its slices are unevenly spaced, {gaps[n]:g} mm between {pair}, elsewhere {usual:g}; resample it"
        )
