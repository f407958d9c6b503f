"""3D Slicer's point files: markups (``.mrk.json``) and the older ``.fcsv``."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import ScanError

_TO_LPS = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1), "1": (1, 1, 1), "0": (-1, -1, 1)}
"""Signs of the coordinates by the frame named in a file; the digits are Slicer's codes."""
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_STATES = ("defined", "undefined", "preview", "missing")
_FCSV_LABEL, _FCSV_STATE, _FCSV_DEFINED = 11, 14, "2"
"""Column indices of a row, and the state code of a placed point."""


@dataclass(frozen=True)
class NamedPoint:
    """A point as stored in a file."""

    place: str
    """Location of the point in the file, for messages."""
    name: str
    position: Sequence[Any] | None
    """Its coordinates as stored, unchecked; None if the point has not been placed."""
    signs: tuple[int, ...] = (1, 1, 1)
    """Signs that convert the coordinates to LPS."""


def markups_points(path: Path, data: Mapping[str, Any]) -> Iterator[NamedPoint]:
    """Yield the control points of every point list in the content of a markups file.

    Raises:
        ScanError: There is no point list, or one in an unsupported frame or unit.

    """
    nodes = data["markups"] if isinstance(data["markups"], list) else []
    lists = [node for node in nodes if isinstance(node, dict) and node.get("type") == "Fiducial"]
    if not lists:
        kinds = sorted({str(node.get("type"))[:20] for node in nodes if isinstance(node, dict)})
        raise ScanError(f"{path}: contains no point list ({', '.join(kinds[:5]) or 'nothing'}); save one from Slicer")
    for node in lists:
        system, unit = node.get("coordinateSystem", "LPS"), node.get("coordinateUnits", "mm")
        if not isinstance(system, str) or system not in _TO_LPS:
            raise ScanError(f"{path}: its coordinateSystem is {str(system)[:40]!r}; write LPS or RAS")
        if unit != "mm" and not (isinstance(unit, list) and unit[:2] == ["mm", "UCUM"]):
            raise ScanError(f"{path}: its coordinateUnits is {str(unit)[:40]!r}; save it in mm")
        points = node.get("controlPoints", [])
        if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
            raise ScanError(f"{path}: controlPoints is not a list of points; save it again from Slicer")
        for number, point in enumerate(points, 1):
            yield _control_point(path, number, point, _TO_LPS[system])


def _control_point(path: Path, number: int, point: Mapping[str, Any], signs: tuple[int, ...]) -> NamedPoint:
    state, position = point.get("positionStatus", "defined"), point.get("position")
    place = f"{path}: control point {number}"
    if state not in _STATES:
        raise ScanError(f"{place}: positionStatus is {str(state)[:40]!r}; use one of: {', '.join(_STATES)}")
    if state == "defined" and not isinstance(position, list):
        raise ScanError(f"{place}: has no position; place it, or set its positionStatus to undefined")
    label = point.get("label", "")
    return NamedPoint(place, str(label), position if state == "defined" else None, signs)


def fcsv_points(path: Path, text: str) -> Iterator[NamedPoint]:
    """Yield the points of a ``.fcsv`` file's text.

    Raises:
        ScanError: The file does not declare its frame, or a row is too short.

    """
    signs: tuple[int, ...] | None = None
    for line, row in enumerate(text.splitlines(), 1):
        if row.startswith("#"):
            name, _, value = row.lstrip("# ").partition("=")
            if name.strip() == "CoordinateSystem":
                signs = _TO_LPS.get(value.strip())
                if signs is None:
                    raise ScanError(f"{path}:{line}: CoordinateSystem is {value.strip()[:40]!r}; write LPS or RAS")
            continue
        if not row.strip():
            continue
        if signs is None:
            raise ScanError(f"{path}: has no line `# CoordinateSystem = LPS` (or RAS) before its points; add it")
        yield _fcsv_point(path, line, row, signs)


def _fcsv_point(path: Path, line: int, row: str, signs: tuple[int, ...]) -> NamedPoint:
    try:
        cells = next(csv.reader([row]))
    except csv.Error as error:
        raise ScanError(f"{path}:{line}: cannot be read ({error}); save it again from Slicer") from None
    if len(cells) <= _FCSV_LABEL:
        raise ScanError(f"{path}:{line}: has {len(cells)} cells and no label; save it again from Slicer")
    placed = len(cells) <= _FCSV_STATE or cells[_FCSV_STATE].strip() in {"", _FCSV_DEFINED}
    return NamedPoint(f"{path}:{line}", cells[_FCSV_LABEL], cells[1:4] if placed else None, signs)


def markups_content(points_mm: Mapping[str, Sequence[float] | None], descriptions: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a markups file: one point list in LPS; None means a point that is not placed."""
    controls: list[dict[str, Any]] = []
    for number, (name, position) in enumerate(points_mm.items(), 1):
        control = {"id": str(number), "label": name, "description": descriptions.get(name, "")}
        placed = {"positionStatus": "undefined"} if position is None else {"position": list(position)}
        controls.append(control | placed)
    node = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": controls}
    return {"@schema": _SCHEMA, "markups": [node]}
