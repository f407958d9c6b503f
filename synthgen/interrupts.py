"""Handling of Ctrl-C and SIGTERM in a block of code: turn them into an event, defer or block them, or clean up first.

Signal handlers run only in the main thread, so in other threads these context managers have no effect.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

_BOTH = (signal.SIGINT, signal.SIGTERM)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into an event; a second one raises KeyboardInterrupt."""
    stopping = threading.Event()
    if not _in_main_thread():
        yield stopping
        return

    def note(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, note) for number in _BOTH}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer Python's handlers of Ctrl-C and SIGTERM until the block ends.

    For blocks that an exception must not interrupt: Blender crashes on one during a render, and a child process that
    receives half of its task prints a traceback. Blocking the signal is not enough: another thread may receive it.
    """
    if not _in_main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _BOTH}
    replaced = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in replaced:
        signal.signal(number, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        for arrival in arrived[:1]:
            signal.raise_signal(arrival)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C in the threads and processes started in the block, because a terminal sends it to all of them.

    Python delivers it only to the main thread, so it is not lost: it arrives after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # otherwise started by the first spawn, which then unblocks Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def kill_on_interrupt(kill: Callable[[], None]) -> Iterator[None]:
    """Call a function first on Ctrl-C, because threads may be waiting for the processes that it kills.

    Python drops exceptions raised in a callback or in ``__del__``, where a Ctrl-C may arrive. Then the next use of a
    killed process fails, and that error is turned into the KeyboardInterrupt.
    """
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if not _in_main_thread() or not callable(before):
        yield
        return
    interrupted = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except BaseException:
            interrupted.set()
            kill()
            raise

    def report(dropped: "sys.UnraisableHookArgs") -> None:
        if not (interrupted.is_set() and issubclass(dropped.exc_type, KeyboardInterrupt)):
            hook(dropped)

    signal.signal(signal.SIGINT, stop)
    sys.unraisablehook = report
    try:
        yield
    except Exception:
        if interrupted.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)
