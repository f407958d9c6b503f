"""``synthgen train --spec``: connects the renderer and the training, which do not know each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.errors import SynthgenError

if TYPE_CHECKING:
    from synthgen.datasets.plan import ShardPlan, Split
    from synthgen.training.loop.config import TrainingConfig
    from synthgen.training.loop.device import Device
    from synthgen.training.loop.job import Job
    from synthgen.training.streaming.on_demand_order import LiveSplit

LiveSpecOption = Annotated[
    str | None,
    typer.Option("--spec", help="Spec file or built-in, instead of --data: render samples on demand."),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", help="With --spec: optimizer steps in total. Default: samples * epochs / batch_size."),
]
LiveWorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="With --spec: number of rendering processes. Default: 1, or all cores if training runs on a GPU.",
    ),
]
_AHEAD = 300
"""Samples that each worker renders ahead."""


@dataclass(frozen=True)
class Live:
    """A spec to train on, instead of a dataset."""

    spec: str
    steps: int | None = None
    workers: int | None = None


def live_options(data: str | None, spec: str | None, steps: int | None, workers: int | None) -> Live | None:
    """Return the spec to render on demand; None if a dataset is given.

    Raises:
        SynthgenError: Both are given, or neither.

    """
    if data is not None and spec is not None:
        raise SynthgenError("--data, --spec: cannot be combined; give a dataset, or a spec to render on demand")
    if spec is not None:
        return Live(spec, steps, workers)
    if data is None:
        raise SynthgenError("--data: missing; give a dataset, or with --spec a spec to render on demand")
    for name, value in (("--steps", steps), ("--workers", workers)):
        if value is not None:
            raise SynthgenError(
                f"{name}: value {value}; only applies to --spec, remove it or use --spec instead of --data"
            )
    return None


@contextmanager
def live_training(
    live: Live, config: "TrainingConfig", device: "Device", say: Callable[[str], None]
) -> Iterator["Job"]:
    """Start the processes that render, and yield the training that they serve; Ctrl-C ends both within seconds."""
    from synthgen.cli.scene import load_scene
    from synthgen.datasets.plan import plan_shards
    from synthgen.generator.runs.on_demand import live_renderer, live_workers
    from synthgen.generator.runs.resources import this_machine
    from synthgen.generator.runs.worker import Source
    from synthgen.interrupts import signals_deferred
    from synthgen.training.loop.on_demand import LiveData, live_job

    # A network on a CPU keeps all cores busy, and learns more slowly than one process renders.
    wanted = 1 if live.workers is None and not device.on_gpu else live.workers
    workers, line = live_workers(wanted, device.ranks.count, this_machine())
    if line:
        say(line)
    spec = load_scene(live.spec, engine="raster").spec
    plans = plan_shards(spec.name, spec.version, spec.count)
    train, validation = _split(plans, "train"), _split(plans, "validation")
    source = Source(spec.model_dump_json(), spec.engine)
    with live_renderer(source, workers, depth=config.input == "depth") as renderer:
        with signals_deferred():  # pydantic, asked for the spec's hash, makes a warning of a Ctrl-C
            data = LiveData(spec, train, validation if validation.sizes else None, renderer, _AHEAD * workers)
            job = live_job(data, config, live.steps, device.ranks)
        yield job


def _split(plans: "tuple[ShardPlan, ...]", split: "Split") -> "LiveSplit":
    from synthgen.training.streaming.on_demand_order import LiveSplit

    own = [plan for plan in plans if plan.split == split]
    return LiveSplit(tuple(plan.samples for plan in own), lambda shard: own[shard].indices)
