"""A cache of downloaded files, named by their SHA-256 and checked whenever one is requested."""

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
    """Return the folder of downloaded files: ``SYNTHGEN_CACHE``, or a folder in the user's cache."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("synthgen", appauthor=False) / "content"


@dataclass(frozen=True)
class ContentCache:
    """Downloaded files by their content. Safe for concurrent use by processes and threads."""

    root: Path

    def get(self, sha256: str, size: int | None, fetch: Callable[[Path], None], name: str = "") -> Path:
        """Return a file with this content, downloading it if it is absent or damaged.

        Args:
            sha256: SHA-256 of its content, hexadecimal.
            size: Its size in bytes; None if unknown.
            fetch: Completes the file at the path that it is given, which may hold the start from an interrupted call.
                Only one process at a time calls it for the same content.
            name: The file's name in messages.

        Raises:
            RemoteError: The downloaded file has another digest; it is removed.
            DatasetError: The folder cannot be used.

        """
        if not _DIGEST.fullmatch(sha256):
            raise DatasetError(f"sha256: value {sha256!r:.80} is not a digest; restore the file that contains it")
        path = self._path(sha256)
        try:
            if _holds(path, sha256, size):
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{sha256}.lock")):
                if not _holds(path, sha256, size):  # unless another process has downloaded it meanwhile
                    _bring(path, sha256, size, fetch, name)
        except OSError as error:
            raise DatasetError(
                f"{self.root}: cannot store downloads ({error.strerror or error}); free some space there, or set "
                f"another folder with {VARIABLE} or --cache"
            ) from None
        return path

    def has(self, sha256: str, size: int) -> bool:
        """Whether a file with this digest and size is cached; its content is checked only by `get`."""
        try:
            return self._path(sha256).stat().st_size == size
        except OSError:
            return False

    def free_bytes(self) -> int:
        """Return the free space in bytes."""
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
                f"{name or sha256}: the download does not match its checksum and was removed; run the same command "
                "again, and contact the publisher if that does not help"
            )
    finally:
        with contextlib.suppress(FileNotFoundError):
            if not partial.stat().st_size:  # nothing to resume from
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
