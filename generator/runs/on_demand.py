"""Renders samples on demand for training: in worker processes, passed as arrays, never stored."""

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DatasetError, EngineError, SynthgenError
from synthgen.generator.runs.resources import Resources
from synthgen.generator.runs.worker import PipelineSetup, SamplePipeline
from synthgen.interrupts import interrupts_blocked, kill_on_interrupt, signals_deferred
from synthgen.quantities import byte_size
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.depth import encode_depth, nearest_depth
from synthgen.storage.rendered import RenderedSamples
from synthgen.storage.sample import Sample, stored_points

WORKER_MEMORY = 300_000_000
"""Bytes of one busy worker, measured: the model and the kernels, without Blender."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def sample_arrays(samples: Iterable[Sample], steps_per_mm: float, *, depth: bool) -> RenderedSamples:
    """Return samples as arrays, with the values that they would have if stored and read again.

    Args:
        samples: n samples, at least one, with K landmarks.
        steps_per_mm: Steps of the stored depth per mm.
        depth: Return depth codes instead of masks.

    Raises:
        SynthgenError: The depths do not fit 16 bits.

    """
    rows = [_row(sample, steps_per_mm, depth=depth) for sample in samples]
    return RenderedSamples(*(np.stack(column) for column in zip(*rows, strict=True)))


def _row(sample: Sample, steps_per_mm: float, *, depth: bool) -> tuple[Any, ...]:
    """Return the fields of `RenderedSamples` for one sample, in their order."""
    points = stored_points(sample.labels.landmarks_px)
    index = np.int64(sample.index)
    if not depth:
        unknown = np.full(len(points), np.nan)
        mask = np.packbits(sample.mask, axis=1)
        return index, mask, points, sample.visible, unknown, np.nan, np.nan
    near = nearest_depth(sample.depth_mm, steps_per_mm)
    code = encode_depth(sample.depth_mm, near, steps_per_mm)
    depths = stored_points(sample.labels.landmarks_mm[:, 2])
    return index, code, points, sample.visible, depths, near, float(steps_per_mm)


class LiveRenderer:
    """Worker processes that render samples by their indices, each with a pipe and a thread in this process.

    They share no queue and no lock, so they can be killed at any time, and whoever waits for one of them is notified
    immediately.
    """

    def __init__(self, workers: int) -> None:
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="synthgen-workers")

    def start(self, setup: PipelineSetup, *, depth: bool) -> None:
        """Start another process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with theirs:  # no other process holds it, so reading from ours ends with the worker
            process = context.Process(target=_work, args=(theirs, setup), kwargs={"depth": depth}, daemon=True)
            self._processes.append(process)
            process.start()
        self._idle.put(ours)

    def submit(self, indices: NDArray[np.int64]) -> "Future[RenderedSamples]":
        """Start to render samples, at least one.

        The future's result or error is that of `render_arrays`, or `BrokenExecutor` if the process has died.
        """
        return self._threads.submit(self._ask, indices)

    def kill(self) -> None:
        """Kill the processes."""
        for process in self._processes:
            if process.is_alive():
                process.kill()

    def close(self) -> None:
        """Kill the processes and wait until they have ended."""
        self.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            if process.pid is not None:
                process.join()
        while not self._idle.empty():
            self._idle.get().close()

    def _ask(self, indices: NDArray[np.int64]) -> RenderedSamples:
        worker = self._idle.get()
        try:
            worker.send(indices)
            answer: RenderedSamples | SynthgenError = worker.recv()
        except (EOFError, OSError):
            raise BrokenExecutor from None
        finally:
            self._idle.put(worker)
        if isinstance(answer, SynthgenError):
            raise answer
        return answer


@contextmanager
def live_renderer(setup: PipelineSetup, workers: int, *, depth: bool) -> Iterator[LiveRenderer]:
    """Start worker processes, which end with the block, however it ends, or with this process.

    Args:
        setup: How the workers open their pipelines.
        workers: Number of processes.
        depth: Return depth codes instead of masks.

    """
    renderer = LiveRenderer(workers)
    try:
        with signals_deferred(), interrupts_blocked(), _one_thread_each():
            for _ in range(workers):
                renderer.start(setup, depth=depth)
        with kill_on_interrupt(renderer.kill):
            yield renderer
    finally:
        with signals_deferred():
            renderer.close()


def live_workers(wanted: int | None, processes: int, machine: Resources) -> tuple[int, str | None]:
    """Return how many workers one training process starts, and a line that says why it is fewer than wanted.

    Args:
        wanted: Maximum number; None means one per core.
        processes: Processes that train together on this machine, each with its own workers.
        machine: Available resources.

    Raises:
        DatasetError: Fewer than one is wanted.

    """
    if wanted is not None and wanted < 1:
        raise DatasetError(f"--workers: value {wanted}; give 1 or more")
    cores = max(machine.cores // processes, 1)
    fitting = max(min(cores, machine.memory // WORKER_MEMORY // processes), 1)
    if wanted is None or wanted <= fitting:
        return wanted or fitting, None
    room = f"{machine.cores} cores, {byte_size(machine.memory)} of memory free, {byte_size(WORKER_MEMORY)} per worker"
    return fitting, f"workers: {fitting} instead of {wanted}: {room}"


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit processes started in the block to one thread each: there is one per core already."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# Everything below runs in the workers.


def _work(requests: Connection, setup: PipelineSetup, *, depth: bool) -> None:
    """Answer requests until the other end of the pipe is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(Exception):  # warm up before the first request, which reports any error
        _open(setup)
    with suppress(EOFError, OSError):
        while True:
            indices: NDArray[np.int64] = requests.recv()
            try:
                answer: RenderedSamples | SynthgenError = render_arrays(setup, indices, depth=depth)
            except SynthgenError as error:
                answer = error
            requests.send(answer)


def render_arrays(setup: PipelineSetup, indices: NDArray[np.int64], *, depth: bool) -> RenderedSamples:
    """Render samples in the order of their indices.

    Raises:
        SynthgenError: They cannot be rendered.

    """
    try:
        spec, pipeline = _open(setup)
        return sample_arrays(pipeline.samples(indices.tolist()), spec.depth_steps_per_mm, depth=depth)
    except SynthgenError:
        raise
    except Exception as error:
        what = f"samples {indices.min()} to {indices.max()}: {type(error).__name__}: {error}"
        raise EngineError(f"{what}; run `synthgen doctor`, and report a bug if it finds no problem") from error


@lru_cache(maxsize=1)
def _open(setup: PipelineSetup) -> tuple[ResolvedSpec, SamplePipeline]:
    spec = setup.spec()
    return spec, setup.opener(spec)


def _end_with_parent() -> None:
    """End this process when its parent has ended for any reason: a killed parent cannot send a message."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
