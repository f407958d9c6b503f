"""Atomic file writes (temporary name, fsync, rename): a file is either complete or absent."""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not on Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".partial"
_ABANDONED_S = 3600.0


class HashingFile:
    """A file wrapper that counts and hashes the bytes written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Write bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes written so far, hexadecimal."""
        return self._hash.hexdigest()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file; flush and rename it to ``path`` if the block succeeds, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    try:
        with temporary.open("x+b", buffering=2**20) as file:
            _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # renamed while locked, so that no other process considers it abandoned
                temporary.replace(path)
        if fcntl is None:
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically, unless it already has this content."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    with atomic_file(path) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk (fsync), if the system supports it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems do not support it
                os.fsync(handle)
        finally:
            os.close(handle)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files that no running process is writing, in a folder and its direct subfolders."""
    for path in [*folder.glob(f".*{_SUFFIX}"), *folder.glob(f"*/.*{_SUFFIX}")]:
        with contextlib.suppress(OSError):
            if _is_abandoned(path):
                path.unlink()


def _lock(file: BinaryIO) -> None:
    if fcntl is not None:
        with contextlib.suppress(OSError):  # file systems without locks: decided by age instead
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(path: Path) -> bool:
    if fcntl is None:
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    with path.open("r+b") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return time.time() - path.stat().st_mtime > _ABANDONED_S
    return True
