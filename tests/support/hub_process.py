"""The test Hub as a process, and the client of this process pointed at it."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.paths import TESTS
from synthgen.remote.address import Address
from synthgen.remote.hub import Hub

once = pytest.mark.parametrize("server", ["lfs"], indirect=True)
"""For what does not depend on how content travels."""


class HubProcess:
    """A test Hub on this machine; see hub_server.py for what it does."""

    def __init__(self, root: Path, mode: str) -> None:
        self.mode, self.root = mode, root
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.hub_server", "--root", str(root / "hub"), "--mode", mode],
            cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), "the test Hub did not start"

    def log(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/_test/log") as answer:
            return [entry for entry in json.load(answer) if not entry["path"].startswith("/_test/")]

    def since(self, mark: int) -> list[dict[str, Any]]:
        return self.log()[mark:]

    def mark(self) -> int:
        return len(self.log())

    def fail(self, *faults: dict[str, Any]) -> None:
        request = urllib.request.Request(f"{self.url}/_test/faults", json.dumps(faults).encode(), method="POST")
        urllib.request.urlopen(request).close()

    def environment(self, token: str | None = "hf_write") -> dict[str, str]:
        """Return the environment of a client in another process."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env |= {"HF_ENDPOINT": self.url, "HF_HOME": str(self.root / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        env["HF_XET_CACHE"] = str(self.root / "xet")
        if self.mode == "lfs":
            env["HF_HUB_DISABLE_XET"] = "1"
        return env | ({"HF_TOKEN": token} if token else {})

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


def point_endpoint(monkeypatch, url: str) -> None:
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", url)


def point_client(monkeypatch, hub: HubProcess, token: str | None = "hf_write") -> None:
    """Make the client in this process talk to a test Hub."""
    from huggingface_hub import constants

    point_endpoint(monkeypatch, hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", hub.mode == "lfs")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(hub.root / "no-token"))
    monkeypatch.setenv("HF_XET_CACHE", str(hub.root / "xet"))
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    else:
        monkeypatch.setenv("HF_TOKEN", token)


def sent_bytes(entries: list[dict[str, Any]]) -> int:
    """Return how many bytes of content a client sent."""
    return sum(entry["received"] for entry in entries if entry["method"] in {"POST", "PUT"})


def own_address(request: pytest.FixtureRequest, kind: str = "dataset") -> Address:
    """Return a repository of the test's own."""
    return Address(f"tester/{hashlib.sha1(request.node.name.encode()).hexdigest()[:12]}", kind)


def client(listener: Any = None) -> Hub:
    """Return the Hub's client without pauses between tries."""
    return Hub(listener, waits_s=(0, 0, 0))


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.transfers: list[Any] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show(self, transfer: Any) -> None:
        self.transfers.append(transfer)
