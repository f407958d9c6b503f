"""Complete downloads over unreliable connections: retries after pauses, resuming where the transfer stopped."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeVar

from synthgen.errors import RemoteError
from synthgen.remote.progress import TransferListener

T = TypeVar("T")
PASSING = frozenset((408, 429, 500, 502, 503, 504))
"""HTTP statuses that are worth a retry."""
WAITS_S = (1.0, 4.0, 16.0)
TIMEOUT_S, LONGEST_WAIT_S = 30.0, 300.0
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class PassingError(RemoteError):
    """A temporary failure, worth a retry."""

    def __init__(self, text: str, after_s: float = 0) -> None:
        super().__init__(text)
        self.after_s = after_s
        """How long the server asks clients to wait."""


class Answer(Protocol):
    """A server's response whose body has not been read."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""


@dataclass(frozen=True)
class Wanted:
    """A file to download."""

    name: str
    """Its name in messages."""
    size: int | None
    """Bytes; None if unknown."""
    limit: int
    """Maximum number of bytes if the size is unknown."""

    @property
    def end(self) -> int:
        """The offset at which reading stops."""
        return self.limit if self.size is None else self.size


@dataclass(frozen=True)
class Patience:
    """The retry policy for temporary failures, and the listener to which waits are reported."""

    listener: TransferListener
    waits_s: tuple[float, ...] = WAITS_S

    def ask(self, work: Callable[[], T]) -> T:
        """Call ``work``, with retries after temporary failures."""
        waits = iter(self.waits_s)
        while True:
            try:
                return work()
            except PassingError as failure:
                self._wait(failure, next(waits, None))

    def fill(self, wanted: Wanted, sink: BinaryIO, append: Callable[[], None]) -> None:
        """Append the missing part to an open file; retries start anew whenever more bytes have arrived.

        Args:
            wanted: The file's name and size.
            sink: Open for reading and writing, with what was downloaded earlier.
            append: Requests what follows the sink's position, which is its end, and writes it there.

        Raises:
            RemoteError: The file could not be completed.

        """
        waits, most = iter(self.waits_s), sink.seek(0, os.SEEK_END)
        while wanted.size is None or sink.seek(0, os.SEEK_END) < wanted.size:
            sink.seek(0, os.SEEK_END)
            try:
                append()
                if wanted.size is None:
                    return  # the server said that this is all
                text = f"{wanted.name}: connection lost at byte {sink.tell()}; run the same command again to resume"
                failure = PassingError(text)
            except PassingError as error:
                failure = error
            if sink.tell() > most:
                waits, most = iter(self.waits_s), sink.tell()
            else:
                self._wait(failure, next(waits, None))

    def _wait(self, failure: PassingError, wait_s: float | None) -> None:
        if wait_s is None:
            raise failure
        wait_s = max(wait_s, failure.after_s)
        self.listener.say(f"{failure}; retrying in {wait_s:g} s")
        time.sleep(wait_s)


def pour(answer: Answer, sink: BinaryIO, wanted: Wanted, came: Callable[[int], None]) -> None:
    """Write the body of a response to a file, up to the wanted size; start over if the server sends the whole file.

    Args:
        answer: The response to a request for what follows the sink's position.
        sink: The destination; an unbuffered file, so that a full disk is noticed here.
        wanted: The file's name and size.
        came: Called with the number of bytes added.

    Raises:
        RemoteError: The size is wrong or too large, or the file cannot be written.

    """
    start = sink.tell()
    stated = _stated_size(answer, start, wanted)
    if stated is not None and wanted.size not in {None, stated}:
        raise RemoteError(f"{wanted.name}: has {stated} bytes on the server, expected {wanted.size}; {_RESTORE}")
    if stated is not None and stated > wanted.end:
        raise RemoteError(
            f"{wanted.name}: has {stated} bytes on the server, more than the {wanted.limit} allowed; {_RESTORE}"
        )
    if start and answer.status_code != 206:  # the server sends the whole file
        sink.seek(0)
        sink.truncate()
        came(-start)
    for piece in answer.iter_bytes():  # unbuffered: buffered pieces would be lost with the connection
        kept = piece[: wanted.end - sink.tell()]
        _write(sink, kept, wanted.name)
        came(len(kept))
        if len(kept) < len(piece):
            if wanted.size is None:
                sink.seek(0)
                sink.truncate()  # nothing to resume from
                raise RemoteError(f"{wanted.name}: has more than the {wanted.limit} bytes allowed; {_RESTORE}")
            return


_RESTORE = "the published copy is incomplete or has changed; contact its publisher"


def _stated_size(answer: Answer, start: int, wanted: Wanted) -> int | None:
    """Return the size of the whole file according to the server, or None."""
    if answer.status_code == 206:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            raise RemoteError(f"{wanted.name}: the server sent a different range than requested; use another server")
        return None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and not answer.headers.get("Content-Encoding") else None


def _write(sink: BinaryIO, piece: bytes, name: str) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[sink.write(rest) :]
    except OSError as error:  # of this machine, not of the network
        raise RemoteError(
            f"{name}: cannot be written ({error.strerror}); free some space, then run the command again"
        ) from None
