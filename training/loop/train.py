"""The training loop: optimizer steps on the batches of each epoch, as a training config says.

A step depends on the weights, the optimizer's state, the batch, the learning rate and the dropout seed, and each of
these depends on the position in the training alone. So a killed training resumes from its last checkpoint and ends
with the same weights, bit for bit on a CPU with the same number of threads.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from synthgen.errors import SynthgenError
from synthgen.progress import Silent
from synthgen.randomness.seeding import stream
from synthgen.training.loop.checkpoint import (
    Checkpoint,
    CheckpointError,
    Place,
    has_checkpoint,
    label_space,
    load_checkpoint,
    save_checkpoint,
)
from synthgen.training.loop.device import Device
from synthgen.training.loop.job import Job, Keeping, Listener, Progress
from synthgen.training.loop.log import CsvLog, Line, Log, TensorBoardLog
from synthgen.training.loop.optimizer import build_optimizer, optimizer_state, restore_optimizer
from synthgen.training.loop.out_of_memory import is_out_of_memory, largest_batch
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.paper_net import build_model
from synthgen.training.streaming.batches import Batches, prefetched
from synthgen.training.streaming.preparation import Batch

SHORT_EPOCH_S = 30.0
"""An epoch on a few scans is a single step; saving all weights after each would take longer than the step."""


def train(job: Job, device: Device, keeping: Keeping | None = None, listener: Listener | None = None) -> Checkpoint:
    """Train a network, or resume a training that was interrupted.

    Args:
        job: The network and its data.
        device: The device; of several processes, each calls this inside `device.processes`.
        keeping: Where checkpoints and logs are written; None keeps the result in memory.
        listener: Receives messages and progress.

    Returns:
        The trained network.

    Raises:
        CheckpointError: The folder holds another training, or cannot be written.
        SynthgenError: A batch does not fit into memory, or the loss becomes infinite or NaN.

    """
    listener = listener or Silent()
    if not device.same_everywhere(job.history[-1].sha256):
        raise SynthgenError("--data: the processes see different datasets; give a fixed revision, a tag or a commit")
    begun = load_checkpoint(keeping.folder) if keeping and has_checkpoint(keeping.folder) else None
    if begun and keeping:
        _check_same(begun, job, keeping.folder)
        if begun.finished:
            return begun
        listener.say(f"{keeping.folder}: resumes in epoch {begun.place.epoch + 1} after {begun.place.steps} steps")
    run = _Run(job, device, begun)
    logs = _open_logs(keeping, run.place.steps) if keeping and device.ranks.rank == 0 else []
    devices = [device.name] if device.on_gpu else []
    try:
        with torch.random.fork_rng(devices=devices):  # dropout draws from torch's own generators
            return _epochs(run, keeping, logs, listener)
    finally:
        for log in logs:
            log.close()


def evaluate(model: nn.Module, batches: Batches, labels: LabelSpace, device: Device) -> float:
    """Return the mean error of all known landmarks in pixels of the patch; NaN if none is known."""
    total, count = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for batch in prefetched(batches, 0, device.threads):
            with device.precision():
                found = model(device.images(batch.images)).float().cpu()
            errors = labels.decode(found)[..., :2] - labels.decode(batch.targets)[..., :2]
            distances = errors.double().square().sum(dim=-1).sqrt()
            known = ~torch.isnan(distances)
            total, count = total + float(distances[known].sum()), count + int(known.sum())
    return total / count if count else float("nan")


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    device: Device,
    clip_grad_norm: float | None = None,
) -> Tensor:
    """Do an optimizer step on one batch, its gradient clipped to a norm; return the loss, still on the device."""
    images, targets = device.images(batch.images), device.tensor(batch.targets)
    with device.precision():
        # Gradients are averaged over the processes, so each divides by an even share of the batch.
        loss = model(images, targets, batch.total / device.ranks.count)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip_grad_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_grad_norm)
    optimizer.step()
    return loss.detach()


class _Run:
    """The state of a training in memory."""

    def __init__(self, job: Job, device: Device, begun: Checkpoint | None) -> None:
        config, domain = job.config, job.domain
        self.job, self.device, self.place = job, device, begun.place if begun else Place()
        labels = label_space(domain, config)
        model = build_model(config.arch, labels, len(domain.landmarks), config.dropout, config.seed)
        weights = begun.weights if begun else job.weights
        if weights is not None:
            try:
                model.load_state_dict(weights)
            except RuntimeError:
                raise CheckpointError(f"weights: do not match network {config.arch} for this data") from None
        self.model = device.place(model)
        self.running = device.wrap(self.model)
        self.optimizer = build_optimizer(self.model, config)
        if begun:
            restore_optimizer(self.optimizer, self.model, begun.optimizer_state, begun.place.steps)
        self.loss = torch.tensor(self.place.loss_sum, dtype=torch.float64, device=device.name)
        self.began, self.samples = time.monotonic(), 0

    @property
    def labels(self) -> LabelSpace:
        return label_space(self.job.domain, self.job.config)

    def step(self, batch: Batch, lr: float) -> None:
        """Do one optimizer step."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        seed = stream(self.job.config.seed, self.place.steps, f"dropout/{self.device.ranks.rank}")
        torch.manual_seed(int(seed.integers(2**63)))
        self.model.train()
        try:
            self.loss += train_step(self.running, self.optimizer, batch, self.device, self.job.config.clip_grad_norm)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise SynthgenError(self._too_large(batch)) from None
        place = self.place
        self.samples += batch.total
        self.place = replace(
            place, position=place.position + batch.total, steps=place.steps + 1, loss_count=place.loss_count + 1
        )

    def checkpoint(self) -> Checkpoint:
        """Return what is needed to resume.

        Raises:
            SynthgenError: The weights contain NaN or infinity.
        """
        place = replace(self.place, loss_sum=float(self.loss))
        weights = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
            raise self.diverged("the weights contain NaN or infinity")
        state = optimizer_state(self.optimizer, self.model) if place.epoch < self.job.config.epochs else {}
        return Checkpoint(self.job.domain, self.job.config, self.job.history, place, weights, state)

    def diverged(self, what: str) -> SynthgenError:
        """Return the error of a training that diverged."""
        config = self.job.config
        fix = "lower clip_grad_norm" if config.clip_grad_norm else "set clip_grad_norm to 1"
        return SynthgenError(f"lr: value {config.lr:g}; {what} after {self.place.steps} steps, "
                             f"lower lr or {fix} in the training config")  # fmt: skip

    def mean_loss(self) -> float:
        """Return the mean loss since the previous row of the log, over all processes."""
        return self.device.total(self.loss.clone()) / (max(self.place.loss_count, 1) * self.device.ranks.count)

    def _too_large(self, batch: Batch) -> str:
        self.optimizer.zero_grad(set_to_none=True)
        name = f"batch_size: value {self.job.config.batch_size} does not fit into the memory of {self.device.name}"

        def attempt(samples: int) -> None:
            shape, device = (samples, *batch.images.shape[1:]), self.device.name
            loss = self.model(self.device.images(torch.zeros(shape, dtype=batch.images.dtype))).sum()
            loss.backward()
            self.optimizer.zero_grad(set_to_none=True)
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)

        fits = largest_batch(attempt, len(batch) // 2) * self.device.ranks.count
        return f"{name}; {f'{fits} fits, set batch_size to it' if fits else 'not even 1 fits, use another device'}"


def _epochs(run: _Run, keeping: Keeping | None, logs: list[Log], listener: Listener) -> Checkpoint:
    config, device = run.job.config, run.device
    saved = time.monotonic()
    while run.place.epoch < config.epochs:
        batches = run.job.data.epoch(run.place.epoch)
        start = run.place.position // config.batch_size
        for number, batch in enumerate(prefetched(batches, start, device.threads), start):
            lr = config.lr_at(run.place.epoch, number / len(batches))
            run.step(batch, lr)
            if number + 1 == len(batches):
                break
            if keeping and run.place.steps % keeping.log_every == 0:
                _log(run, (lr, len(batches)), logs, listener)
            if keeping and time.monotonic() - saved >= keeping.save_every_s:
                _save(run, keeping)
                saved = time.monotonic()
        error = evaluate(run.model, run.job.validation, run.labels, device) if run.job.validation else None
        _log(run, (lr, len(batches)), logs, listener, error)
        run.place = replace(run.place, epoch=run.place.epoch + 1, position=0)
        ended, rest = run.place.epoch == config.epochs, min(SHORT_EPOCH_S, keeping.save_every_s if keeping else 0.0)
        if keeping and (ended or time.monotonic() - saved >= rest):
            _save(run, keeping)
            saved = time.monotonic()
    return run.checkpoint()


def _save(run: _Run, keeping: Keeping) -> None:
    if run.device.ranks.rank == 0:
        save_checkpoint(keeping.folder, run.checkpoint())


def _log(
    run: _Run, pace: tuple[float, int], logs: list[Log], listener: Listener, validation_px: float | None = None
) -> None:
    """Write a row of the log, and start the next mean."""
    lr, per_epoch = pace
    loss, place, epochs = run.mean_loss(), run.place, run.job.config.epochs
    if not math.isfinite(loss):
        raise run.diverged(f"the loss is {loss:g}")
    seconds = time.monotonic() - run.began
    per_s = run.samples / seconds if seconds > 0 else 0.0
    for log in logs:
        log.write(Line(place.epoch + 1, place.steps, lr, loss, validation_px, per_s, seconds))
    all_steps = place.steps + (epochs - place.epoch) * per_epoch - -(-place.position // run.job.config.batch_size)
    left = (all_steps - place.steps) * run.job.config.batch_size / per_s if per_s else 0.0
    listener.show(Progress(place.epoch + 1, epochs, place.steps, all_steps, loss, per_s, left))
    run.loss.zero_()
    run.place = replace(place, loss_sum=0.0, loss_count=0)


def _open_logs(keeping: Keeping, step: int) -> list[Log]:
    try:
        logs: list[Log] = [CsvLog(keeping.folder, step)]
        if keeping.tensorboard:
            logs.append(TensorBoardLog(keeping.folder, step))
    except OSError as error:
        raise CheckpointError(f"{keeping.folder}: cannot be written ({error.strerror}); choose another --out") from None
    return logs


def _check_same(begun: Checkpoint, job: Job, folder: Path) -> None:
    """Reject a folder with another training."""
    difference = begun.domain.difference(job.domain)
    old, new = begun.config.model_dump(exclude={"name"}), job.config.model_dump(exclude={"name"})
    for field in old:
        if not difference and old[field] != new[field]:
            difference = f"config.{field}: {old[field]} there, {new[field]} here"
    if not difference and begun.history != job.history:
        difference = f"trained on {begun.history[-1].name} there, on {job.history[-1].name} with other content here"
    if difference:
        raise CheckpointError(f"{folder}: contains another training ({difference}); choose another --out")
