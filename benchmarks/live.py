"""Training with nothing stored: how fast samples are made, and whether a training has to wait for them.

python -m benchmarks.live --spec hand --recipe quick_hand --samples 6000 --steps 60
"""

import argparse
import time
from itertools import islice

import torch

from synthgen.cli.on_demand import Live, live_training
from synthgen.cli.scene import load_scene
from synthgen.generator.pipeline import open_pipeline
from synthgen.training.loop.config import Recipe, load_recipe
from synthgen.training.loop.device import Machine, find_machine
from synthgen.training.loop.job import Job
from synthgen.training.loop.train import train
from synthgen.training.streaming.batches import Batches, prefetched


class Repeated:
    """One batch again and again, in memory: a training that never waits."""

    def __init__(self, batches: Batches, length: int) -> None:
        self.batch, self.length = batches[0], length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int):
        return self.batch


class Once:
    """Epochs that are all the same batches."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def epoch(self, epoch: int) -> Batches:
        return self.batches


def render_rate(spec: str, samples: int) -> float:
    """Samples per second of one core that only renders."""
    pipeline = open_pipeline(load_scene(spec, engine="raster").spec, "raster")
    list(pipeline.samples(range(64)))
    began = time.perf_counter()
    count = sum(1 for _ in pipeline.samples(range(samples)))
    return count / (time.perf_counter() - began)


def batch_rate(live: Live, recipe: Recipe, machine: Machine, samples: int) -> float:
    """Samples per second that arrive as batches, without further processing."""
    with live_training(live, recipe, machine, print) as job:
        batches = prefetched(job.data.epoch(0), 0, machine.threads)
        list(islice(batches, 10))  # the workers are there, and ahead
        began, count = time.perf_counter(), 0
        for batch in batches:
            count += len(batch)
            if count >= samples:
                break
        return count / (time.perf_counter() - began)


def train_rate(job: Job, machine: Machine, samples: int) -> float:
    began = time.perf_counter()
    train(job, machine)
    return samples / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", default="hand")
    parser.add_argument("--recipe", default="quick_hand")
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    machine, recipe = find_machine(), load_recipe(options.recipe)
    print(f"{machine.device}, {torch.get_num_threads()} threads; {options.spec}, {options.recipe}")
    print(f"rendering alone, one core: {render_rate(options.spec, options.samples):.0f} samples/s")
    for workers in options.workers:
        live = Live(options.spec, None, workers)
        print(f"batches, {workers} workers: {batch_rate(live, recipe, machine, options.samples):.0f} samples/s")
    short, samples = recipe.changed(epochs=1), options.steps * recipe.batch
    for _ in range(2):
        with live_training(Live(options.spec, options.steps, 1), short, machine, print) as job:
            quiet = Job(job.recipe, job.domain, job.data, job.history)
            print(f"training, 1 worker: {train_rate(quiet, machine, samples):.1f} samples/s")
            memory = Once(Repeated(job.data.epoch(0), options.steps))
            stored = Job(job.recipe, job.domain, memory, job.history)
        print(f"training on one batch in memory: {train_rate(stored, machine, samples):.1f} samples/s")


if __name__ == "__main__":
    main()
