"""Workarounds for Blender's side effects on the process that imports it; nothing here imports it."""

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


def exit_process(code: int) -> NoReturn:
    """Exit a process that has imported bpy, with the right exit status.

    Blender crashes during interpreter shutdown if it was used outside the main thread.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def pin_to_core(rank: int = 0) -> int | None:
    """Pin this thread, and threads that it starts later, to a core that no other worker on this machine uses.

    Blender passes each frame through several threads that wait for one another, which is cheap on one core, and half as
    fast across busy cores. Call it in the rendering thread before its first engine; the core is released when the
    process ends.

    Args:
        rank: Position among the cores at which the search for a free one starts.

    Returns:
        The core, or None if all are taken or the system is not Linux; the thread is then not pinned.

    """
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        start = rank % len(cores)
        for core in cores[start:] + cores[:start]:
            if _lock_core(core):
                os.sched_setaffinity(0, {core})
                # The main thread too: Blender sizes its thread pools by its cores, and idle pools busy-wait.
                os.sched_setaffinity(os.getpid(), {core})
                return core
    return None


def _lock_core(core: int) -> bool:
    """Lock a core until this process ends in any way: the system releases the lock with the open file."""
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
    """Return a folder in memory with ``n_bytes`` free, or None for the default temporary folder."""
    memory = "/dev/shm"  # noqa: S108
    fits = os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free >= n_bytes
    return memory if fits else None


def remove_abandoned(folder: str | None) -> None:
    """Remove old files of killed engines from a scratch folder; running engines touch theirs with every frame."""
    for path in Path(folder or tempfile.gettempdir()).glob(f"{SCRATCH_PREFIX}*"):
        with contextlib.suppress(OSError):  # removed meanwhile, or owned by another user
            if path.is_dir() and time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path)


@contextlib.contextmanager
def stdout_to(descriptor: int) -> Iterator[None]:
    """Redirect file descriptor 1, to which Blender prints, to another file, which is truncated first."""
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
    """Flush the C library's buffers, so that no output appears later on the other descriptor."""
    (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).fflush(None)
