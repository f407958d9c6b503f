"""Samples for a training that needs them now: rendered in worker processes, handed over as arrays, stored nowhere."""

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
from synthgen.storage.sample import Sample, stored_points

WORKER_MEMORY = 300_000_000
"""Bytes of one worker at work, measured: the model and the kernels, no Blender."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Arrays = tuple[NDArray[Any], ...]


def sample_arrays(samples: Iterable[Sample], steps_per_mm: float, *, depth: bool) -> Arrays:
    """Return samples as training holds them, with the numbers that they would have when stored and read again.

    Args:
        samples: n of them, at least one, with K landmarks.
        steps_per_mm: Of the stored depth.
        depth: Hand over depths instead of masks.

    Returns:
        Indices (n,); masks (n, H, W / 8) with eight pixels to a byte, or depth codes (n, H, W); landmarks (n, K, 2) in
        pixels, and which of them are visible (n, K); their depths (n, K), the depth (n,) whose code is 1 and codes per
        mm (n,), all NaN for masks.

    Raises:
        SynthgenError: The depths do not fit 16 bits.

    """
    rows = [_row(sample, steps_per_mm, depth=depth) for sample in samples]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _row(sample: Sample, steps_per_mm: float, *, depth: bool) -> tuple[Any, ...]:
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
    """Worker processes that render samples by their indices, each with a pipe and a thread of this process.

    They share nothing with each other, no queue and no lock: so they can be killed at any moment, and whoever waits for
    one of them hears of it at once.
    """

    def __init__(self, workers: int) -> None:
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="synthgen-workers")

    def start(self, source: PipelineSetup, *, depth: bool) -> None:
        """Start one more process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with theirs:  # no other process has it, so what is read from ours ends with the worker
            process = context.Process(target=_work, args=(theirs, source), kwargs={"depth": depth}, daemon=True)
            self._processes.append(process)
            process.start()
        self._idle.put(ours)

    def submit(self, indices: NDArray[np.int64]) -> "Future[Arrays]":
        """Begin to render samples, at least one.

        The future's result, or error, is that of `render_arrays`; it is a `BrokenExecutor` where the process has ended.
        """
        return self._threads.submit(self._ask, indices)

    def kill(self) -> None:
        """End the processes, whatever they do."""
        for process in self._processes:
            if process.is_alive():
                process.kill()

    def close(self) -> None:
        """End the processes, and wait until they are gone."""
        self.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            if process.pid is not None:
                process.join()
        while not self._idle.empty():
            self._idle.get().close()

    def _ask(self, indices: NDArray[np.int64]) -> Arrays:
        worker = self._idle.get()
        try:
            worker.send(indices)
            answer: Arrays | SynthgenError = worker.recv()
        except (EOFError, OSError):
            raise BrokenExecutor from None
        finally:
            self._idle.put(worker)
        if isinstance(answer, SynthgenError):
            raise answer
        return answer


@contextmanager
def live_renderer(source: PipelineSetup, workers: int, *, depth: bool) -> Iterator[LiveRenderer]:
    """Start worker processes, which end with the block, whatever ends it, or with this process.

    Args:
        source: The resolved spec and its engine.
        workers: Processes.
        depth: Hand over depths instead of masks.

    """
    renderer = LiveRenderer(workers)
    try:
        with signals_deferred(), interrupts_blocked(), _one_thread_each():
            for _ in range(workers):
                renderer.start(source, depth=depth)
        with kill_on_interrupt(renderer.kill):
            yield renderer
    finally:
        with signals_deferred():
            renderer.close()


def live_workers(wanted: int | None, processes: int, machine: Resources) -> tuple[int, str | None]:
    """Return how many workers a process of a training starts, and a line that says why it is less than was wanted.

    Args:
        wanted: The most; None means one a core.
        processes: That train together on this machine, each with workers of its own.
        machine: What there is.

    Raises:
        DatasetError: Fewer than one is wanted.

    """
    if wanted is not None and wanted < 1:
        raise DatasetError(f"--workers: value {wanted}; give 1 or more")
    cores = max(machine.cores // processes, 1)
    fitting = max(min(cores, machine.memory // WORKER_MEMORY // processes), 1)
    if wanted is None or wanted <= fitting:
        return wanted or fitting, None
    room = f"{machine.cores} cores, {byte_size(machine.memory)} of memory free, {byte_size(WORKER_MEMORY)} each"
    return fitting, f"workers: {fitting} instead of {wanted}: {room}"


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have processes that start meanwhile compute with one thread: they are many already."""
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


# What follows runs in the workers.


def _work(requests: Connection, source: PipelineSetup, *, depth: bool) -> None:
    """Render what is asked for, until nobody is there to ask."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(Exception):  # before the first samples are asked for; what is wrong is told with these
        _open(source)
    with suppress(EOFError, OSError):
        while True:
            indices: NDArray[np.int64] = requests.recv()
            try:
                answer: Arrays | SynthgenError = render_arrays(source, indices, depth=depth)
            except SynthgenError as error:
                answer = error
            requests.send(answer)


def render_arrays(source: PipelineSetup, indices: NDArray[np.int64], *, depth: bool) -> Arrays:
    """Render samples in the order of their indices.

    Raises:
        SynthgenError: They cannot be rendered.

    """
    try:
        spec, pipeline = _open(source)
        return sample_arrays(pipeline.samples(indices.tolist()), spec.depth_steps_per_mm, depth=depth)
    except SynthgenError:
        raise
    except Exception as error:
        what = f"samples {indices.min()} to {indices.max()}: {type(error).__name__}: {error}"
        raise EngineError(f"{what}; run `synthgen doctor`, and report it if that finds nothing") from error


@lru_cache(maxsize=1)
def _open(source: PipelineSetup) -> tuple[ResolvedSpec, SamplePipeline]:
    spec = ResolvedSpec.model_validate_json(source.spec_json)
    return spec, source.opener(spec, source.engine)


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however: a killed one cannot say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
