"""The rate of `synthgen.torch_dataset` beside that of our own loop, with and without a network that learns.

    python -m benchmarks.torch_dataset data/hand

Both rates of a line are of the same process, which takes turns: the best of the epochs after the first, when the shards
are in memory.
"""

import sys
import time

import torch
from torch.utils.data import DataLoader

import synthgen
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device
from synthgen.training.loop.job import dataset_job
from synthgen.training.loop.train import train_step
from synthgen.training.networks.paper_net import build_model
from synthgen.training.streaming.batches import prefetched

BATCH, STEPS = 100, 8
"""Samples of a batch, and batches of a measurement in which a network learns."""


class Learner:
    """A network of ours with our optimizer step, which takes batches of either kind."""

    def __init__(self, labels, landmarks):
        self.device = Device()
        self.model = self.device.place(build_model("paper", labels, landmarks, 0.5, 0))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)

    def ours(self, batch):
        train_step(self.model, self.optimizer, batch, self.device)

    def theirs(self, item):
        loss = self.model(self.device.images(item["image"]), item["target"].flatten(1), len(item["image"]))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def rate(batches, size, learn, limit) -> float:
    began, samples = None, 0
    for number, batch in enumerate(batches):
        learn(batch)
        if number == 0:
            began = time.perf_counter()  # workers have started
            continue
        samples += size(batch)
        if limit and number == limit:
            break
    return samples / (time.perf_counter() - began)


def measure(root: str, inputs: str, workers: int, *, learning: bool) -> None:
    config = TrainingConfig(input=inputs, batch_size=BATCH)
    dataset = synthgen.open_dataset(root)
    job = dataset_job(dataset, config)
    theirs = synthgen.torch_dataset(dataset, input=inputs, batch_size=BATCH)
    loader = DataLoader(theirs, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
    learner = Learner(job.data.preparation.labels, len(dataset.landmarks))
    rates, limit = [[], []], STEPS if learning else None
    for epoch in range(3):
        own = prefetched(job.data.epoch(epoch), 0, 1)
        learn = learner.ours if learning else lambda batch: batch.images.float()
        rates[0].append(rate(own, len, learn, limit))
        own.close()
        theirs.set_epoch(epoch)
        learn = learner.theirs if learning else lambda item: item
        rates[1].append(rate(loader, lambda item: len(item["image"]), learn, limit))
    ours, other = (max(found[1:]) for found in rates)
    what = "reading and learning" if learning else "reading"
    print(f"{what:<21} {inputs:<6} num_workers={workers}: own loop {ours:9,.0f}/s, torch_dataset {other:9,.0f}/s, "
          f"ratio {other / ours:.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    for learning in (False, True):
        for inputs in ("mask", "depth"):
            for workers in (0, 2):
                measure(sys.argv[1], inputs, workers, learning=learning)
