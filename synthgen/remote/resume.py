"""Getting whole files over connections that fail: tried again after pauses, gone on with where they broke off."""

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
"""Statuses of answers that may be others the next time."""
WAITS_S = (1.0, 4.0, 16.0)
TIMEOUT_S, LONGEST_WAIT_S = 30.0, 300.0
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class PassingError(RemoteError):
    """A failure that may be gone the next time."""

    def __init__(self, text: str, after_s: float = 0) -> None:
        super().__init__(text)
        self.after_s = after_s
        """How long the server asks us to wait."""


class Answer(Protocol):
    """An answer of a server whose body has not been read."""

    @property
    def status_code(self) -> int:
        """HTTP's."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in any case."""

    def iter_bytes(self) -> Iterator[bytes]:
        """Return the body as it comes."""


@dataclass(frozen=True)
class Wanted:
    """A file that is to come."""

    name: str
    """What messages call it."""
    size: int | None
    """Bytes; None where nobody told."""
    limit: int
    """Bytes that it may have at most, where nobody told."""

    @property
    def end(self) -> int:
        """Where reading stops."""
        return self.limit if self.size is None else self.size


@dataclass(frozen=True)
class Patience:
    """How often what failed for a passing reason is tried again, and who is told of it."""

    listener: TransferListener
    waits_s: tuple[float, ...] = WAITS_S

    def ask(self, work: Callable[[], T]) -> T:
        """Do some work, again where it failed for a passing reason."""
        waits = iter(self.waits_s)
        while True:
            try:
                return work()
            except PassingError as failure:
                self._wait(failure, next(waits, None))

    def fill(self, wanted: Wanted, sink: BinaryIO, append: Callable[[], None]) -> None:
        """Append to an open file what it lacks, as often as more of it comes.

        Args:
            wanted: What it is.
            sink: Open for reading and writing, with what came earlier.
            append: Asks for what follows the sink's position, which is its end, and writes it there.

        Raises:
            RemoteError: It does not come to its end.

        """
        waits, most = iter(self.waits_s), sink.seek(0, os.SEEK_END)
        while wanted.size is None or sink.seek(0, os.SEEK_END) < wanted.size:
            sink.seek(0, os.SEEK_END)
            try:
                append()
                if wanted.size is None:
                    return  # the server said that this is all
                text = f"{wanted.name}: breaks off at byte {sink.tell()}; the same command goes on from there"
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
        self.listener.say(f"{failure}; trying again in {wait_s:g} s")
        time.sleep(wait_s)


def pour(answer: Answer, sink: BinaryIO, wanted: Wanted, came: Callable[[int], None]) -> None:
    """Write the body of an answer to a file, no more of it than is wanted; from the start where all of it comes again.

    Args:
        answer: To a request for what follows the sink's position.
        sink: Where it goes; an unbuffered file, so that a full disk is noticed here.
        wanted: What it is.
        came: Told how many bytes more are here.

    Raises:
        RemoteError: It has another size, or is too large, or cannot be written.

    """
    start = sink.tell()
    stated = _stated_size(answer, start, wanted)
    if stated is not None and wanted.size not in {None, stated}:
        raise RemoteError(f"{wanted.name}: has {stated} bytes there, not the expected {wanted.size}; {_RESTORE}")
    if stated is not None and stated > wanted.end:
        raise RemoteError(f"{wanted.name}: has {stated} bytes there, more than the {wanted.limit} allowed; {_RESTORE}")
    if start and answer.status_code != 206:  # the whole file comes again
        sink.seek(0)
        sink.truncate()
        came(-start)
    for piece in answer.iter_bytes():  # as it comes: gathered pieces are lost with the connection
        kept = piece[: wanted.end - sink.tell()]
        _write(sink, kept, wanted.name)
        came(len(kept))
        if len(kept) < len(piece):
            if wanted.size is None:
                sink.seek(0)
                sink.truncate()  # nothing to go on from
                raise RemoteError(f"{wanted.name}: has more than the {wanted.limit} bytes allowed; {_RESTORE}")
            return


_RESTORE = "the copy there is another or incomplete, tell its publisher"


def _stated_size(answer: Answer, start: int, wanted: Wanted) -> int | None:
    """Return how large a server says the whole file is; None where it does not."""
    if answer.status_code == 206:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            raise RemoteError(f"{wanted.name}: the server sends another part than it was asked for; fetch it elsewhere")
        return None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and not answer.headers.get("Content-Encoding") else None


def _write(sink: BinaryIO, piece: bytes, name: str) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[sink.write(rest) :]
    except OSError as error:  # of this machine, not of the network
        raise RemoteError(f"{name}: cannot be written here ({error.strerror}); make room, then go on") from None
