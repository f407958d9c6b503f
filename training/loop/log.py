"""The training log: a CSV file that a resumed training appends to, and TensorBoard if requested."""

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
    """A row of the log; its fields are the columns of `log.csv`."""

    epoch: int
    """From 1."""
    step: int
    """Optimizer steps so far."""
    lr: float
    """Learning rate of the last step."""
    loss: float
    """Mean over the steps since the previous row."""
    validation_px: float | None
    """Mean error in pixels of the patch; known at the end of an epoch."""
    samples_per_s: float
    seconds: float
    """Since this run began; a resumed training starts from 0 again."""


class Log(Protocol):
    """A destination of rows."""

    def write(self, line: Line) -> None:
        """Write a row."""

    def close(self) -> None:
        """Flush and close."""


class CsvLog:
    """The log as a CSV file."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the log of a folder to continue after a step; rows of later steps are dropped."""
        self._path = folder / FILE
        names = [field.name for field in fields(Line)]
        rows = [row for row in _rows(self._path) if _step(row) <= step]
        write_file(self._path, _text([names, *([row.get(name, "") for name in names] for row in rows)]).encode())

    def write(self, line: Line) -> None:
        """Append a row."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_text([["" if value is None else value for value in astuple(line)]]))

    def close(self) -> None:
        """Do nothing: every row is written at once."""


class TensorBoardLog:
    """The log as TensorBoard curves."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the curves of a folder to continue after a step."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (slow to load, and rarely used)

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def write(self, line: Line) -> None:
        """Add a point to each curve."""
        for name, value in asdict(line).items():
            if name not in {"epoch", "step", "seconds"} and value is not None:
                self._writer.add_scalar(name, value, line.step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return list(csv.DictReader(file))


def _step(row: dict[str, str]) -> float:
    """Return the step of a row; infinity for one that is incomplete because the process was killed."""
    value = row.get("step") or ""
    whole = None not in row.values() and value.isdigit()
    return int(value) if whole else float("inf")


def _text(rows: Iterable[Iterable[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
