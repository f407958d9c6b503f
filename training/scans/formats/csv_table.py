"""CSV files as common programs write them: with or without a byte order mark, commas or semicolons."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from synthgen.errors import ScanError
from synthgen.training.scans.formats.untrusted_files import read_small


@dataclass(frozen=True)
class CsvRow:
    """One row of a table."""

    line: int
    """Line in the file where the row ends, from 1."""
    cells: dict[str, str]
    """By column, with surrounding spaces removed."""


def read_rows(path: Path, max_bytes: int) -> tuple[tuple[str, ...], tuple[CsvRow, ...]]:
    """Return a table's columns and rows; empty lines are skipped.

    Raises:
        ScanError: The file cannot be read or is too large, or a row does not match the header; the text gives the line.

    """
    text = read_text(path, max_bytes)
    head = text.lstrip("\r\n").partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in head and "," not in head else ",")
    columns: tuple[str, ...] = ()
    rows = []
    try:
        for words in reader:
            cells = [word.strip() for word in words]
            if not any(cells):
                continue
            if not columns:
                columns = _columns(path, reader.line_num, cells)
            elif len(cells) != len(columns):
                raise ScanError(
                    f"{path}:{reader.line_num}: {len(cells)} cells where the header has {len(columns)}; "
                    "quote cells that contain the separator"
                )
            else:
                rows.append(CsvRow(reader.line_num, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise ScanError(f"{path}:{reader.line_num}: is not valid CSV ({error}); save it again") from None
    if not columns:
        raise ScanError(f"{path}: is empty; write the column names in the first line")
    return columns, tuple(rows)


def read_text(path: Path, max_bytes: int) -> str:
    """Return a file's text, without a byte order mark.

    Raises:
        ScanError: The file cannot be read, is too large, or is not UTF-8.

    """
    try:
        return read_small(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ScanError(f"{path}: is not UTF-8 text; save it as UTF-8") from None


def _columns(path: Path, line: int, cells: list[str]) -> tuple[str, ...]:
    twice = next((cell for cell in cells if cells.count(cell) > 1), None)
    if twice is not None:
        raise ScanError(f"{path}:{line}: column {twice[:40]!r} occurs twice; give each column a unique name")
    return tuple(cells)
