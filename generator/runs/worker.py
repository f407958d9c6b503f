"""Renders one shard in a worker process: opens the pipeline once, renders the samples and writes them.

This module does not depend on Dask, so a shard can also be rendered by a plain call.
"""

import errno
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from synthgen.datasets.plan import ShardPlan
from synthgen.errors import SynthgenError
from synthgen.generator.dataset.shards import shard_done, write_shard
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import Sample

_TICK_S = 0.5
_FATAL = frozenset(
    getattr(errno, name, 0) for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EISDIR")
)
"""Errors of the target folder that every other shard would hit too."""


class Stopped(Exception):  # noqa: N818 - not an error: the run is stopping
    """The current shard is no longer wanted."""


class SamplePipeline(Protocol):
    """Renders samples: `synthgen.generator.pipeline.Pipeline`, or a fake in tests."""

    def samples(self, indices: Iterable[int]) -> Iterator[Sample]:
        """Render samples in the order of their indices."""

    def close(self) -> None:
        """Free the pipeline's resources."""


Opener = Callable[[ResolvedSpec], SamplePipeline]
"""Opens the pipeline of a spec with its engine; a module-level function, because workers import it by name."""


def open_default(spec: ResolvedSpec) -> SamplePipeline:
    """Open `synthgen.generator.pipeline`; imported only here, so that only workers load Blender."""
    from synthgen.generator.pipeline import open_pipeline  # noqa: PLC0415

    return open_pipeline(spec, spec.engine)


@dataclass(frozen=True)
class PipelineSetup:
    """Everything a worker process needs to open its pipeline; can be pickled and compared cheaply."""

    spec_json: str
    """The resolved spec, with its engine."""
    opener: Opener = open_default

    def spec(self) -> ResolvedSpec:
        """Return the spec."""
        return ResolvedSpec.model_validate_json(self.spec_json)


@dataclass(frozen=True)
class ShardTask:
    """A shard to render."""

    setup: PipelineSetup
    plan: ShardPlan
    root: Path


@dataclass(frozen=True)
class Watch:
    """The callbacks by which a running shard communicates with the run."""

    tick: Callable[[int, int], None]
    """Receives the numbers of samples and redraws so far, about twice a second."""
    wanted: Callable[[], bool]
    """Returns False once the shard should be abandoned."""


@dataclass(frozen=True)
class ShardOutcome:
    """How a shard ended."""

    number: int
    path: str
    samples: int = 0
    """Samples rendered; 0 if the shard already existed."""
    redraws: int = 0
    error: str | None = None
    fatal: bool = False
    """Whether every other shard would fail too."""
    detail: str = ""
    """The traceback of an unexpected error."""


class PipelineHolder:
    """The open pipeline of a worker process; a task with another setup replaces it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._setup: PipelineSetup | None = None
        self._pipeline: SamplePipeline | None = None

    def get(self, setup: PipelineSetup, spec: ResolvedSpec) -> SamplePipeline:
        """Return the pipeline of a setup and its spec, opened if necessary."""
        if self._pipeline is None or self._setup != setup:
            self.close()
            self._pipeline, self._setup = setup.opener(spec), setup
        return self._pipeline

    def close(self) -> None:
        """Close the pipeline if one is open."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            pipeline.close()


class _Counter:
    def __init__(self, watch: Watch) -> None:
        self.samples = self.redraws = 0
        self._watch = watch
        self._reported = time.monotonic()

    def count(self, sample: Sample) -> None:
        self.samples += 1
        self.redraws += int(sample.pose.get("redraws", 0))
        if time.monotonic() - self._reported >= _TICK_S:
            self._reported = time.monotonic()
            self._watch.tick(self.samples, self.redraws)


def render_shard(holder: PipelineHolder, task: ShardTask, watch: Watch) -> ShardOutcome:
    """Render a shard unless it exists; errors become part of the outcome, only `Stopped` is raised."""
    plan = task.plan
    counter = _Counter(watch)
    try:
        if shard_done(plan, task.root):
            return ShardOutcome(plan.number, plan.path)
        with holder.lock:
            spec, pipeline = _open(holder, task.setup)
            samples = _samples(pipeline, plan, counter, watch.wanted)
            write_shard(plan, samples, task.root, spec.depth_steps_per_mm)
        return ShardOutcome(plan.number, plan.path, counter.samples, counter.redraws)
    except Stopped:
        raise
    except _OpeningError as error:
        return ShardOutcome(plan.number, plan.path, error=str(error), fatal=True, detail=error.detail)
    except SynthgenError as error:
        return ShardOutcome(plan.number, plan.path, error=str(error))
    except OSError as error:
        text = f"{error.filename or task.root}: {error.strerror or error}"
        return ShardOutcome(plan.number, plan.path, error=text, fatal=error.errno in _FATAL)
    except Exception as error:  # noqa: BLE001 - one bad shard must not stop the others; it is reported with its traceback
        text = f"{type(error).__name__}: {error}"
        return ShardOutcome(plan.number, plan.path, error=text, detail=traceback.format_exc())


class _OpeningError(Exception):
    def __init__(self, text: str, detail: str) -> None:
        super().__init__(text)
        self.detail = detail


def _open(holder: PipelineHolder, setup: PipelineSetup) -> tuple[ResolvedSpec, SamplePipeline]:
    spec = setup.spec()
    try:
        return spec, holder.get(setup, spec)
    except SynthgenError as error:
        raise _OpeningError(str(error), "") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error} (on {socket.gethostname()})"
        text = f"engine {spec.engine}: {what}; run `synthgen doctor`"
        raise _OpeningError(text, traceback.format_exc()) from error


def _samples(
    pipeline: SamplePipeline, plan: ShardPlan, counter: _Counter, wanted: Callable[[], bool]
) -> Iterator[Sample]:
    for sample in pipeline.samples(plan.indices):
        if not wanted():
            raise Stopped
        yield sample
        counter.count(sample)
