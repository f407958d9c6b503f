"""``synthgen train --spec``: connects the renderer and the training, which do not know each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.errors import SynthgenError

if TYPE_CHECKING:
    from synthgen.training.loop.config import TrainingConfig
    from synthgen.training.loop.device import Device
    from synthgen.training.loop.job import Job

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
    from synthgen.api.on_demand import rendered_on_demand
    from synthgen.cli.scene import load_scene
    from synthgen.interrupts import signals_deferred
    from synthgen.training.loop.on_demand import live_job

    # A network on a CPU keeps all cores busy, and learns more slowly than one process renders.
    wanted = 1 if live.workers is None and not device.on_gpu else live.workers
    spec = load_scene(live.spec, engine="raster").spec
    with rendered_on_demand(spec, (wanted, device.ranks.count), say, depth=config.input == "depth") as data:
        with signals_deferred():
            job = live_job(data, config, live.steps, device.ranks)
        yield job
