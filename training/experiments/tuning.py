"""Real scans as a network takes them: fine-tuning, a cross-validation, and predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.specs.domain import Domain
from synthgen.storage.atomic_files import file_sha256
from synthgen.storage.depth import encode_depth, nearest_depth
from synthgen.training.evaluation.errors import Prediction, landmark_depths_mm
from synthgen.training.evaluation.folds import Fold
from synthgen.training.loop.checkpoint import Checkpoint, TrainedOn, label_space, load_checkpoint
from synthgen.training.loop.config import TrainingConfig, load_config
from synthgen.training.loop.device import Device
from synthgen.training.loop.job import Job, Keeping, Listener
from synthgen.training.loop.learning_rate import MultiStep
from synthgen.training.loop.train import train
from synthgen.training.scans.scan_set import Scan, ScanSet, ScanSetInfo, read_scanset
from synthgen.training.streaming.batches import Stream, prefetched
from synthgen.training.streaming.packed_samples import Block, Inputs, mask_block
from synthgen.training.streaming.preparation import Preparation
from synthgen.training.streaming.shard_cache import ArrayBlocks

_STEPS_PER_MM = 20.0
_DEPTH_CLIP = 1.0
_PREDICT_BATCH = 256


@dataclass(frozen=True)
class Tuning:
    """Scans that networks are tuned to, and how."""

    scans: ScanSet
    sha256: str
    """Of the scan set's file."""
    name: str
    config: TrainingConfig
    device: Device

    @property
    def domain(self) -> Domain:
        """Of the scans."""
        return domain_of(self.scans.info)


def domain_of(info: ScanSetInfo) -> Domain:
    """Return the domain of a scan set."""
    return Domain(info.model, info.width, info.height, info.landmark_names, info.framing)


def tuning_of(
    scans: Path,
    device: Device,
    init: Path | None = None,
    config: str | Path | None = None,
    inputs: Inputs | None = None,
) -> Tuning:
    """Return the fine-tuning to a scan set.

    Args:
        scans: The scan set's file.
        device: Where it runs.
        init: Folder of the network that it starts from, whose network and input it keeps; None: from scratch.
        config: Training config; None takes the paper's fine-tuning.
        inputs: What the network looks at, instead of the config's.

    Raises:
        SynthgenError: A file cannot be used.

    """
    if config is not None:
        chosen = load_config(config).changed(input=inputs)
    else:
        base = load_checkpoint(init).config if init else load_config("paper_hand")
        chosen = tuning_config(base.changed(input=inputs))
    return Tuning(read_scanset(scans), file_sha256(scans), scans.name, chosen, device)


def tuning_config(config: TrainingConfig) -> TrainingConfig:
    """Return the paper's fine-tuning with a config's network: SGD, 700 epochs, a tenth of the rate after 500.

    On depth, gradients are clipped: from scratch on a few scans, the paper's learning rate ends in NaN in six steps.
    """
    clip = _DEPTH_CLIP if config.input == "depth" and config.clip_grad_norm is None else config.clip_grad_norm
    schedule = MultiStep(kind="multistep", milestones=(500,), gamma=0.1)
    paper = {"epochs": 700, "lr": 0.01, "lr_schedule": schedule, "optimizer": "sgd", "momentum": 0.9, "betas": None}
    own = {"name": f"{config.name}_ft", "samples": None, "artefacts": False, "clip_grad_norm": clip}
    return config.model_copy(update=paper | own)


def scan_block(scans: Sequence[Scan], inputs: Inputs) -> Block:
    """Return scans as packed samples, numbered from 0.

    Raises:
        ScanError: Depth is wanted of a scan that has none.

    """
    numbers = np.arange(len(scans), dtype=np.int64)
    points = np.stack([scan.landmarks_px for scan in scans])
    if inputs == "mask":
        return mask_block(numbers, np.stack([scan.mask for scan in scans]), points)
    coded = [_coded(scan) for scan in scans]
    return Block(
        numbers,
        np.stack([codes for codes, _ in coded]),
        points,
        ~np.isnan(points).any(axis=2),
        np.stack([landmark_depths_mm(scan) for scan in scans]),
        np.array([near for _, near in coded]),
        np.full(len(scans), _STEPS_PER_MM),
    )


def _coded(scan: Scan) -> tuple[NDArray[np.uint16], float]:
    if scan.depth_mm is None:
        raise ScanError(f"scan {scan.id}: is 2D and has no depth; use a network on masks")
    depth = np.where(np.isnan(scan.depth_mm), np.float32(np.inf), scan.depth_mm)
    near = nearest_depth(depth, _STEPS_PER_MM)
    return encode_depth(depth, near, _STEPS_PER_MM), near


def tune(
    tuning: Tuning,
    rows: tuple[int, ...],
    initial: Checkpoint | None = None,
    keeping: Keeping | None = None,
    listener: Listener | None = None,
) -> Checkpoint:
    """Train a network on some scans of a set, from a checkpoint's weights or from scratch.

    Raises:
        ScanError: None of these scans has a landmark.
        CheckpointError: The checkpoint is of another domain.

    """
    config, scans = tuning.config, [tuning.scans.scans[row] for row in rows]
    labelled = [scan for scan in scans if np.isfinite(scan.landmarks_px).all(axis=1).any()]
    if not labelled:
        raise ScanError(f"{tuning.name}: none of {len(scans)} scans has a landmark; label some")
    preparation = Preparation(
        label_space(tuning.domain, config), augmentation=config.augmentation, augmentation_seed=config.seed
    )
    data = Stream(ArrayBlocks(scan_block(labelled, config.input)), preparation, config.batch_size, config.seed)
    history = (*(initial.history if initial else ()), TrainedOn("scan set", tuning.name, tuning.sha256))
    job = Job(config, tuning.domain, data, history, weights=initial.weights if initial else None)
    return train(job, tuning.device, keeping, listener)


def predict(checkpoint: Checkpoint, scans: Sequence[Scan], device: Device) -> Prediction:
    """Return where a network finds the landmarks of scans, in their patches."""
    return predict_block(checkpoint, scan_block(scans, checkpoint.config.input), device)


def predict_block(checkpoint: Checkpoint, block: Block, device: Device) -> Prediction:
    """Return where a network finds the landmarks of packed samples."""
    labels = checkpoint.labels
    batches = Stream(ArrayBlocks(block), Preparation(labels), _PREDICT_BATCH, window=0).epoch(0)
    model = device.place(checkpoint.model())
    points, depths = [], []
    with torch.inference_mode():
        for batch in prefetched(batches, 0, 0):
            found = labels.decode(model(device.images(batch.images)).double().cpu().numpy())
            points.append(found[..., :2])
            if labels.depth:
                scale = batch.depth_scale.numpy()
                depths.append(found[..., 2] * scale[:, 1:] + scale[:, :1])
    return Prediction(np.concatenate(points), np.concatenate(depths) if depths else None)


def merged(found: Sequence[Prediction], folds: tuple[Fold, ...]) -> Prediction:
    """Return the predictions of all folds' test scans in the order of the scans."""
    order = np.argsort(np.concatenate([fold.test for fold in folds]))
    points = np.concatenate([one.points_px for one in found])[order]
    depths = [one.depth_mm for one in found if one.depth_mm is not None]
    return Prediction(points, np.concatenate(depths)[order] if depths else None)
