"""Files on web servers; the only module that imports the HTTP client, and only inside functions."""

import contextlib
import ipaddress
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, urlsplit, urlunsplit

import synthgen
from synthgen.errors import RemoteError
from synthgen.progress import Silent
from synthgen.remote.progress import TransferListener
from synthgen.remote.resume import LONGEST_WAIT_S, PASSING, TIMEOUT_S, WAITS_S, PassingError, Patience, Wanted, pour

if TYPE_CHECKING:
    from httpx2 import Client, Request, Response

_REDIRECTS = 5


class WebFolder:
    """A folder of files on any web server. It holds no connection, so it is safe across forks."""

    def __init__(
        self, address: str, listener: TransferListener | None = None, waits_s: Sequence[float] = WAITS_S
    ) -> None:
        """Check the address; sends no request yet.

        Args:
            address: ``https://…``, or ``http://…`` on this machine only: elsewhere, the files could be changed in
                transit together with their checksums.
            listener: Receives messages about waits.
            waits_s: Pauses before retries after temporary failures.

        Raises:
            RemoteError: The address is not valid.

        """
        self._base = address.rstrip("/")
        _check_address(self._base)
        self._patience = Patience(listener or Silent(), tuple(waits_s))
        parts = urlsplit(self._base)
        self.address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        """Without user name and password."""

    def fill(self, path: str, wanted: Wanted, sink: BinaryIO, came: Callable[[int], None]) -> None:
        """Append the missing part to an open file, resuming after lost connections.

        Args:
            path: Relative to the folder.
            wanted: The file's name and size.
            sink: Open for reading and writing, unbuffered, with what was downloaded earlier.
            came: Called with the number of bytes added.

        Raises:
            RemoteError: The file is missing, has another size, or could not be completed. Its content is not checked.

        """

        def append() -> None:
            with self._explained(), self._client() as client:
                self._append(client, path, wanted, sink, came)

        self._patience.fill(wanted, sink, append)

    def quiet(self) -> "WebFolder":
        """Return the same folder without a listener, for another process."""
        return WebFolder(self._base, None, self._patience.waits_s)

    def _client(self) -> "Client":
        import httpx2  # noqa: PLC0415

        return httpx2.Client(
            follow_redirects=True,
            max_redirects=_REDIRECTS,
            timeout=TIMEOUT_S,
            trust_env=not _is_here(self._base),  # no proxy between this machine and itself
            event_hooks={"request": [self._check_request]},
            headers={"User-Agent": f"synthgen/{synthgen.__version__}", "Accept-Encoding": "identity"},
        )

    def _append(self, client: "Client", path: str, wanted: Wanted, sink: BinaryIO, came: Callable[[int], None]) -> None:
        start = sink.tell()
        headers = {"Range": f"bytes={start}-"} if start else {}
        with client.stream("GET", f"{self._base}/{quote(path)}", headers=headers) as answer:
            if answer.status_code == 416 and start and wanted.size is None:
                return  # the file is complete already; its checksum is compared later
            _check_answer(answer, wanted.name)
            pour(answer, sink, wanted, came)

    def _check_request(self, request: "Request") -> None:
        """Reject a redirect to an unencrypted address."""
        here = _is_here(self._base) and _is_here(str(request.url))
        if request.url.scheme != "https" and not here:
            where = f"{request.url.scheme}://{request.url.host}"
            raise RemoteError(f"{self.address}: redirects to {where}, which is not https; give another address")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Translate the client's errors into RemoteError."""
        import httpx2  # noqa: PLC0415

        try:
            yield
        except httpx2.UnsupportedProtocol as error:
            raise RemoteError(
                f"{self.address}: redirects to an address that is not https; give another address"
            ) from error
        except httpx2.TooManyRedirects:
            raise RemoteError(f"{self.address}: redirects too many times; give another address") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            cause: BaseException | None = error
            while cause and not isinstance(cause, ssl.SSLCertVerificationError):
                cause = cause.__cause__ or cause.__context__
            if cause:
                text = f"{self.address}: its certificate is not valid ({reason}); check the address"
                raise RemoteError(text) from error
            text = f"{self.address}: cannot be reached ({reason}); run the same command again to resume"
            raise PassingError(text) from error


def is_web(address: str) -> bool:
    """Whether a text is an address on a web server."""
    return address.startswith(("https://", "http://"))


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not is_web(address) or not host or not address.isprintable() or " " in address:
        raise RemoteError(
            f"{address!r:.200}: is not the address of a folder; give one such as https://example.org/hand"
        )
    if parts.query or parts.fragment:
        raise RemoteError(f"{address!r:.200}: contains ? or #; give only the address of the folder")
    if parts.scheme == "http" and not _is_here(address):
        raise RemoteError(
            f"{address!r:.200}: the files could be changed in transit together with their checksums; use https://"
        )


def _is_here(address: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_answer(answer: "Response", name: str) -> None:
    status = answer.status_code
    if status in PASSING:
        after = answer.headers.get("Retry-After", "")
        after_s = float(after) if after.isdecimal() else 0.0
        text = f"{name}: the server responded with status {status}; run the same command again to resume"
        raise PassingError(text, min(after_s, LONGEST_WAIT_S))
    if status in {404, 410}:
        raise RemoteError(f"{name}: not found (status {status}); check the address, or contact its publisher")
    if status in {401, 403}:
        raise RemoteError(f"{name}: access denied (status {status}); check the address and its permissions")
    if status == 416:
        raise RemoteError(f"{name}: has become shorter on the server; contact its publisher")
    if status not in {200, 206}:
        raise RemoteError(f"{name}: the server responded with status {status}; check the address")
    if answer.headers.get("Content-Type", "").startswith("text/html") and not name.endswith((".html", ".htm")):
        raise RemoteError(f"{name}: is a web page, not the file; give the address of the dataset's files")
