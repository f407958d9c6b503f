"""The command line, called in a process of its own or in this one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from synthgen.cli import main as cli

CODE = "import sys; from synthgen.cli.main import main; sys.argv[0] = 'synthgen'; main()"


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def call(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, in the environment given or else in this process's."""
    return subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)], cwd=cwd, env=os.environ if env is None else env,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def call_here(capsys: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Ended:
    """Run a command in this process, through `main` with its handling of errors."""
    monkeypatch.setattr(sys, "argv", ["synthgen", *map(str, arguments)])
    monkeypatch.setattr(cli, "_leave", sys.exit)  # with Blender loaded by another test, it would end this process
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    return Ended(int(end.value.code or 0), out, err)


def refuse_with(status: int, capsys: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """Run a command in this process; return what it writes to standard error before it ends with this status."""
    ended = call_here(capsys, monkeypatch, *arguments)

    assert ended.status == status
    assert ended.out == ""
    return ended.err


def refuse(capsys: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """Run a command in this process; return its one line of complaint, the last it says."""
    err = refuse_with(2, capsys, monkeypatch, *arguments)

    assert err.count("error: ") == 1
    assert "Traceback" not in err
    complaint = err.splitlines()[-1]
    assert complaint.startswith("error: ")
    return complaint
