"""Training with nothing stored: how fast samples are made, and whether a training has to wait for them.

python -m benchmarks.live --spec hand --config quick_hand --samples 6000 --steps 60
"""

import argparse
import time
from itertools import islice

import torch

from synthgen.cli.on_demand import Live, live_training
from synthgen.cli.scene import load_scene
from synthgen.generator.pipeline import open_pipeline
from synthgen.training.loop.config import TrainingConfig, load_config
from synthgen.training.loop.device import Device, find_device
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


def batch_rate(live: Live, config: TrainingConfig, device: Device, samples: int) -> float:
    """Samples per second that arrive as batches, without further processing."""
    with live_training(live, config, device, print) as job:
        batches = prefetched(job.data.epoch(0), 0, device.threads)
        list(islice(batches, 10))  # the workers are there, and ahead
        began, count = time.perf_counter(), 0
        for batch in batches:
            count += len(batch)
            if count >= samples:
                break
        return count / (time.perf_counter() - began)


def train_rate(job: Job, device: Device, samples: int) -> float:
    began = time.perf_counter()
    train(job, device)
    return samples / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", default="hand")
    parser.add_argument("--config", default="quick_hand")
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    device, config = find_device(), load_config(options.config)
    print(f"{device.name}, {torch.get_num_threads()} threads; {options.spec}, {options.config}")
    print(f"rendering alone, one core: {render_rate(options.spec, options.samples):.0f} samples/s")
    for workers in options.workers:
        live = Live(options.spec, None, workers)
        print(f"batches, {workers} workers: {batch_rate(live, config, device, options.samples):.0f} samples/s")
    short, samples = config.changed(epochs=1), options.steps * config.batch_size
    for _ in range(2):
        with live_training(Live(options.spec, options.steps, 1), short, device, print) as job:
            quiet = Job(job.config, job.domain, job.data, job.history)
            print(f"training, 1 worker: {train_rate(quiet, device, samples):.1f} samples/s")
            memory = Once(Repeated(job.data.epoch(0), options.steps))
            stored = Job(job.config, job.domain, memory, job.history)
        print(f"training on one batch in memory: {train_rate(stored, device, samples):.1f} samples/s")


if __name__ == "__main__":
    main()
