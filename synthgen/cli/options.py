"""What the commands share: options, checks of output files, a progress bar."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

MAKE_DATA, BRING_SCANS, TRAIN, PUBLISH, LOOK = (
    "Make data",
    "Bring scans",
    "Train and predict",
    "Check and publish",
    "Look",
)
"""The groups of commands in the help."""
SpecOption = Annotated[
    str, typer.Option("--spec", help="Spec file, or a built-in: hand, body, paper_hand, paper_body (.yaml).")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed, instead of the spec's (0 is a valid seed).")]


def check_file(out: Path, suffix: str) -> None:
    """Refuse a file that could not be written, before the work is done."""
    if out.suffix.lower() != suffix:
        raise DatasetError(f"--out: value {out}; the file's name must end in {suffix}")
    if not out.absolute().parent.is_dir():
        raise DatasetError(f"--out: value {out}; the folder {out.parent} does not exist, make it first")


@contextmanager
def progress_bar() -> "Iterator[Callable[[str, int, int], None]]":
    """Show a bar on a terminal: call it with a text, how many are done, and how many there are."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)
