"""Landmark files: Slicer's markups, CSV and JSON; each file declares its coordinate frame."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synthgen.errors import ScanError
from synthgen.specs.builtin import suggestion
from synthgen.training.scans.formats.csv_table import read_rows, read_text
from synthgen.training.scans.formats.slicer import NamedPoint, fcsv_points, markups_content, markups_points
from synthgen.training.scans.formats.untrusted_files import write_text

PointFrame = Literal["lps_mm", "voxel", "pixel"]
MAX_BYTES = 4_000_000
_COLUMNS: dict[PointFrame, tuple[str, ...]] = {
    "lps_mm": ("x_mm", "y_mm", "z_mm"),
    "voxel": ("i", "j", "k"),
    "pixel": ("x", "y"),
}
"""The coordinate columns, whose names declare the frame."""
_UNLABELLED = "name the columns x_mm,y_mm,z_mm (LPS), i,j,k (voxels), or x,y (pixels of a 2D image)"
_FURTHER = ("uncertainty_mm", "uncertainty_px")
"""Additional columns of predictions."""
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MAX_NUMBER = 1e7


@dataclass(frozen=True)
class Points:
    """The known landmarks of one scan, and their coordinate frame."""

    frame: PointFrame
    """``lps_mm``: patient frame LPS; ``voxel``: i, j, k, integers are voxel centres; ``pixel``: continuous pixels
    x, y of a 2D image as stored, where (0, 0) is the outer corner of the top-left pixel."""
    points: Mapping[str, tuple[float, ...]]
    """Coordinates by landmark, two for ``pixel`` and three otherwise, all finite; missing landmarks are absent."""


def read_landmarks(path: Path, names: tuple[str, ...]) -> Points:
    """Read a landmark file: ``.mrk.json``, ``.fcsv``, ``.csv`` or ``.json``.

    Args:
        path: The file. A CSV has a column ``name`` and ``x,y`` (pixels), ``x_mm,y_mm,z_mm`` (LPS) or ``i,j,k``
            (voxels); empty cells are a missing landmark. A JSON is a list of objects with the same keys, or
            ``{"frame": "lps_mm", "points": {"thumb": [x, y, z], "index": null}}`` with a frame of `Points`.
        names: The landmark set's names, in order.

    Returns:
        The landmarks that the file gives, in the order of the set.

    Raises:
        ScanError: The file is invalid, has a duplicate or unknown landmark, or a coordinate that is not a number.

    """
    ending = path.name.lower()
    if ending.endswith(".fcsv"):
        return _checked(path, "lps_mm", fcsv_points(path, read_text(path, MAX_BYTES)), names)
    if ending.endswith(".json"):
        return _checked(path, *_json_points(path), names)
    if ending.endswith(".csv"):
        return _checked(path, *_csv_points(path), names)
    raise ScanError(f"{path}: has an unsupported extension; save the landmarks as .mrk.json, .fcsv, .csv or .json")


def write_markups(
    path: Path, points_mm: Mapping[str, Sequence[float]], descriptions: Mapping[str, str] | None = None
) -> None:
    """Write a point list in LPS mm, for Slicer and `read_landmarks`.

    Args:
        path: The file, by Slicer's custom ``NAME.mrk.json``.
        points_mm: (3,) by landmark; one with a NaN is written as not placed.
        descriptions: A remark for each landmark that has one; Slicer shows it beside the point.

    Raises:
        ScanError: The file cannot be written.

    """
    placed = {name: _floats(point, 3) if _is_known(point) else None for name, point in points_mm.items()}
    write_text(path, json.dumps(markups_content(placed, descriptions or {}), indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, points: Points, more: Mapping[str, Mapping[str, float]] | None = None) -> None:
    """Write a CSV that `read_landmarks` reads back equal.

    Args:
        path: The file.
        points: The landmarks.
        more: Further columns by name, each a number by landmark; they are not read back.

    Raises:
        ScanError: The file cannot be written.

    """
    columns, more = _COLUMNS[points.frame], more or {}
    rows = [
        (name, *map(repr, _floats(point, len(columns))), *(repr(column[name]) for column in more.values()))
        for name, point in points.points.items()
    ]
    write_text(path, "".join(",".join(row) + "\n" for row in [("name", *columns, *more), *rows]))


def write_json(path: Path, points: Points, more: Mapping[str, Mapping[str, float]] | None = None) -> None:
    """Write a JSON that `read_landmarks` reads back equal.

    Args:
        path: The file.
        points: The landmarks.
        more: Further numbers by landmark, by what they are; they are not read back.

    Raises:
        ScanError: The file cannot be written.

    """
    count = len(_COLUMNS[points.frame])
    places = {name: _floats(point, count) for name, point in points.points.items()}
    content = {"frame": points.frame, "points": places, **(more or {})}
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _csv_points(path: Path) -> tuple[PointFrame, Iterator[NamedPoint]]:
    columns, rows = read_rows(path, MAX_BYTES)
    frame = _frame(str(path), columns)
    return frame, (_of_cells(f"{path}:{row.line}", row.cells, frame) for row in rows)


def _json_points(path: Path) -> tuple[PointFrame, Iterator[NamedPoint]]:
    try:
        data = json.loads(read_text(path, MAX_BYTES), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ScanError(f"{path}: is not valid JSON ({str(error)[:100]}); save it again") from None
    if isinstance(data, dict) and "markups" in data:
        return "lps_mm", markups_points(path, data)
    if isinstance(data, dict) and set(data) - set(_FURTHER) == {"frame", "points"} and isinstance(data["points"], dict):
        frame = data["frame"]
        if not isinstance(frame, str) or frame not in _COLUMNS:
            raise ScanError(f"{path}: frame is {str(frame)[:40]!r}; use one of: {', '.join(_COLUMNS)}")
        return frame, (NamedPoint(f"{path}: {name[:40]}", name, point) for name, point in data["points"].items())
    if isinstance(data, list) and data and all(isinstance(item, dict) for item in data):
        frame = _frame(str(path), tuple(data[0]))
        return frame, (_of_cells(f"{path}: point {n}", item, frame) for n, item in enumerate(data, 1))
    raise ScanError(
        f'{path}: holds no landmarks; write {{"frame": "lps_mm", "points": {{"name": [x, y, z]}}}}, '
        "a list of objects with name and coordinates, or Slicer's markups"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject duplicate keys, which json accepts silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice[:40]!r} occurs twice")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _frame(place: str, columns: Sequence[str]) -> PointFrame:
    """Determine the frame from the column names."""
    if "name" not in columns:
        known = ", ".join(column[:20] for column in columns[:8])
        raise ScanError(f"{place}: has no column 'name' (only {known}); add one with the landmark names")
    if {"x", "y", "z"} <= set(columns):
        raise ScanError(f"{place}: columns x,y,z leave frame and unit open; {_UNLABELLED}")
    found = [frame for frame, wanted in _COLUMNS.items() if set(wanted) & set(columns)]
    if len(found) > 1:
        raise ScanError(f"{place}: has coordinates in several frames ({', '.join(found)}); keep one of them")
    if not found or not set(_COLUMNS[found[0]]) <= set(columns):
        lacks = [column for column in _COLUMNS[found[0]] if column not in columns] if found else []
        raise ScanError(f"{place}: has no {'column ' + lacks[0] if lacks else 'coordinates'}; {_UNLABELLED}")
    return found[0]


def _of_cells(place: str, cells: Mapping[str, Any], frame: PointFrame) -> NamedPoint:
    """Return the point of one row; a row without coordinates is a missing landmark."""
    unknown = [column for column in ("name", *_COLUMNS[frame]) if column not in cells]
    if unknown:
        raise ScanError(f"{place}: has no {unknown[0]}; give every point the same keys")
    position = [cells[column] for column in _COLUMNS[frame]]
    missing = all(value is None or value == "" for value in position)
    return NamedPoint(place, str(cells["name"]), None if missing else position)


def _checked(path: Path, frame: PointFrame, points: Iterator[NamedPoint], names: tuple[str, ...]) -> Points:
    """Check names and numbers, and return the points in the order of the landmark set."""
    given = list(points)
    if len(given) > len(names):
        raise ScanError(
            f"{path}: has {len(given)} points, expected at most {len(names)}; keep those named {', '.join(names[:40])}"
        )
    found: dict[str, tuple[float, ...] | None] = {}
    for point in given:
        name = point.name.strip()
        if name not in names:
            raise ScanError(f"{point.place}: no landmark is named {name[:60]!r}; {suggestion(name[:60], names)}")
        if name in found:
            raise ScanError(f"{point.place}: {name} occurs twice; keep one of them")
        found[name] = _position(point, len(_COLUMNS[frame]))
    placed = {name: found.get(name) for name in names}
    return Points(frame, {name: position for name, position in placed.items() if position is not None})


def _position(point: NamedPoint, count: int) -> tuple[float, ...] | None:
    """Return a point's coordinates; None if it is missing."""
    if point.position is None:
        return None
    values = point.position if isinstance(point.position, list) else [point.position]
    if len(values) != count:
        raise ScanError(f"{point.place}: {point.name} has {len(values)} coordinates, expected {count}; correct it")
    numbers = [_number(point, value) for value in values]
    return tuple(sign * number + 0.0 for sign, number in zip(point.signs, numbers, strict=False))


def _number(point: NamedPoint, value: Any) -> float:
    """Return a coordinate, given as a number or as the text of a table cell."""
    number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value
    if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < _MAX_NUMBER:
        return float(number)
    fix = "write numbers with a point, and leave all cells of a missing landmark empty"
    raise ScanError(f"{point.place}: {point.name} has the coordinate {str(value)[:40]!r}; {fix}")


def _is_known(point: Sequence[float]) -> bool:
    return not any(math.isnan(value) for value in point)


def _floats(point: Sequence[float], count: int) -> tuple[float, ...]:
    values = tuple(float(value) for value in point)
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a point needs {count} finite numbers, got {values}")
    return values
