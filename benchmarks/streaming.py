"""Samples per second of our stream and of webdataset with pillow on the same shards, and the cost for a training.

    python -m benchmarks.streaming --data data/hand --what read      one core; the two take turns
    python -m benchmarks.streaming --data data/hand --what train     all cores; streamed against in memory

Reading: webdataset yields (mask, landmarks) or (depth in mm, landmarks) of each sample, as in docs/dataset.md. Ours
yields the same arrays, a hundred at a time, after checking the shard's size and SHA-256 against the manifest, which
webdataset does not do; nothing is cached, every shard is read again. "From memory" is a pass over packed shards in
memory. "Batches" are shuffled batches of 100 as the network takes them, without and with artefacts. Rates are by
processor time. Training: the paper's network and optimizer step, with artefacts.
"""

import argparse
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROUNDS = 7
STEPS = 12


def one_core() -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def by_webdataset(root: Path, inputs: str) -> Iterator[int]:
    import webdataset
    from PIL import Image

    def mask(sample):
        return np.asarray(Image.open(io.BytesIO(sample["mask.png"]))), points(json.loads(sample["json"]))

    def depth(sample):
        label = json.loads(sample["json"])
        code = np.asarray(Image.open(io.BytesIO(sample["depth.png"]))).astype(np.float64)
        depth_mm = label["depth_near_mm"] + (code - 1) / label["depth_steps_per_mm"]
        return np.where(code > 0, depth_mm, np.inf).astype(np.float32), points(label)

    def points(label):
        return np.array(label["landmarks_px"])

    shards = [str(path) for path in sorted((root / "train").glob("*.tar"))]
    for _ in webdataset.WebDataset(shards, shardshuffle=False).map(depth if inputs == "depth" else mask):
        yield 1


def by_shards(blocks, inputs: str, width: int) -> Iterator[int]:
    """Decoded arrays, shard by shard."""
    from synthgen.training.streaming.packed_samples import unpack_depths, unpack_masks

    for number in range(len(blocks.sizes)):
        block = blocks.block(number)
        for start in range(0, len(block), 100):
            part = block.take(slice(start, start + 100))
            yield len(unpack_masks(part.images, width) if inputs == "mask" else unpack_depths(part))


def rate(samples: Iterator[int], most_s: float = 4.0) -> float:
    """Return samples per second of processor time, which depends less on other load than wall time."""
    began, count = time.process_time(), 0
    for n in samples:
        count += n
        if time.process_time() - began > most_s:
            break
    return count / (time.process_time() - began)


def read(root: Path) -> None:
    from synthgen.datasets.opening import open_dataset
    from synthgen.training.networks.coordinates import LabelSpace
    from synthgen.training.streaming.batches import Stream
    from synthgen.training.streaming.preparation import Preparation
    from synthgen.training.streaming.shard_cache import ShardBlocks

    dataset = open_dataset(root)
    domain = dataset.domain
    for inputs in ("mask", "depth"):
        found: dict[str, list[float]] = {}
        labels = LabelSpace(domain.width, domain.height, depth=inputs == "depth")

        def note(name: str, value: float, found=found) -> None:
            found.setdefault(name, []).append(value)

        def batches(blocks, epoch: int, artefacts, labels=labels) -> Iterator[int]:
            preparation = Preparation(labels, artefacts, dataset.spec.seed)
            return (len(batch) for batch in Stream(blocks, preparation, 100).epoch(epoch))

        fresh, blocks = ShardBlocks(dataset, "train", inputs, budget=0), ShardBlocks(dataset, "train", inputs)
        for number in range(len(blocks.sizes)):
            blocks.block(number)
        for turn in range(ROUNDS + 1):
            turns = {
                "webdataset": rate(by_webdataset(root, inputs)),
                "ours": rate(by_shards(fresh, inputs, domain.width)),
                "ours, from memory": rate(by_shards(blocks, inputs, domain.width)),
                "batches": rate(batches(blocks, turn, None)),
                "batches with artefacts": rate(batches(blocks, turn, dataset.spec.artefacts)),
            }
            for name, value in turns.items() if turn else ():  # the first turn warms up
                note(name, value)
        base = np.array(found["webdataset"])
        for name, values in found.items():
            ratios = np.array(values) / base
            print(f"{inputs}: {name}: {np.median(values):,.0f} samples/s, {np.median(ratios):.1f} times webdataset's "
                  f"({ratios.min():.1f} to {ratios.max():.1f})", flush=True)  # fmt: skip


def train(root: Path, device: str, precision: str) -> None:
    from synthgen.datasets.opening import open_dataset
    from synthgen.training.loop.config import load_config
    from synthgen.training.loop.device import find_device
    from synthgen.training.loop.job import dataset_job
    from synthgen.training.loop.optimizer import build_optimizer
    from synthgen.training.loop.train import train_step
    from synthgen.training.networks.paper_net import build_model
    from synthgen.training.streaming.batches import prefetched

    device, config = find_device(device, precision), load_config("paper_hand")
    dataset = open_dataset(root)
    domain, steps = dataset.domain, 50 * STEPS if device.on_gpu else STEPS
    job = dataset_job(dataset, config)
    model = device.place(build_model("paper", job.data.preparation.labels, len(domain.landmarks), 0.5, 0))
    running = device.wrap(model.train())
    optimizer = build_optimizer(model, config.changed(lr=0.001))
    memory = list(itertools.islice(iter(job.data.epoch(0)), 8))

    def timed(batches: Callable[[], Iterator]) -> float:
        source = batches()
        for _ in range(3):
            train_step(running, optimizer, next(source), device)
        began, count = time.perf_counter(), 0
        for batch in itertools.islice(source, steps):
            loss = train_step(running, optimizer, batch, device)
            count += len(batch)
        float(loss)  # a GPU is waited for
        return count / (time.perf_counter() - began)

    def streamed() -> Iterator:
        return itertools.chain.from_iterable(
            prefetched(job.data.epoch(e), 0, device.threads) for e in itertools.count()
        )

    ratios, kind = [], "bfloat16" if device.bf16 else "float32"
    for turn in range(ROUNDS):
        stored, stream = timed(lambda: itertools.cycle(memory)), timed(streamed)
        ratios.append(stream / stored)
        print(f"train on {device.name}, {kind}, turn {turn + 1}: {stored:,.0f} samples/s from memory, "
              f"{stream:,.0f} streamed, ratio {ratios[-1]:.3f}", flush=True)  # fmt: skip
    print(f"train: median ratio {np.median(ratios):.3f}; 30 epochs of 2,112,000 samples would take "
          f"{30 * 2_112_000 / stream / 3600:,.1f} h by extrapolation")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder; some thousand samples at least")
    parser.add_argument("--what", choices=("read", "train"), required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    options = parser.parse_args()
    if options.what == "read":
        one_core()
        read(options.data)
    else:
        train(options.data, options.device, options.precision)
    sys.stdout.flush()
