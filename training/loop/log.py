"""The log of a training: a CSV file that a resumed training goes on with, and TensorBoard where it is asked for."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from synthgen.storage.atomic_files import write_file

FILE = "log.csv"


@dataclass(frozen=True)
class Line:
    """What is told of some updates."""

    epoch: int
    """From 1."""
    updates: int
    """So far."""
    rate: float
    loss: float
    """Mean over the updates since the last line."""
    validation_px: float | None
    """Mean error in patch pixels, at the end of an epoch."""
    samples_per_s: float
    seconds: float
    """Since this run of the training began."""


class Log(Protocol):
    """Where lines go."""

    def write(self, line: Line) -> None:
        """Take a line."""

    def close(self) -> None:
        """Write what is left."""


class CsvLog:
    """A table in a file."""

    def __init__(self, folder: Path, updates: int) -> None:
        """Go on with the table of a folder after so many updates; what it tells of later ones is dropped."""
        self._path = folder / FILE
        names = [field.name for field in fields(Line)]
        rows = [row for row in _rows(self._path) if _updates(row) <= updates]
        write_file(self._path, _text([names, *([row.get(name, "") for name in names] for row in rows)]).encode())

    def write(self, line: Line) -> None:
        """Append a line."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_text([["" if value is None else value for value in astuple(line)]]))

    def close(self) -> None:
        """Have nothing left to write."""


class TensorBoardLog:
    """Curves for TensorBoard."""

    def __init__(self, folder: Path, updates: int) -> None:
        """Go on with the curves of a folder after so many updates."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (slow to load, and rarely asked for)

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=updates)

    def write(self, line: Line) -> None:
        """Add a point to each curve."""
        for name, value in asdict(line).items():
            if name not in {"epoch", "updates", "seconds"} and value is not None:
                self._writer.add_scalar(name, value, line.updates)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return list(csv.DictReader(file))


def _updates(row: dict[str, str]) -> float:
    """Return how far a row is; one that a kill cut short is beyond everything."""
    value = row.get("updates") or ""
    whole = None not in row.values() and value.isdigit()
    return int(value) if whole else float("inf")


def _text(rows: Iterable[Iterable[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
