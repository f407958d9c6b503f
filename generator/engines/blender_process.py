"""What Blender does to the process that imports it, and how to live with that. Nothing here imports it."""

import contextlib
import ctypes
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

SCRATCH_PREFIX = "synthgen-"
_ABANDONED_S = 3600.0


def leave(code: int) -> NoReturn:
    """End a process that has imported bpy, with its true exit status.

    Blender crashes while the interpreter shuts down if it was used outside the main thread.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def keep_to_core(rank: int = 0) -> int | None:
    """Keep this thread, and what it starts from now on, to a core that no other worker of this machine keeps to.

    Blender hands each frame through several threads that wait for one another: cheap on one core, at half the rate
    across busy ones. Call it in the rendering thread before its first engine; the core is free again when the process
    ends.

    Args:
        rank: Where among the cores to begin the search for a free one.

    Returns:
        The core, or None where all are taken or the system is not Linux: the thread then goes where it likes.

    """
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        start = rank % len(cores)
        for core in cores[start:] + cores[:start]:
            if _lock_core(core):
                os.sched_setaffinity(0, {core})
                # The main thread too: Blender sizes its pools by the main thread's cores, and idle pools spin.
                os.sched_setaffinity(os.getpid(), {core})
                return core
    return None


def _lock_core(core: int) -> bool:
    """Claim a core until this process ends, however it ends: the system drops the lock with the open file."""
    import fcntl  # noqa: PLC0415 (absent on Windows)

    try:
        lock = os.open(Path(tempfile.gettempdir()) / f"synthgen_core-{core}.lock", os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True


def scratch_folder(n_bytes: int) -> str | None:
    """Return a folder in memory with room for ``n_bytes``, or None for the usual temporary folder."""
    memory = "/dev/shm"  # noqa: S108
    fits = os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free >= n_bytes
    return memory if fits else None


def remove_abandoned(folder: str | None) -> None:
    """Remove what engines that were killed left in a scratch folder: every frame touches the folder of a live one."""
    for path in Path(folder or tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if path.is_dir() and time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path)


@contextlib.contextmanager
def stdout_to(descriptor: int) -> Iterator[None]:
    """Send what Blender prints, below Python's ``sys.stdout``, to the start of another file."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    saved = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        _flush_c()
        os.dup2(saved, 1)
        os.close(saved)


def _flush_c() -> None:
    """Empty the C library's buffers, or lines printed under one descriptor would come out under the next."""
    (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).fflush(None)
