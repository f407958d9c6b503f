"""Where a dataset's bytes come from: a folder here; `synthgen.datasets.remote` has the others."""

import hashlib
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from synthgen.errors import DatasetError
from synthgen.storage.dataset_paths import CHECKSUMS

MAX_FILE_BYTES = 64 * 2**20
"""Of the files around the shards."""
MAX_LABELS_BYTES = 16 * 2**30


class Source(Protocol):
    """Something that holds a dataset's files by their paths: a folder, a web server, a repository."""

    @property
    def address(self) -> str:
        """What messages call it."""

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file.

        Raises:
            DatasetError: It is not there, cannot be read, or is larger than ``limit`` bytes.

        """

    def shard(self, path: str, size: int) -> memoryview:
        """Return a whole shard of ``size`` bytes.

        Raises:
            DatasetError: It is not there, cannot be read, or has another size.

        """

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading at any position.

        Raises:
            DatasetError: It is not there, or cannot be read.

        """


@dataclass(frozen=True)
class Folder:
    """A dataset folder on a disk."""

    root: Path

    @property
    def address(self) -> str:
        """The folder."""
        return str(self.root)

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file."""
        with self.open(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DatasetError(f"{self.root / path}: is larger than the expected {limit} bytes; restore it")
        return data

    def shard(self, path: str, size: int) -> memoryview:
        """Return a whole shard, of which the system reads what is looked at."""
        with self.open(path) as file:
            found = file.seek(0, 2)
            if found != size:
                raise DatasetError(f"{self.root / path}: has {found} bytes, the manifest says {size}; restore it")
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def open(self, path: str) -> BinaryIO:
        """Open a file."""
        try:
            return (self.root / path).open("rb")
        except FileNotFoundError:
            raise DatasetError(f"{self.root / path}: is missing; restore it, or render the dataset again") from None
        except OSError as error:
            raise DatasetError(f"{self.root / path}: cannot be read ({error.strerror}); check it") from None


def read_checked(source: Source, path: str, checksums: Mapping[str, str], limit: int = MAX_FILE_BYTES) -> bytes:
    """Return a file whose digest is the one in ``SHA256SUMS``.

    Raises:
        DatasetError: It is another, or not listed.

    """
    content = source.read(path, limit)
    if path not in checksums:
        raise DatasetError(f"{source.address}: {CHECKSUMS} does not list {path}; render the dataset again to seal it")
    if hashlib.sha256(content).hexdigest() != checksums[path]:
        raise DatasetError(f"{source.address}: {path} has changed (its checksum is another); restore it")
    return content


def open_checked(source: Source, path: str, checksums: Mapping[str, str]) -> BinaryIO:
    """Open a large file after reading it once for its digest.

    Raises:
        DatasetError: As `read_checked`.

    """
    file = source.open(path)
    if content_sha256(file) != checksums.get(path):
        file.close()
        raise DatasetError(f"{source.address}: {path} has changed (its checksum is another); restore it")
    return file


def content_sha256(file: BinaryIO) -> str:
    """Return the SHA-256 of what follows in an open file, hexadecimal."""
    digest = hashlib.sha256()
    while piece := file.read(2**20):
        digest.update(piece)
    return digest.hexdigest()
