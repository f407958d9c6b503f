"""What a user asks of a run, and whether it can be done at all: looked at before anything is written."""

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
    """How a spec is rendered; nothing here changes a byte of a sample."""

    out: Path
    workers: int | None = None
    """The most worker processes to use; None means all that fit."""
    scheduler: str | None = None
    """Address of a Dask scheduler, ``tcp://host:port``; None starts workers here."""
    shards: str | None = None
    """Numbers and ranges of shards, ``0-15,20``; None means all."""
    overwrite: bool = False
    """Remove the dataset that lies in ``out`` first."""
    dashboard: bool = False
    """Show Dask's web page, on this machine only."""


def select_shards(plans: "Sequence[ShardPlan]", shards: str | None) -> "list[ShardPlan]":
    """Return the plans that ``0-15,20`` names, in their order; all for None."""
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
            raise DatasetError(f"--shards: value {part.strip()!r}; this dataset has the shards 0 to {last}")
        numbers.update(range(first, end + 1))
    return [plan for plan in plans if plan.number in numbers]


def nearest_folder(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_target(root: Path) -> None:
    """Refuse a target that cannot be a folder that can be written; leaves nothing behind."""
    there = nearest_folder(root)
    if not there.is_dir():
        raise DatasetError(f"{there}: is a file, and the dataset needs a folder there; choose another --out")
    probe = there / f".synthgen-{uuid.uuid4().hex}"
    try:
        with probe.open("xb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DatasetError(f"{there}: cannot be written ({error.strerror}); choose another --out") from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
