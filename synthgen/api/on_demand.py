"""A spec whose samples are rendered while somebody trains on them: connects two sides that do not know each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.datasets.plan import Split
    from synthgen.specs.spec import ResolvedSpec
    from synthgen.training.loop.on_demand import LiveData
    from synthgen.training.streaming.on_demand_order import LiveSplit
    from synthgen.training.streaming.packed_samples import Inputs

_AHEAD = 300
"""Samples that each worker renders ahead."""


@contextmanager
def rendered_on_demand(
    spec: "ResolvedSpec", workers: tuple[int | None, int], say: Callable[[str], None], *, depth: bool
) -> "Iterator[LiveData]":
    """Start the processes that render a spec, which end with the block; Ctrl-C ends them within seconds.

    Args:
        spec: With the raster engine.
        workers: Maximum number of rendering processes or None, and how many processes train together.
        say: Receives a line if fewer are started.
        depth: Render depths instead of masks.

    Raises:
        SynthgenError: The number of processes is below 1.

    """
    from synthgen.generator.runs.on_demand import live_renderer, live_workers
    from synthgen.generator.runs.resources import this_machine
    from synthgen.generator.runs.worker import PipelineSetup
    from synthgen.interrupts import signals_deferred
    from synthgen.training.loop.on_demand import LiveData

    count, line = live_workers(*workers, this_machine())
    if line:
        say(line)
    setup = PipelineSetup(spec.model_dump_json())
    with live_renderer(setup, count, depth=depth) as renderer:
        with signals_deferred():  # pydantic, asked for the spec's hash, makes a warning of a Ctrl-C
            train, validation = split_of_spec(spec, "train"), split_of_spec(spec, "validation")
            data = LiveData(spec, train, validation if validation.sizes else None, renderer, _AHEAD * count)
        yield data


def split_of_spec(spec: "ResolvedSpec", split: "Split") -> "LiveSplit":
    """Return a split of a spec's samples, divided as a stored dataset would divide it."""
    from synthgen.datasets.plan import plan_shards
    from synthgen.training.streaming.on_demand_order import LiveSplit

    own = [plan for plan in plan_shards(spec.name, spec.version, spec.count) if plan.split == split]
    return LiveSplit(tuple(plan.samples for plan in own), lambda shard: own[shard].indices)


@dataclass(frozen=True)
class SpecRenderer:
    """What renders the samples of a spec for `synthgen.torch_dataset`."""

    spec: "ResolvedSpec"
    workers: int | None

    def samples(self, split: "Split") -> int:
        """Return the number of samples of a split.

        Raises:
            SynthgenError: It has none.

        """
        from synthgen.errors import SpecError

        samples = sum(split_of_spec(self.spec, split).sizes)
        if not samples:
            raise SpecError(f"count: value {self.spec.count}; split {split} has no samples, give a larger count")
        return samples

    @contextmanager
    def open(self, split: "Split", inputs: "Inputs", processes: int) -> "Iterator[LiveData]":
        """Start what renders, for one of some processes that train together."""
        from synthgen.api.log import LOGGER

        with rendered_on_demand(self.spec, (self.workers, processes), LOGGER.info, depth=inputs == "depth") as data:
            yield replace(data, train=split_of_spec(self.spec, split))
