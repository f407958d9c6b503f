"""A folder of files that were fetched once, named by their SHA-256: checked whenever one is asked for."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from synthgen.errors import DatasetError, RemoteError
from synthgen.storage.atomic_files import file_sha256, sync_folder

VARIABLE = "SYNTHGEN_CACHE"
_DIGEST = re.compile("[0-9a-f]{64}")


def cache_folder() -> Path:
    """Return where fetched files are kept: ``SYNTHGEN_CACHE``, or a folder in the user's cache."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("synthgen", appauthor=False) / "content"


@dataclass(frozen=True)
class ContentCache:
    """Fetched files by their content. Any number of processes and threads may ask at once."""

    root: Path

    def get(self, sha256: str, size: int | None, fetch: Callable[[Path], None], name: str = "") -> Path:
        """Return a file with this content, fetched where it is not here, or no longer what it was.

        Args:
            sha256: Of its content, hexadecimal.
            size: Its bytes; None where nobody told.
            fetch: Fills the file that it is given. What an earlier, interrupted call has written is there already; it
                goes on from its end. Called by one process at a time for one content.
            name: What messages call it.

        Raises:
            RemoteError: What was fetched has another digest; nothing of it is kept.
            DatasetError: The folder cannot be used.

        """
        if not _DIGEST.fullmatch(sha256):
            raise DatasetError(f"sha256: value {sha256!r:.80} is no digest; restore the file that names it")
        path = self._path(sha256)
        try:
            if _holds(path, sha256, size):
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{sha256}.lock")):
                if not _holds(path, sha256, size):  # nobody else has fetched it meanwhile
                    _bring(path, sha256, size, fetch, name)
        except OSError as error:
            raise DatasetError(
                f"{self.root}: cannot keep what is fetched ({error.strerror or error}); make room there, or name "
                f"another folder by {VARIABLE} or --cache"
            ) from None
        return path

    def has(self, sha256: str, size: int) -> bool:
        """Tell whether a file of this name and size is here; its content is looked at when it is asked for."""
        try:
            return self._path(sha256).stat().st_size == size
        except OSError:
            return False

    def free_bytes(self) -> int:
        """Return how much room there is."""
        folder = self.root.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256


def _bring(path: Path, sha256: str, size: int | None, fetch: Callable[[Path], None], name: str) -> None:
    partial = path.with_name(f".{sha256}.partial")
    if size is not None and partial.exists() and partial.stat().st_size > size:
        partial.unlink()
    try:
        fetch(partial)
        if not _holds(partial, sha256, size):
            partial.unlink(missing_ok=True)
            raise RemoteError(
                f"{name or sha256}: what came is not what its checksum says, and was thrown away; run the same command "
                "again, and tell the publisher if that does not help"
            )
    finally:
        with contextlib.suppress(FileNotFoundError):
            if not partial.stat().st_size:  # nothing to go on from
                partial.unlink()
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def _holds(path: Path, sha256: str, size: int | None) -> bool:
    try:
        return (size is None or path.stat().st_size == size) and file_sha256(path) == sha256
    except FileNotFoundError:
        return False
