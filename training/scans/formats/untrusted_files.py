"""Opening untrusted files, and writing small files atomically."""

import os
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from synthgen.errors import ScanError
from synthgen.storage.atomic_files import atomic_file


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; pipes and devices, which could block or never end, are rejected.

    Raises:
        ScanError: The file does not exist or cannot be read.

    """
    try:
        if not path.is_file():
            kind = "is not a regular file" if path.exists() else "does not exist"
            raise ScanError(f"{path}: {kind}; check the path")
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise ScanError(f"{path}: cannot be read ({reason}); check the path and its permissions") from None


def file_size(file: BinaryIO) -> int:
    """Return the size of an open file, bytes."""
    return os.fstat(file.fileno()).st_size


def read_head(path: Path, count: int) -> bytes:
    """Return the first bytes of a file, or all of it if it is shorter.

    Raises:
        ScanError: The file cannot be read.

    """
    with open_regular(path) as file:
        return file.read(count)


def read_small(path: Path, max_bytes: int) -> bytes:
    """Return a whole file.

    Raises:
        ScanError: The file cannot be read, or is larger than allowed.

    """
    data = read_head(path, max_bytes + 1)
    if len(data) > max_bytes:
        raise ScanError(f"{path}: is larger than {max_bytes // 1_000_000} MB; check that it is the right file")
    return data


def sibling_file(header: Path, name: str) -> Path:
    """Return the data file that a header names, which must be in the same folder as the header.

    Raises:
        ScanError: The file is elsewhere.

    """
    folder = header.parent
    try:
        found = (folder / name).resolve()
        inside = found.is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside or not name or "\\" in name:
        raise ScanError(f"{header}: names the data file {name[:80]!r}, which is not in its folder; move it there")
    return folder / name


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically: it gets its name once it is complete.

    Raises:
        ScanError: The file cannot be written.

    """
    try:
        with atomic_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise ScanError(f"{path}: cannot be written ({error.strerror}); check the folder") from None
