"""The cluster: every shard to render is a Dask task. No other module uses Dask to render.

Dask does the scheduling and retries the shards of crashed workers: on processes started here, or on an existing
scheduler.
"""

# Dask's client has no types.
# mypy: untyped-calls-exclude="distributed"

import atexit
import contextlib
import importlib.util
import logging
import os
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Nanny, Reschedule, Worker, get_worker
from distributed.core import Status

import synthgen
from synthgen.errors import ClusterError, SynthgenError
from synthgen.generator.engines.blender_process import exit_process, pin_to_core
from synthgen.generator.runs.options import RunOptions
from synthgen.generator.runs.progress import Board, Listener
from synthgen.generator.runs.worker import PipelineHolder, ShardOutcome, ShardTask, Stopped, Watch, render_shard
from synthgen.interrupts import interrupts_blocked

CRASHES_ALLOWED = 3
"""A shard fails once it has crashed one worker more than this."""
_CONNECT_S = 5
_WORKERS_S = 20
_CLOSE_S = 3.0
_POLL_S = 0.25
_WORKERLESS_S = 60.0
_LOST = "scheduler: the connection was lost; run the same command again to resume"
_QUIET = ("distributed", "tornado", "asyncio", "bokeh")


@dataclass(frozen=True)
class Cluster:
    """Workers to which shards can be submitted."""

    client: Client
    workers: int
    window: int
    """Maximum number of shards submitted at a time."""


@contextlib.contextmanager
def open_cluster(options: RunOptions, workers: int, *, idle: bool) -> Iterator[Cluster | None]:
    """Start local workers or connect to a scheduler; None if there is nothing to do."""
    if idle:
        yield None
    elif options.scheduler:
        with _quiet(), _connect(options.scheduler) as client:
            n = _worker_count(client)
            # All at once, so that a cluster that scales with its queue sees the queue.
            yield Cluster(client, workers=n, window=options.workers or 1 << 30)
    else:
        with _quiet(), _start_workers(workers, dashboard=options.dashboard) as client:
            # No more than can run: a shard queued on a worker is blamed together with the one that kills it.
            yield Cluster(client, workers=workers, window=workers)


class _PatientNanny(Nanny):
    """A nanny with a shorter timeout for workers that do not exit by themselves."""

    async def close(self, timeout: float | None = None, reason: str = "nanny-close") -> Any:
        return await super().close(timeout=timeout or _CLOSE_S, reason=reason)


@contextlib.contextmanager
def _start_workers(n: int, *, dashboard: bool) -> Iterator[Client]:
    if dashboard and importlib.util.find_spec("bokeh") is None:
        raise ClusterError("--dashboard: needs bokeh; run `pip install bokeh`, or omit the option")
    config = {
        "distributed.scheduler.allowed-failures": CRASHES_ALLOWED,
        "distributed.worker.multiprocessing-method": "spawn",
        # The profiler keeps an hour of call trees: a worker grows by 5 MB a minute.
        "distributed.worker.profile.enabled": False,
        # By default the event loop measures its own delay 50 times a second: 1 % of a worker's time.
        "distributed.admin.tick.interval": "1s",
        # A new process reads its logging levels before it receives this configuration.
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
        # Dask makes workers return every freed 64 KB to the system: getting them back takes a third of a body's time.
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**25,
        "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**24,
    }
    with dask.config.set(config), contextlib.ExitStack() as stack:
        with interrupts_blocked():
            try:
                cluster = LocalCluster(
                    n_workers=n,
                    threads_per_worker=1,
                    processes=True,
                    worker_class=_PatientNanny,
                    host="127.0.0.1",
                    memory_limit=0,
                    dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": dashboard},
                    silence_logs=logging.CRITICAL,
                )
            except (RuntimeError, OSError, TimeoutError) as error:
                raise ClusterError(f"workers: {n} cannot be started ({error}); try fewer --workers") from error
            stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster, set_as_default=False))
        yield client


@contextlib.contextmanager
def _connect(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(f"--scheduler: {address} cannot be reached ({reason}); give tcp://host:port") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError:
            raise ClusterError(
                f"--scheduler: {address} has no workers; start some with `dask worker {address} --nthreads 1`"
            ) from None
        yield client


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Dask's log messages; what matters in them is reported by this module."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _worker_count(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def check_workers(cluster: Cluster, address: str, root: Path) -> None:
    """Check that all workers have this version of synthgen, run one thread, and can write to the dataset folder.

    Raises:
        ClusterError: One does not.
    """
    token = root / f".token-{uuid.uuid4().hex}.partial"
    try:
        for attempt in range(3):  # a shared file system may take a moment to show a new file
            token.touch()
            facts = cluster.client.run(_worker_facts, str(token), on_error="return")
            blind = [where for where, fact in facts.items() if isinstance(fact, dict) and not fact["sees"]]
            if not blind:
                break
            time.sleep(attempt)
    finally:
        token.unlink(missing_ok=True)
    for where, fact in facts.items():
        if not isinstance(fact, dict):
            raise ClusterError(f"--scheduler: worker {where} cannot run synthgen ({fact}); install it there")
        if fact["version"] != synthgen.__version__:
            raise ClusterError(
                f"--scheduler: worker {where} has synthgen {fact['version']}, "
                f"this machine {synthgen.__version__}; install the same version"
            )
        if fact["nthreads"] != 1:
            raise ClusterError(
                f"--scheduler: worker {where} runs {fact['nthreads']} threads; "
                f"start it with `dask worker {address} --nthreads 1`"
            )
        if not fact["sees"]:
            raise ClusterError(f"--out: worker {where} does not see {root}; choose a folder shared by all workers")


def _worker_facts(token: str, dask_worker: Worker) -> dict[str, Any]:
    sees = Path(token).is_file() and os.access(Path(token).parent, os.W_OK)
    return {"version": synthgen.__version__, "nthreads": dask_worker.state.nthreads, "sees": sees}


def render_shards(
    cluster: Cluster, tasks: Sequence[ShardTask], board: Board, stopping: threading.Event, listener: Listener
) -> None:
    """Submit the tasks and follow them until all have ended or the run is stopped."""
    topic = f"synthgen-{uuid.uuid4().hex}"
    ended: queue.SimpleQueue[Future[ShardOutcome]] = queue.SimpleQueue()
    cluster.client.subscribe_topic(topic, lambda event: board.tick(*event[1]))
    watchdog = _Watchdog(cluster.client)
    waiting, running = deque(tasks), dict[Any, tuple[Future[ShardOutcome], ShardTask]]()
    try:
        while (waiting or running) and not stopping.is_set():
            while waiting and len(running) < cluster.window:
                task = waiting.popleft()
                key = f"{topic}-{task.plan.number}"
                future = cluster.client.submit(_work, task, topic, key=key, pure=False)
                running[key] = future, task
                future.add_done_callback(ended.put)
            with contextlib.suppress(queue.Empty):
                future = ended.get(timeout=_POLL_S)
                outcome = _outcome(future, running[future.key][1])
                if outcome is None:
                    future.add_done_callback(ended.put)
                else:
                    del running[future.key]
                    _raise_if_fatal(outcome)
                    board.end(outcome)
            listener.show(board.progress())
            watchdog.check()
    finally:
        if running:
            cluster.client.cancel([future for future, _ in running.values()], force=True)
        cluster.client.unsubscribe_topic(topic)


class _Watchdog:
    """Detects that the scheduler, or all of its workers, have been gone for a minute."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen = self._checked = time.monotonic()

    def check(self) -> None:
        """Check at most every few seconds; raises ClusterError."""
        now = time.monotonic()
        if now - self._checked < _CONNECT_S:
            return
        self._checked = now
        try:
            present = _worker_count(self._client)
        except (OSError, TimeoutError):
            raise ClusterError(_LOST) from None
        self._seen = now if present else self._seen
        if now - self._seen > _WORKERLESS_S:
            raise ClusterError("workers: none for a minute; start some, and run the same command again to resume")


def _outcome(future: Future[ShardOutcome], task: ShardTask) -> ShardOutcome | None:
    """Return how a task ended, or None if its result is not available yet."""
    plan = task.plan
    if future.status == "finished":
        try:
            result: ShardOutcome = future.result(timeout=1)
        except TimeoutError:  # the worker died with the result: Dask is about to retry the task
            return None
        return result
    if future.status != "error":
        raise ClusterError(_LOST)
    error = future.exception(timeout=_CONNECT_S)
    if isinstance(error, KilledWorker):
        text = f"crashed {CRASHES_ALLOWED + 1} workers one after the other; run `synthgen doctor`"
    else:
        text = f"{type(error).__name__}: {error}"
    return ShardOutcome(plan.number, plan.path, error=text)


def _raise_if_fatal(outcome: ShardOutcome) -> None:
    if outcome.fatal:
        if outcome.detail:
            logging.getLogger(__name__).debug("%s", outcome.detail)
        raise SynthgenError(f"{outcome.error}; finished shards are kept")


# Everything below runs in the workers.


def _work(task: ShardTask, topic: str) -> ShardOutcome:
    worker = get_worker()
    key = worker.get_current_task()
    number = task.plan.number

    def wanted() -> bool:
        state = worker.state.tasks.get(key)
        closing = worker.status in {Status.closing, Status.closed, Status.failed}
        return not closing and state is not None and state.state in {"executing", "long-running"}

    watch = Watch(tick=lambda samples, _redraws: worker.log_event(topic, (number, samples)), wanted=wanted)
    try:
        return render_shard(_holder(worker), task, watch)
    except Stopped:
        # No longer wanted on this worker; if the run continues, another worker takes the shard.
        raise Reschedule from None


def _holder(worker: Worker) -> PipelineHolder:
    """Return the worker's pipeline holder, created by its first task."""
    holder: PipelineHolder | None = getattr(worker, "synthgen_holder", None)
    if holder is None:
        holder = PipelineHolder()
        worker.synthgen_holder = holder  # type: ignore[attr-defined]
        pin_to_core()
        atexit.register(_leave, holder)
    return holder


def _leave(holder: PipelineHolder) -> None:
    if holder.lock.acquire(timeout=_CLOSE_S / 2):
        with contextlib.suppress(Exception):
            holder.close()
    exit_process(0)
