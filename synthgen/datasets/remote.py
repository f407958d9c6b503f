"""Datasets on a web server or on the Hugging Face Hub: complete files, checked, or an error.

``SHA256SUMS`` is read once, and every other file must match it. So even if the files on the server change, an epoch
uses one version of the dataset or ends with an error.
"""

import contextlib
import io
import mmap
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from synthgen.datasets.source import MAX_FILE_BYTES, MAX_LABELS_BYTES, content_sha256
from synthgen.errors import DatasetError, RemoteError
from synthgen.progress import Silent
from synthgen.quantities import byte_size
from synthgen.remote.address import Address, is_remote, parse_address
from synthgen.remote.content_cache import ContentCache
from synthgen.remote.hub import Hub
from synthgen.remote.hub_files import RemoteFile
from synthgen.remote.progress import TransferListener
from synthgen.remote.resume import Wanted
from synthgen.remote.web import WebFolder
from synthgen.storage.dataset_paths import CHECKSUMS, parse_checksums

_LINE_EVERY_S = 30.0


class RemoteFolder(Protocol):
    """A remote folder of files."""

    @property
    def address(self) -> str:
        """Its name in messages."""

    def fill(self, path: str, wanted: Wanted, sink: BinaryIO, came: Callable[[int], None]) -> None:
        """Append the missing part of a file to an open file.

        Raises:
            SynthgenError: The file does not exist, has another size, or cannot be downloaded completely.

        """

    def quiet(self) -> "RemoteFolder":
        """Return the same folder without a listener, for another process."""


class HubFolder:
    """A repository at one commit."""

    def __init__(self, hub: Hub, address: Address, files: Mapping[str, RemoteFile]) -> None:
        self._hub, self._pinned, self._files = hub, address, files
        self.address = str(address)

    def fill(self, path: str, wanted: Wanted, sink: BinaryIO, came: Callable[[int], None]) -> None:
        """Append the missing part of a file to an open file, and check it."""
        file = self._files.get(path)
        if file is None:
            raise RemoteError(f"{wanted.name}: is not there; push the dataset again, or give another revision")
        if file.bytes > wanted.end or wanted.size not in {None, file.bytes}:
            raise RemoteError(f"{wanted.name}: has {file.bytes} bytes there, not {wanted.end}; push the dataset again")
        self._hub.fill(self._pinned, file, sink, came)

    def quiet(self) -> "HubFolder":
        """Return the same commit, for a process in which nobody listens."""
        return HubFolder(Hub(), self._pinned, self._files)


class RemoteSource:
    """A dataset's files by their paths, each fetched whole and checked; kept in a cache, where there is one."""

    def __init__(
        self, place: RemoteFolder, cache: ContentCache | None, listener: TransferListener | None = None
    ) -> None:
        """Read the dataset's checksums.

        Args:
            place: The remote folder.
            cache: Stores downloads; None: a file is downloaded again whenever it is needed.
            listener: Receives progress.

        Raises:
            SynthgenError: There is no sealed dataset, or the server cannot be reached.

        """
        self.place, self.cache = place, cache
        self._progress = _Progress(listener or Silent())
        content = io.BytesIO()
        wanted = Wanted(f"{place.address}/{CHECKSUMS}", None, MAX_FILE_BYTES)
        place.fill(CHECKSUMS, wanted, content, lambda _: None)
        self._checksums = content.getvalue()
        self.checksums = parse_checksums(self._checksums, f"{place.address}/{CHECKSUMS}")
        """Digests of all files by their paths."""

    @property
    def address(self) -> str:
        """The address of the folder."""
        return self.place.address

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file."""
        if path == CHECKSUMS:
            return self._checksums
        with self._get(path, None, limit) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DatasetError(f"{self.address}: {path} is larger than the expected {limit} bytes; restore it")
        return data

    def shard(self, path: str, size: int) -> memoryview:
        """Return a whole shard, of which the system reads what is looked at."""
        with self._get(path, size, size) as file:
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def open(self, path: str) -> BinaryIO:
        """Open a file that has come whole."""
        return self._get(path, None, MAX_LABELS_BYTES)

    def _get(self, path: str, size: int | None, limit: int) -> BinaryIO:
        name = f"{self.address}/{path}"
        if path not in self.checksums:
            raise DatasetError(f"{self.address}: {CHECKSUMS} does not list {path}; seal the dataset again")
        sha256, wanted = self.checksums[path], Wanted(name, size, limit)
        if self.cache is None:
            return self._temporary(path, sha256, wanted)

        def fetch(partial: Path) -> None:
            with partial.open("r+b" if partial.exists() else "w+b", buffering=0) as sink:
                self.place.fill(path, wanted, sink, self._progress.came)
            self._progress.done()

        kept = self.cache.get(sha256, size, fetch, name)
        try:
            return kept.open("rb")
        except OSError as error:
            raise DatasetError(f"{kept}: cannot be read ({error.strerror}); run the same command again") from None

    def _temporary(self, path: str, sha256: str, wanted: Wanted) -> BinaryIO:
        """Fetch a file to the disk, where nobody finds it and the system forgets it when it is closed."""
        with contextlib.ExitStack() as undone:
            file = undone.enter_context(tempfile.TemporaryFile("w+b", buffering=0))
            self.place.fill(path, wanted, file, self._progress.came)
            file.seek(0)
            if content_sha256(file) != sha256:
                raise RemoteError(f"{wanted.name}: the download does not match its checksum; run the command again")
            undone.pop_all()
        self._progress.done()
        file.seek(0)
        return io.BufferedReader(file)

    def __getstate__(self) -> dict[str, Any]:
        """Give another process what it needs; nobody listens there."""
        return self.__dict__ | {"place": self.place.quiet(), "_progress": _Progress(Silent())}


class _Progress:
    """Tells now and then how much has come. Without a lock, which a fork could leave locked: it only tells."""

    def __init__(self, listener: TransferListener) -> None:
        self._listener = listener
        self._files = self._bytes = 0
        self._told = time.monotonic()

    def came(self, size: int) -> None:
        """Add bytes."""
        self._bytes += size
        if time.monotonic() - self._told >= _LINE_EVERY_S:
            self._told = time.monotonic()
            self._listener.say(f"downloading: {self._files} files, {byte_size(self._bytes)} so far")

    def done(self) -> None:
        """Add a file."""
        self._files += 1


def open_remote(
    address: str, cache: ContentCache | None, listener: TransferListener | None = None, hub: Hub | None = None
) -> RemoteSource:
    """Return the files of a dataset on a web server, or on the Hub.

    Args:
        address: ``https://…``, the folder that holds its ``SHA256SUMS``; or ``hf://datasets/owner/name``,
            optionally with ``@revision``. A branch is resolved to its current commit.
        cache: Stores downloads.
        listener: Receives progress, and messages about retries.
        hub: The Hub; None: the user's.

    Raises:
        SynthgenError: There is no sealed dataset, or the server cannot be reached.

    """
    if not is_remote(address):
        return RemoteSource(WebFolder(address, listener), cache, listener)
    named = parse_address(address)
    if named.kind != "dataset":
        raise RemoteError(f"{address}: is the address of a network; give hf://datasets/owner/name")
    hub = hub or Hub(listener)
    pinned = hub.resolve(named)
    files = hub.files(pinned)
    if CHECKSUMS not in files:
        raise RemoteError(f"{address}: not a synthgen dataset, or its push did not finish ({CHECKSUMS} is missing)")
    return RemoteSource(HubFolder(hub, pinned, files), cache, listener)
