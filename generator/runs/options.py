"""The options of a run, and checks made before anything is written."""

import contextlib
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import DatasetError

if TYPE_CHECKING:
    from synthgen.datasets.plan import ShardPlan


@dataclass(frozen=True)
class RunOptions:
    """How a spec is rendered; no option affects the bytes of a sample."""

    out: Path
    workers: int | None = None
    """Maximum number of worker processes; None means as many as fit."""
    scheduler: str | None = None
    """Address of a Dask scheduler, ``tcp://host:port``; None starts local workers."""
    shards: str | None = None
    """Numbers and ranges of shards, ``0-15,20``; None means all shards."""
    overwrite: bool = False
    """Remove the dataset in ``out`` first."""
    dashboard: bool = False
    """Serve Dask's dashboard, on this machine only."""


def select_shards(plans: "Sequence[ShardPlan]", shards: str | None) -> "list[ShardPlan]":
    """Return the plans that ``0-15,20`` selects, in their order; None selects all.

    Raises:
        DatasetError: The text cannot be parsed, or a number is out of range.
    """
    if shards is None:
        return list(plans)
    numbers: set[int] = set()
    last = len(plans) - 1
    for part in shards.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part, re.ASCII)
        if match is None:
            raise DatasetError(f"--shards: value {shards!r}; give numbers and ranges such as 0-15,20")
        first, end = int(match[1]), int(match[2] or match[1])
        if not first <= end <= last:
            raise DatasetError(f"--shards: value {part.strip()!r}; this dataset has shards 0 to {last}")
        numbers.update(range(first, end + 1))
    return [plan for plan in plans if plan.number in numbers]


def nearest_folder(path: Path) -> Path:
    """Return the path, or its nearest ancestor that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_target(root: Path) -> None:
    """Check that a folder exists or can be created, and is writable; leaves no files behind.

    Raises:
        DatasetError: It is not.
    """
    existing = nearest_folder(root)
    if not existing.is_dir():
        raise DatasetError(f"{existing}: is a file, but the dataset needs a folder; choose another --out")
    probe = existing / f".synthgen-{uuid.uuid4().hex}"
    try:
        with probe.open("xb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DatasetError(f"{existing}: cannot be written ({error.strerror}); choose another --out") from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
