"""Options of the commands that read a dataset: its address, and the cache for downloads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.errors import DatasetError

if TYPE_CHECKING:
    from synthgen.datasets.dataset import Dataset
    from synthgen.remote.progress import Transfer

DATA_HELP = "Dataset: a folder, https://…, or hf://datasets/owner/name[@revision]."
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="Cache folder for downloads. Default: $SYNTHGEN_CACHE, or the user's cache."),
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Do not cache downloads.")]


@dataclass(frozen=True)
class DataOptions:
    """The address of a dataset and its cache, as given on the command line."""

    address: str
    cache: Path | None = None
    no_cache: bool = False

    def __post_init__(self) -> None:
        if self.cache is not None and self.no_cache:
            raise DatasetError(
                f"--cache: value {self.cache}; cannot be combined with --no-cache, leave one of them out"
            )

    def open(self, samples: int | None, say: Callable[[str], None]) -> "Dataset":
        """Open the dataset.

        Args:
            samples: How many will be trained on; None: all.
            say: Told where it is kept, how large it is, and how much has come.

        Raises:
            SynthgenError: There is no sealed dataset.

        """
        from synthgen.datasets.opening import announce, open_dataset
        from synthgen.remote.content_cache import ContentCache, cache_folder

        cache = None if self.no_cache else ContentCache((self.cache or cache_folder()).absolute())
        listener = _Lines(say)
        dataset = open_dataset(self.address, cache, listener)
        announce(dataset, samples, listener)
        return dataset


@dataclass(frozen=True)
class _Lines:
    """A listener of transfers that tells lines alone, because the terminal's bar is the training's."""

    say: Callable[[str], None]

    def show(self, transfer: "Transfer") -> None:
        """Drop the progress."""
