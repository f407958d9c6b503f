"""What a worker process does with one shard: open the pipeline once, render the samples, write them.

Nothing here knows of Dask, so a shard can be rendered by a plain call as well.
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
_HOPELESS = frozenset(
    getattr(errno, name, 0) for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EISDIR")
)
"""Errors of the target that every other shard would meet too."""


class Stopped(Exception):  # noqa: N818 - not an error: the run was asked to end
    """The shard in hand is not wanted any more."""


class SamplePipeline(Protocol):
    """What renders samples: `synthgen.generator.pipeline.Pipeline`, or a stand-in in tests."""

    def samples(self, indices: Iterable[int]) -> Iterator[Sample]:
        """Render samples in the order of their indices."""

    def close(self) -> None:
        """Give back what the pipeline holds."""


Opener = Callable[[ResolvedSpec, str], SamplePipeline]
"""Opens the pipeline of a resolved spec with a named engine; a module-level function, because workers import it."""


def open_default(spec: ResolvedSpec, engine: str) -> SamplePipeline:
    """Open the project's own pipeline; imports it only here, so that only workers load Blender."""
    from synthgen.generator.pipeline import open_pipeline  # noqa: PLC0415

    return open_pipeline(spec, engine)


@dataclass(frozen=True)
class PipelineSetup:
    """What a worker needs to know to render any sample of a run."""

    spec_json: str
    """The resolved spec."""
    engine: str
    opener: Opener = open_default


@dataclass(frozen=True)
class ShardTask:
    """One unit of work."""

    source: PipelineSetup
    plan: ShardPlan
    root: Path


@dataclass(frozen=True)
class Watch:
    """The two lines between a shard in hand and the run."""

    tick: Callable[[int, int], None]
    """Told the samples and the redraws so far, now and then."""
    wanted: Callable[[], bool]
    """False as soon as the shard should be left."""


@dataclass(frozen=True)
class ShardOutcome:
    """How a shard ended."""

    number: int
    path: str
    samples: int = 0
    """Rendered now; 0 where the shard was there already."""
    redraws: int = 0
    error: str | None = None
    fatal: bool = False
    """Whether every other shard would fail in the same way."""
    detail: str = ""
    """The traceback of an unexpected error."""


class PipelineHolder:
    """The one open pipeline of a worker process; a task with another source replaces it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._source: PipelineSetup | None = None
        self._pipeline: SamplePipeline | None = None

    def get(self, source: PipelineSetup) -> tuple[ResolvedSpec, SamplePipeline]:
        """Return the source's spec and its pipeline, opened if need be."""
        spec = ResolvedSpec.model_validate_json(source.spec_json)
        if self._pipeline is None or self._source != source:
            self.close()
            self._pipeline, self._source = source.opener(spec, source.engine), source
        return spec, self._pipeline

    def close(self) -> None:
        """Close the pipeline, if one is open."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            pipeline.close()


class _Counter:
    def __init__(self, watch: Watch) -> None:
        self.samples = self.redraws = 0
        self._watch = watch
        self._told = time.monotonic()

    def count(self, sample: Sample) -> None:
        self.samples += 1
        self.redraws += int(sample.pose.get("redraws", 0))
        if time.monotonic() - self._told >= _TICK_S:
            self._told = time.monotonic()
            self._watch.tick(self.samples, self.redraws)


def render_shard(holder: PipelineHolder, task: ShardTask, watch: Watch) -> ShardOutcome:
    """Render a shard unless it is there; an error becomes part of the outcome, only `Stopped` is raised."""
    plan = task.plan
    counter = _Counter(watch)
    try:
        if shard_done(plan, task.root):
            return ShardOutcome(plan.number, plan.path)
        with holder.lock:
            spec, pipeline = _open(holder, task.source)
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
        return ShardOutcome(plan.number, plan.path, error=text, fatal=error.errno in _HOPELESS)
    except Exception as error:  # noqa: BLE001 - one bad shard must not end the others; it is listed with its traceback
        text = f"{type(error).__name__}: {error}"
        return ShardOutcome(plan.number, plan.path, error=text, detail=traceback.format_exc())


class _OpeningError(Exception):
    def __init__(self, text: str, detail: str) -> None:
        super().__init__(text)
        self.detail = detail


def _open(holder: PipelineHolder, source: PipelineSetup) -> tuple[ResolvedSpec, SamplePipeline]:
    try:
        return holder.get(source)
    except SynthgenError as error:
        raise _OpeningError(str(error), "") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error} (on {socket.gethostname()})"
        text = f"engine {source.engine}: {what}; run `synthgen doctor`"
        raise _OpeningError(text, traceback.format_exc()) from error


def _samples(
    pipeline: SamplePipeline, plan: ShardPlan, counter: _Counter, wanted: Callable[[], bool]
) -> Iterator[Sample]:
    for sample in pipeline.samples(plan.indices):
        if not wanted():
            raise Stopped
        yield sample
        counter.count(sample)
