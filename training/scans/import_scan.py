"""Imports one scan of a user's table into the common domain: read, check, binarize, frame."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthgen.errors import ScanError, SynthgenError
from synthgen.geometry import Floats
from synthgen.specs.domain import Domain
from synthgen.storage.atomic_files import file_sha256
from synthgen.training.scans.formats.image_types import Picture, Volume
from synthgen.training.scans.formats.landmark_files import Points, read_landmarks
from synthgen.training.scans.formats.read_image import read_image
from synthgen.training.scans.orientation import ENDS
from synthgen.training.scans.patch import ScanPatch, domain_patch
from synthgen.training.scans.scan_set import Scan
from synthgen.training.scans.table import ScanRow

_CROWD, _CLOSE = 3, 0.15
"""So many landmarks within this part of the silhouette's extent are in other units, if those would fit the image."""
_TOLERANCE = 1.0
"""A landmark may be this many voxels or pixels outside the image: people click on the outermost voxel."""
_FRAMES = {"they look like RAS coordinates, say so in the file or change the signs of x and y": (-1.0, -1.0, 1.0)}
_UNITS = {
    "they look like metres, give mm": (1000.0, 1000.0, 1000.0),
    "they look like cm, give mm": (10.0, 10.0, 10.0),
}
"""What would explain landmarks that do not fit, and the factors that would mend them."""


@dataclass(frozen=True)
class ImportedScan:
    """A scan in the common domain, and what looks wrong about its landmarks."""

    scan: Scan
    problems: tuple[str, ...]


def import_scan(row: ScanRow, table: Path, domain: Domain) -> ImportedScan:
    """Bring one scan to a domain. Its files are read in this process: call it through a `ChildReader`.

    Args:
        row: A line of the table.
        table: The table's own path.
        domain: Model, landmarks, image size and framing of the patch.

    Raises:
        ScanError: The image or the landmarks cannot be used; the text names the file.

    """
    names = domain.landmarks
    image = read_image(row.image)
    points = read_landmarks(row.landmarks, names) if row.landmarks else None
    outside = _outside(image, points) if points else None
    if outside and _lost(image, points):
        raise ScanError(f"{row.landmarks}: {outside}")
    try:
        patch = domain_patch(image, points, row.settings, domain)
    except SynthgenError as error:
        raise ScanError(f"{row.image}: {error}") from None
    crowded = _crowded(image, points, patch) if points and not outside else None
    swapped = None if crowded else _swapped(dict(zip(names, patch.landmarks_px, strict=True)), domain.model)
    problems = tuple(f"{row.landmarks}: {problem}" for problem in (outside, crowded, swapped) if problem)
    return ImportedScan(_scan(row, table, patch), problems)


def _scan(row: ScanRow, table: Path, patch: ScanPatch) -> Scan:
    settings = {name: value for name, value in row.settings if value is not None}
    return Scan(
        mask=patch.mask,
        depth_mm=patch.depth_mm,
        landmarks_px=patch.landmarks_px,
        landmarks_mm=patch.landmarks_mm,
        patch_to_source=patch.patch_to_source,
        mm_per_px=patch.mm_per_px,
        touches_border=patch.touches_border,
        id=row.id,
        subject=row.subject,
        side=patch.side or "",
        source=_source(row.image, table),
        sha256=image_sha256(row.image),
        settings=json.dumps({"asked": settings, "used": patch.settings}, sort_keys=True),
    )


def _source(image: Path, table: Path) -> str:
    """Return the path as the table gives it, and of an absolute one the name alone: sets travel, machines do not."""
    folder = table.parent
    return image.relative_to(folder).as_posix() if image.is_relative_to(folder) else image.name


def image_sha256(path: Path) -> str:
    """Return the SHA-256 of an image file, or of the digests of a folder's files in order of their names."""
    if not path.is_dir():
        return file_sha256(path)
    digests = [file_sha256(file) for file in sorted(path.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _voxels(image: Volume | Picture, points: Points) -> dict[str, Floats]:
    """Return landmarks in voxels or pixels, the outer corner of the first being 0."""
    found = {name: np.array(point, dtype=np.float64) for name, point in points.points.items()}
    if isinstance(image, Picture) or points.frame == "pixel":
        return found
    if points.frame == "lps_mm":
        back = np.linalg.inv(image.affine)
        found = {name: back[:3, :3] @ point + back[:3, 3] for name, point in found.items()}
    return {name: point + 0.5 for name, point in found.items()}


def _sizes(image: Volume | Picture) -> Floats:
    return np.array(image.shape if isinstance(image, Volume) else image.pixels.shape[::-1], dtype=np.float64)


def _are_out(image: Volume | Picture, voxels: Mapping[str, Floats]) -> list[str]:
    size = _sizes(image)
    return [
        name
        for name, point in voxels.items()
        if len(point) == len(size) and ((point < -_TOLERANCE) | (point > size + _TOLERANCE)).any()
    ]


def _outside(image: Volume | Picture, points: Points) -> str | None:
    """Report which landmarks are outside the image, and a likely cause."""
    out = _are_out(image, _voxels(image, points))
    if not out:
        return None
    first = ", ".join(f"{value:g}" for value in points.points[out[0]])
    text = f"{out[0]} ({first}) lies outside the image" + (f", and so do {len(out) - 1} more" if len(out) > 1 else "")
    return f"{text}; {_explanation(image, points)}"


def _lost(image: Volume | Picture, points: Points | None) -> bool:
    """Whether every landmark is outside the image: then the file is unusable."""
    return points is not None and len(_are_out(image, _voxels(image, points))) == len(points.points)


def _crowded(image: Volume | Picture, points: Points, patch: ScanPatch) -> str | None:
    """Report landmarks that are too close together for the silhouette: their units cannot be right."""
    known = patch.landmarks_px[np.isfinite(patch.landmarks_px).all(axis=1)]
    rows, columns = np.nonzero(patch.mask)
    if len(known) < _CROWD or not len(rows):
        return None
    spread, seen = np.ptp(known, axis=0).max(), max(np.ptp(rows), np.ptp(columns)) + 1
    units = _guess(image, points, _UNITS) if spread < _CLOSE * seen else None
    return f"all landmarks lie within {100 * spread / seen:.1f} % of the silhouette; {units}" if units else None


def _explanation(image: Volume | Picture, points: Points) -> str:
    if isinstance(image, Picture) or points.frame == "voxel":
        return "are these the landmarks of this image?"
    if guess := _guess(image, points, _FRAMES | _UNITS):
        return guess
    if not _are_out(image, _voxels(image, Points("voxel", points.points))):
        return "they look like voxel indices, name the columns i,j,k"
    return "are they in the frame of this image (LPS, mm)?"


def _guess(image: Volume | Picture, points: Points, guesses: Mapping[str, tuple[float, float, float]]) -> str | None:
    """Return the first guess whose factors bring every landmark into the volume."""
    if isinstance(image, Picture) or points.frame != "lps_mm":
        return None
    for text, factors in guesses.items():
        guess = {name: tuple(np.array(point) * factors) for name, point in points.points.items()}
        if not _are_out(image, _voxels(image, Points("lps_mm", guess))):
            return text
    return None


def _swapped(landmarks_px: Mapping[str, Floats], model: str) -> str | None:
    """Say when left and right look exchanged in the patch: a hand's thumb is at its right, a body's left too."""
    if model == "hand":
        pairs = [(f"thumb{end}", f"little{end}") for end in ENDS]
        fix = "fill in the column side, up or viewed_from, or is this the palm's side?"
    else:
        pairs = [(name, f"right_{name[5:]}") for name in landmarks_px if name.startswith("left_")]
        fix = "left is the patient's left; exchange the names, or check up and viewed_from"
    known = [
        bool(landmarks_px[a][0] < landmarks_px[b][0])
        for a, b in pairs
        if a in landmarks_px and b in landmarks_px and np.isfinite([*landmarks_px[a], *landmarks_px[b]]).all()
    ]
    if known and 2 * sum(known) > len(known):
        return f"left and right look exchanged ({sum(known)} of {len(known)} pairs); {fix}"
    return None
