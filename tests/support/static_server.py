"""A web server of a folder in this process, with things going wrong when a test wants them to."""

import re
import socket
import threading
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What one answer is instead of the file."""

    cut: int | None = None
    """The connection ends after so many bytes of the body."""
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    flip: int | None = None
    """Changes the byte there."""
    body: bytes | None = None
    endless: bool = False
    """Says no length, and sends the file again and again."""
    silent: bool = False
    """Says no length."""
    part: int | None = None
    """Sends what begins here, whatever was asked."""


@dataclass(frozen=True)
class Request:
    """A request that was answered."""

    path: str
    range: str | None
    status: int
    sent: int


class StaticServer:
    """Serves a folder; knows ranges unless told otherwise."""

    def __init__(self, root: Path) -> None:
        self.root, self.ranges = root, True
        self.log: list[Request] = []
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"site": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, path: str, *faults: Fault) -> None:
        """Let the next answers for a file be these."""
        self.faults[path] = list(faults)

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.log if request.path == path]

    def sent(self, end: str = "") -> int:
        """Return how many bytes of files whose names end so went out."""
        return sum(request.sent for request in self.log if request.path.endswith(end))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: StaticServer

    def log_message(self, *_args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        with self.site.lock:
            fault = self.site.faults[path].pop(0) if self.site.faults[path] else Fault()
        try:
            self._answer(path, fault)
        except ConnectionError:
            self.close_connection = True

    def _answer(self, path: str, fault: Fault) -> None:
        file, headers, status = self.site.root / path, dict(fault.headers), fault.status or 200
        if not file.is_file() and not fault.status:
            return self._send(path, 404, b"no such file", {}, fault)
        data = fault.body if fault.body is not None else file.read_bytes() if file.is_file() else b""
        if fault.flip is not None:
            data = data[: fault.flip] + bytes([data[fault.flip] ^ 1]) + data[fault.flip + 1 :]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and self.site.ranges and status == 200 and not headers:
            first = int(asked[1]) if fault.part is None else fault.part
            if first >= len(data):
                return self._send(path, 416, b"", {"Content-Range": f"bytes */{len(data)}"}, fault)
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            status, data = 206, data[first:]
        return self._send(path, status, data, headers, fault)

    def _send(self, path: str, status: int, data: bytes, headers: dict[str, str], fault: Fault) -> None:
        body = data if fault.cut is None else data[: fault.cut]
        with self.site.lock:  # before the client knows of it
            self.site.log.append(Request(path, self.headers.get("Range"), status, len(body)))
        self.send_response(status)
        nameless = fault.endless or fault.silent
        for name, value in (({} if nameless else {"Content-Length": str(len(data))}) | headers).items():
            self.send_header(name, value)
        if nameless:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        while fault.endless:
            self.wfile.write(data)
        if nameless or len(body) < len(data):
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)  # what was sent arrives, and then the end
