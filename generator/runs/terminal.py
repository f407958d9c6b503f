"""A run on the terminal: a bar where someone watches, a line now and then where the output goes to a file."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from synthgen.generator.runs.progress import Progress

_LINE_EVERY_S = 30.0


class TerminalListener:
    """Shows a run's lines and progress on standard error; standard output is for results."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("starting workers", total=None, visible=False)
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False)

    def show(self, progress: Progress) -> None:
        """Move the bar, or print a line every half minute where there is none."""
        text = describe(progress)
        if self._console.is_terminal:
            self._bar.update(
                self._task, completed=progress.samples_done, total=progress.samples, description=text, visible=True
            )
        elif time.monotonic() - self._told >= _LINE_EVERY_S:
            self._told = time.monotonic()
            self.say(f"{progress.samples_done:,}/{progress.samples:,} {text}")


def describe(progress: Progress) -> str:
    """Write rates, time left and shards: ``203.1 images/s, 101.6 a core, 0:04:10 left, 3/18 shards``."""
    parts = [f"{progress.per_s:.1f} images/s", f"{progress.per_s_core:.1f} a core"]
    if progress.seconds_left is not None:
        parts.append(f"{clock(progress.seconds_left)} left")
    parts.append(f"{progress.shards_done}/{progress.shards} shards")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Write a duration: 1:02:03, or 2 d 1:02:03."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days} d {h}:{m:02}:{s:02}" if days else f"{h}:{m:02}:{s:02}"
