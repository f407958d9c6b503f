"""Files on the Hub, and the changes that a push makes."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_GROUP_FILES, _GROUP_BYTES = 8, 64 * 2**20
"""Maximum upload between two progress reports."""
_PIECE = 2**20


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit."""

    path: str
    """Relative to the repository."""
    bytes: int
    oid: str
    """Git's hash of the content of a regular file."""
    sha256: str | None = None
    """SHA-256 of a large file; None for a regular one."""

    def holds(self, file: BinaryIO) -> bool:
        """Whether an open file has this content."""
        if file.seek(0, os.SEEK_END) != self.bytes:
            return False
        file.seek(0)
        git = b"blob %d\0" % self.bytes
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(git, usedforsecurity=False)
        while piece := file.read(_PIECE):
            digest.update(piece)
        return digest.hexdigest() == (self.sha256 or self.oid)


@dataclass(frozen=True)
class Change:
    """What a push changes."""

    message: str
    add: tuple[str, ...]
    """Paths of files, relative to the folder and to the repository."""
    delete: tuple[str, ...] = ()
    """Paths in the repository; removed in the commit that adds the last files."""


def groups(folder: Path, paths: Sequence[str]) -> Iterator[list[str]]:
    """Divide files into groups of limited number and size."""
    group: list[str] = []
    size = 0
    for path in paths:
        group.append(path)
        size += (folder / path).stat().st_size
        if len(group) == _GROUP_FILES or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
