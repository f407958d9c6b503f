"""What the commands share: options, checks of output files."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.errors import DatasetError

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
