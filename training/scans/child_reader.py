"""A child process that reads files which are not trusted: one that breaks a library costs that file, not the run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import psutil

from synthgen.errors import ScanError, SynthgenError

TIME_LIMIT_S = 600.0
_LEAST_MEMORY = 2_000_000_000
"""Bytes that the child may take in any case: libraries reserve more than they use."""
P = ParamSpec("P")
T = TypeVar("T")


class ChildReader:
    """Calls functions in a child process, one after the other.

    The child starts with the first call and stays for the next ones; after one that broke it, a new one starts. It is
    started as a separate program, not through multiprocessing, which would run the caller's script again.
    """

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._limit_s = time_limit_s
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._connection is not None:
            self._connection.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child = self._connection = None

    def call(self, path: Path, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Return what a module's function makes of its arguments, in the child.

        Args:
            path: The file that is read, for messages.
            function: Importable; its arguments and result are sent through a pipe.
            arguments: Its arguments.
            options: Its named arguments.

        Raises:
            SynthgenError: What the function raised, or a ScanError that names the file: it took too long or too much
                memory, ended the child, or raised what only a damaged file makes a library raise.

        """
        fault = f"took longer than {self._limit_s:g} s; is it damaged, or too large?"
        answer: Any = None
        done = False
        try:
            connection = self._connection or self._start()
            connection.send((path, function, arguments, options))
            if connection.poll(self._limit_s):
                answer, done = connection.recv(), True
        except (EOFError, OSError):
            fault = "broke the reader; the file is damaged, or memory is short"
        finally:
            if not done:
                self.close()  # it may still be at work
        if not done:
            raise ScanError(f"{path}: reading it {fault}")
        if isinstance(answer, SynthgenError | ImportError):
            raise answer
        result: T = answer
        return result

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        with theirs:
            code = f"from {__name__} import serve; serve({theirs.fileno()})"
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            command = [sys.executable, "-c", code]
            self._child = subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self._connection = ours
        return ours


def serve(handle: int) -> None:
    """Answer the calls that come through a connection until the other side closes it: what the child runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    _limit_memory()
    with Connection(handle) as connection, suppress(EOFError):
        while True:
            connection.send(_answer(*connection.recv()))


def _answer(path: Path, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    try:
        return function(*arguments, **options)
    except (SynthgenError, ImportError) as error:  # a missing package is not the file's fault
        return error
    except MemoryError:
        return ScanError(f"{path}: reading it takes more memory than is free; resample it, or check its header")
    except Exception as error:  # noqa: BLE001 (any error that a library raises for a damaged file; other files are read)
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return ScanError(f"{path}: cannot be read ({text}); copy or export it again")


def _limit_memory() -> None:
    """Limit the memory of this process to what is free now, if the system supports it."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 (not on Windows)

        most = psutil.Process().memory_info().vms + max(psutil.virtual_memory().available, _LEAST_MEMORY)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))
