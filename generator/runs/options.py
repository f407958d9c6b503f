"""What a user asks of a run, and whether it can be done at all: looked at before anything is written."""

import contextlib
import os
import re
import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from synthgen.errors import DatasetError

if TYPE_CHECKING:
    from synthgen.generator.dataset.shards import ShardPlan


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
    engine: str | None = None
    """None means the spec's."""
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


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into an event; a second one is a KeyboardInterrupt."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def note(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Block Ctrl-C in the threads and processes started here: a terminal sends it to all of them.

    Python delivers it to the main thread alone, so this thread misses nothing: it arrives afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # the first spawn starts it, and then unblocks Ctrl-C for the spawned process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
