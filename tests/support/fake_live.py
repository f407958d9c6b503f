"""Stand-ins for what renders while a network trains. A module of its own, because worker processes import it."""

import os
import signal
from concurrent.futures import Future
from pathlib import Path

from support.fake_balls import ball
from synthgen.datasets.plan import plan_shards
from synthgen.errors import SpecError
from synthgen.generator.runs.on_demand import sample_arrays


class Balls:
    """A pipeline of balls that misbehaves as files in a folder say."""

    def __init__(self):
        self.folder = Path(os.environ["FAKE_FOLDER"]) if "FAKE_FOLDER" in os.environ else None

    def samples(self, indices):
        for index in indices:
            if self.folder:
                (self.folder / f"worker-{os.getpid()}").touch()
                if (self.folder / f"kill-{index}").exists():
                    os.kill(os.getpid(), signal.SIGKILL)
                if (self.folder / f"wrong-{index}").exists():
                    raise ValueError(f"ball {index} is square")
                if (self.folder / f"refused-{index}").exists():
                    raise SpecError(f"pose: sample {index} has no possible pose")
            yield ball(index)

    def close(self):
        pass


def open_balls(spec):
    return Balls()


class HereAndNow:
    """A renderer without processes, which counts what it is asked for."""

    def __init__(self, *, depth=False):
        self.depth, self.asked = depth, []

    def submit(self, indices):
        self.asked.append(indices.tolist())
        future = Future()
        future.set_result(sample_arrays(map(ball, indices.tolist()), 20.0, depth=self.depth))
        return future


def live_data(spec, renderer, ahead=60):
    from synthgen.training.loop.on_demand import LiveData  # torch, which workers do not need

    return LiveData(spec, split(spec, "train"), split(spec, "validation"), renderer, ahead)


def split(spec, name):
    from synthgen.training.streaming.on_demand_order import LiveSplit

    own = [plan for plan in plan_shards(spec.name, spec.version, spec.count) if plan.split == name]
    return LiveSplit(tuple(plan.samples for plan in own), lambda shard: own[shard].indices)
