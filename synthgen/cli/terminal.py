"""Progress on the terminal: a bar where a person watches, a line every half minute where the output goes to a file."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from synthgen.quantities import byte_size, duration

if TYPE_CHECKING:
    from rich.progress import Progress

    from synthgen.progress import ProgressListener
    from synthgen.remote.progress import Transfer

P = TypeVar("P")
_LINE_EVERY_S = 30.0


@dataclass(frozen=True)
class Bar:
    """A progress bar at one moment."""

    text: str
    done: int
    total: int
    seconds_left: float | None = None
    """For the lines; the bar has an estimate of its own."""
    phase: str = ""
    """What is being done to files, such as ``uploading``; the bar starts again when it changes."""


@contextmanager
def terminal(bar_of: Callable[[P], Bar], *, in_bytes: bool = False) -> "Iterator[ProgressListener[P]]":
    """Yield a listener that shows lines and progress on standard error; standard output is for results.

    Args:
        bar_of: Describes the progress of the work.
        in_bytes: The bar counts bytes, at a speed.

    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amount = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    phase = (TextColumn("{task.fields[phase]}"),) if in_bytes else ()
    columns = (*phase, BarColumn(bar_width=30), *amount, TimeRemainingColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Terminal(progress, bar_of, in_bytes=in_bytes)


@contextmanager
def counting() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows a name, how many are done, and how many there are."""
    with terminal(_as_it_is) as listener:
        yield lambda name, done, total: listener.show(Bar(name, done, total))


def _as_it_is(bar: Bar) -> Bar:
    return bar


def transfer_bar(transfer: "Transfer") -> Bar:
    """Describe work on files, in bytes."""
    files = f"{transfer.files}/{transfer.of_files} files"
    return Bar(files, transfer.bytes, transfer.of_bytes, phase=transfer.what)


class _Terminal(Generic[P]):
    """The listener."""

    def __init__(self, progress: "Progress", bar_of: Callable[[P], Bar], *, in_bytes: bool) -> None:
        self._progress, self._bar_of, self._in_bytes = progress, bar_of, in_bytes
        self._task = progress.add_task("", total=None, visible=False, phase="")
        self._phase, self._last_line = "", time.monotonic()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False)

    def show(self, progress: P) -> None:
        """Move the bar, or print a line every half minute where there is none."""
        if self._progress.console.is_terminal:
            self._move(self._bar_of(progress))
        elif time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.say(self._line(self._bar_of(progress)))

    def _move(self, bar: Bar) -> None:
        if bar.phase != self._phase:
            self._phase = bar.phase
            self._progress.reset(self._task)
        self._progress.update(
            self._task, description=bar.text, completed=bar.done, total=bar.total, phase=bar.phase, visible=True
        )

    def _line(self, bar: Bar) -> str:
        amount = f"{bar.done:,}/{bar.total:,}"
        if self._in_bytes:
            amount = f"{100 * bar.done / max(bar.total, 1):.0f} % of {byte_size(bar.total)}"
        left = "" if bar.seconds_left is None else f", {duration(bar.seconds_left)} left"
        return f"{bar.phase}: {amount}, {bar.text}{left}".removeprefix(": ")
