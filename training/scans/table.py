"""The table of a user's scans, ``scans.csv``, and the settings of each scan."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from synthgen.errors import ScanError
from synthgen.specs.builtin import suggestion
from synthgen.specs.messages import spec_error
from synthgen.training.scans.formats.csv_table import CsvRow, read_rows

MAX_BYTES = 16_000_000
REQUIRED = ("id", "subject", "image")
COLUMNS = (*REQUIRED, "landmarks")
_ID = re.compile(r"\w[\w.+-]{0,99}")
_SWITCH = {"yes": True, "true": True, "no": False, "false": False}

Direction = Literal["L", "R", "A", "P", "S", "I", "auto"]
Side = Literal["left", "right"]
Method = Literal["auto", "volume", "radiograph", "mask"]


def _switch(value: Any) -> Any:
    """Read yes, no, true and false, which tables hold as text."""
    if isinstance(value, str):
        if value.lower() not in _SWITCH:
            raise ValueError(f'value "{value[:40]}"; write yes or no')
        return _SWITCH[value.lower()]
    return value


def _number(value: Any) -> Any:
    """Read a finite number, which tables hold as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise ValueError(f'value "{str(value)[:40]}"; write a number, with a point')
    return number


def _threshold(value: Any) -> Any:
    """Read a number, or the name of the rule that finds it."""
    if isinstance(value, str) and value.lower() in {"otsu", "hounsfield"}:
        return value.lower()
    try:
        return _number(value)
    except ValueError:
        raise ValueError(f'value "{str(value)[:40]}"; write a number, otsu or hounsfield') from None


Switch = Annotated[bool, BeforeValidator(_switch)]
Number = Annotated[float, BeforeValidator(_number)]
Threshold = Annotated[float | Literal["otsu", "hounsfield"], BeforeValidator(_threshold)]


class ScanSettings(BaseModel):
    """How one scan is converted to the common domain; None: decided by the model or from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Side | None = Field(None, description="The patient's side of a hand: left or right.")
    up: Direction | None = Field(None, description="Patient direction that is up in the patch.")
    viewed_from: Direction | None = Field(None, description="Patient direction of the viewer.")
    threshold: Threshold | None = Field(
        None, description="Value above which a voxel is tissue, or the rule that finds it."
    )
    method: Method = Field("auto", description="How the silhouette is found.")
    remove_table: Switch | None = Field(None, description="Remove the scanner's table.")
    fill_holes: Switch | None = Field(None, description="Fill holes of the silhouette.")
    largest: Switch | None = Field(None, description="Keep the largest component alone.")
    min_speckle_mm2: Number | None = Field(None, ge=0, description="Components below this area are removed, mm2.")
    mm_per_px: Number | None = Field(None, gt=0, description="Spacing of a 2D image that states none, or a wrong one.")

    def for_model(self, model: Literal["hand", "body"]) -> "ScanSettings":
        """Return these settings with the model's defaults where nothing is said.

        Bodies: up S, viewed from A, the table removed. Hands: up and view found from the data (``auto``), no table.
        """
        usual: dict[str, object] = {"fill_holes": True, "largest": True}
        if model == "body":
            usual |= {"up": "S", "viewed_from": "A", "remove_table": True}
        else:
            usual |= {"up": "auto", "viewed_from": "auto", "remove_table": False}
        said = {field: value for field, value in self if value is not None}
        return ScanSettings.model_validate(usual | said)


@dataclass(frozen=True)
class ScanRow:
    """One scan of the table."""

    line: int
    """Line in the file, from 1."""
    id: str
    subject: str
    """The person; scans of one subject never go to different splits."""
    image: Path
    """A file, or the folder of a DICOM series."""
    landmarks: Path | None
    settings: ScanSettings


def settings_of(values: Mapping[str, str | None]) -> ScanSettings:
    """Return settings given on the command line.

    Raises:
        ScanError: One cannot be used; the text names its option.

    """
    data = {name: value for name, value in values.items() if value}
    try:
        return ScanSettings.model_validate(data)
    except ValidationError as error:
        raise ScanError(str(spec_error(error, ScanSettings, data, lambda _: "options"))) from None


def read_scan_table(path: Path) -> tuple[ScanRow, ...]:
    """Read a CSV with the columns ``id``, ``subject``, ``image``, ``landmarks`` and any fields of `ScanSettings`.

    Paths are relative to the CSV; ``landmarks`` and settings may be empty or left out.

    Raises:
        ScanError: The table cannot be used; the text names the line, the value and the fix.

    """
    columns, rows = read_rows(path, MAX_BYTES)
    known = (*COLUMNS, *ScanSettings.model_fields)
    for column in columns:
        if column not in known:
            raise ScanError(f"{path}: no column is named {column[:60]!r}; {suggestion(column[:60], known)}")
    for column in REQUIRED:
        if column not in columns:
            raise ScanError(f"{path}: has no column {column}; add it")
    if not rows:
        raise ScanError(f"{path}: lists no scan; add a line for each")
    found = tuple(_scan(path, row) for row in rows)
    lines: dict[str, int] = {}
    for scan in found:
        if scan.id in lines:
            raise ScanError(
                f"{path}:{scan.line}: id {scan.id} is already used in line {lines[scan.id]}; give each scan a unique id"
            )
        lines[scan.id] = scan.line
    return found


def _scan(path: Path, row: CsvRow) -> ScanRow:
    """Check one row."""
    where, cells = f"{path}:{row.line}", row.cells
    for column in REQUIRED:
        if not cells[column]:
            raise ScanError(f"{where}: {column}: is empty; fill it in")
    if not _ID.fullmatch(cells["id"]):
        raise ScanError(f"{where}: id: value {cells['id'][:60]!r}; use at most 100 letters, digits and . _ + -")
    if not cells["subject"].isprintable() or len(cells["subject"]) > 200:
        raise ScanError(f"{where}: subject: value {cells['subject'][:60]!r}; use at most 200 characters on one line")
    image = _existing(where, "image", path.parent, cells["image"])
    landmarks = cells.get("landmarks", "")
    data = {name: cells[name] for name in ScanSettings.model_fields if cells.get(name)}
    try:
        settings = ScanSettings.model_validate(data)
    except ValidationError as error:
        raise ScanError(str(spec_error(error, ScanSettings, data, lambda _: where))) from None
    return ScanRow(
        line=row.line,
        id=cells["id"],
        subject=cells["subject"],
        image=image,
        landmarks=_existing(where, "landmarks", path.parent, landmarks) if landmarks else None,
        settings=settings,
    )


def _existing(where: str, column: str, folder: Path, value: str) -> Path:
    """Return the path of what a cell names, relative to the table's folder."""
    found = folder / value
    try:
        exists = found.exists()
    except (OSError, ValueError):  # a name that is too long, or a NUL
        exists = False
    if not exists:
        raise ScanError(f"{where}: {column}: {value[:200]!r} does not exist; paths are relative to the table's folder")
    return found
