"""Training: updates of a network's weights by the batches of some epochs, as a recipe says.

What an update does depends on the weights, the momentum, the batch, the rate and the seed of its dropout, and all of
these on the place in the training alone. So a training that was killed goes on from its last checkpoint to the same
weights, bit for bit on a CPU with the same number of threads.
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
from synthgen.training.loop.device import Machine
from synthgen.training.loop.job import Job, Keeping, Listener, Progress
from synthgen.training.loop.log import CsvLog, Line, Log, TensorBoardLog
from synthgen.training.loop.optimizer import build_optimizer, remember, remembered
from synthgen.training.loop.out_of_memory import is_out_of_memory, largest_batch
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.paper_net import build_model
from synthgen.training.streaming.batches import Batches, prefetched
from synthgen.training.streaming.preparation import Batch

SHORT_EPOCH_S = 30.0
"""Epochs on a few scans are one update; to write all weights after each would take longer than the update."""


def train(job: Job, machine: Machine, keeping: Keeping | None = None, listener: Listener | None = None) -> Checkpoint:
    """Train a network, or go on with a training that was interrupted.

    Args:
        job: What is to be trained.
        machine: How to compute; of several processes each calls this, in `machine.processes`.
        keeping: What is written; None keeps the result in memory alone.
        listener: Who is told about it.

    Returns:
        The trained network.

    Raises:
        CheckpointError: The folder holds another training, or cannot be written.
        SynthgenError: The batch does not fit into memory, or the loss is no number any more.

    """
    listener = listener or Silent()
    if not machine.same_everywhere(job.history[-1].sha256):
        raise SynthgenError("--data: the processes see different datasets; name a tag or a commit, which do not move")
    begun = load_checkpoint(keeping.folder) if keeping and has_checkpoint(keeping.folder) else None
    if begun and keeping:
        _check_same(begun, job, keeping.folder)
        if begun.finished:
            return begun
        listener.say(f"{keeping.folder}: goes on in epoch {begun.place.epoch + 1} after {begun.place.updates} updates")
    run = _Run(job, machine, begun)
    logs = _open_logs(keeping, run.place.updates) if keeping and machine.ranks.rank == 0 else []
    devices = [machine.device] if machine.on_gpu else []
    try:
        with torch.random.fork_rng(devices=devices):  # dropout draws from torch's own generators
            return _epochs(run, keeping, logs, listener)
    finally:
        for log in logs:
            log.close()


def evaluate(model: nn.Module, batches: Batches, labels: LabelSpace, machine: Machine) -> float:
    """Return the mean error of all landmarks that are known, in patch pixels; NaN where none is."""
    total, count = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for batch in prefetched(batches, 0, machine.threads):
            with machine.precision():
                found = model(machine.images(batch.images)).float().cpu()
            errors = labels.decode(found)[..., :2] - labels.decode(batch.targets)[..., :2]
            distances = errors.double().square().sum(dim=-1).sqrt()
            known = ~torch.isnan(distances)
            total, count = total + float(distances[known].sum()), count + int(known.sum())
    return total / count if count else float("nan")


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, machine: Machine, clip: float | None = None
) -> Tensor:
    """Update the weights by one batch, its gradient no longer than ``clip``; return its loss, still on the device."""
    images, targets = machine.images(batch.images), machine.tensor(batch.targets)
    with machine.precision():
        # Several processes' gradients are averaged, so each divides by its even share of the batch.
        loss = model(images, targets, batch.total / machine.ranks.count)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.detach()


class _Run:
    """A training in memory."""

    def __init__(self, job: Job, machine: Machine, begun: Checkpoint | None) -> None:
        recipe, domain = job.recipe, job.domain
        self.job, self.machine, self.place = job, machine, begun.place if begun else Place()
        labels = label_space(domain, recipe)
        model = build_model(recipe.arch, labels, len(domain.landmarks), recipe.dropout, recipe.seed)
        weights = begun.weights if begun else job.weights
        if weights is not None:
            try:
                model.load_state_dict(weights)
            except RuntimeError:
                raise CheckpointError(f"weights: are not those of network {recipe.arch} for this data") from None
        self.model = machine.place(model)
        self.running = machine.wrap(self.model)
        self.optimizer = build_optimizer(self.model, recipe)
        if begun:
            remember(self.optimizer, self.model, begun.momentum, begun.place.updates)
        self.loss = torch.tensor(self.place.loss_sum, dtype=torch.float64, device=machine.device)
        self.began, self.samples = time.monotonic(), 0

    @property
    def labels(self) -> LabelSpace:
        return label_space(self.job.domain, self.job.recipe)

    def update(self, batch: Batch, rate: float) -> None:
        """Do one update."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        seed = stream(self.job.recipe.seed, self.place.updates, f"dropout/{self.machine.ranks.rank}")
        torch.manual_seed(int(seed.integers(2**63)))
        self.model.train()
        try:
            self.loss += train_step(self.running, self.optimizer, batch, self.machine, self.job.recipe.clip)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise SynthgenError(self._too_large(batch)) from None
        place = self.place
        self.samples += batch.total
        self.place = replace(
            place, position=place.position + batch.total, updates=place.updates + 1, loss_count=place.loss_count + 1
        )

    def checkpoint(self) -> Checkpoint:
        """Return what is needed to go on.

        Raises:
            SynthgenError: There is no going on: a weight is no number.
        """
        place = replace(self.place, loss_sum=float(self.loss))
        weights = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
            raise self.diverged("a weight is no number")
        momentum = remembered(self.optimizer, self.model) if place.epoch < self.job.recipe.epochs else {}
        return Checkpoint(self.job.domain, self.job.recipe, self.job.history, place, weights, momentum)

    def diverged(self, what: str) -> SynthgenError:
        """Return the error of a training that leads nowhere any more."""
        recipe = self.job.recipe
        fix = "or lower clip" if recipe.clip else "or set clip to 1"
        return SynthgenError(f"rate.first: value {recipe.rate.first:g}; {what} after {self.place.updates} updates, "
                             f"lower the rate {fix}, in the recipe")  # fmt: skip

    def mean_loss(self) -> float:
        """Return the mean loss since the last line of the log, over all processes."""
        return self.machine.total(self.loss.clone()) / (max(self.place.loss_count, 1) * self.machine.ranks.count)

    def _too_large(self, batch: Batch) -> str:
        self.optimizer.zero_grad(set_to_none=True)
        name = f"batch: value {self.job.recipe.batch} does not fit into the memory of {self.machine.device}"

        def attempt(samples: int) -> None:
            shape, device = (samples, *batch.images.shape[1:]), self.machine.device
            loss = self.model(self.machine.images(torch.zeros(shape, dtype=batch.images.dtype))).sum()
            loss.backward()
            self.optimizer.zero_grad(set_to_none=True)
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)

        fits = largest_batch(attempt, len(batch) // 2) * self.machine.ranks.count
        return f"{name}; {f'{fits} fits, set batch to it' if fits else 'not even 1 fits, use another device'}"


def _epochs(run: _Run, keeping: Keeping | None, logs: list[Log], listener: Listener) -> Checkpoint:
    recipe, machine = run.job.recipe, run.machine
    saved = time.monotonic()
    while run.place.epoch < recipe.epochs:
        batches = run.job.data.epoch(run.place.epoch)
        start = run.place.position // recipe.batch
        for number, batch in enumerate(prefetched(batches, start, machine.threads), start):
            rate = recipe.rate.at(run.place.epoch, recipe.epochs, number / len(batches))
            run.update(batch, rate)
            if number + 1 == len(batches):
                break
            if keeping and run.place.updates % keeping.log_every == 0:
                _tell(run, (rate, len(batches)), logs, listener)
            if keeping and time.monotonic() - saved >= keeping.save_every_s:
                _save(run, keeping)
                saved = time.monotonic()
        error = evaluate(run.model, run.job.validation, run.labels, machine) if run.job.validation else None
        _tell(run, (rate, len(batches)), logs, listener, error)
        run.place = replace(run.place, epoch=run.place.epoch + 1, position=0)
        ended, rest = run.place.epoch == recipe.epochs, min(SHORT_EPOCH_S, keeping.save_every_s if keeping else 0.0)
        if keeping and (ended or time.monotonic() - saved >= rest):
            _save(run, keeping)
            saved = time.monotonic()
    return run.checkpoint()


def _save(run: _Run, keeping: Keeping) -> None:
    if run.machine.ranks.rank == 0:
        save_checkpoint(keeping.folder, run.checkpoint())


def _tell(
    run: _Run, pace: tuple[float, int], logs: list[Log], listener: Listener, validation_px: float | None = None
) -> None:
    """Write a line of the log, and begin the next mean."""
    rate, per_epoch = pace
    loss, place, epochs = run.mean_loss(), run.place, run.job.recipe.epochs
    if not math.isfinite(loss):
        raise run.diverged(f"the loss is {loss:g}")
    seconds = time.monotonic() - run.began
    per_s = run.samples / seconds if seconds > 0 else 0.0
    for log in logs:
        log.write(Line(place.epoch + 1, place.updates, rate, loss, validation_px, per_s, seconds))
    all_updates = place.updates + (epochs - place.epoch) * per_epoch - -(-place.position // run.job.recipe.batch)
    left = (all_updates - place.updates) * run.job.recipe.batch / per_s if per_s else 0.0
    listener.show(Progress(place.epoch + 1, epochs, place.updates, all_updates, loss, per_s, left))
    run.loss.zero_()
    run.place = replace(place, loss_sum=0.0, loss_count=0)


def _open_logs(keeping: Keeping, updates: int) -> list[Log]:
    try:
        logs: list[Log] = [CsvLog(keeping.folder, updates)]
        if keeping.tensorboard:
            logs.append(TensorBoardLog(keeping.folder, updates))
    except OSError as error:
        raise CheckpointError(f"{keeping.folder}: cannot be written ({error.strerror}); choose another --out") from None
    return logs


def _check_same(begun: Checkpoint, job: Job, folder: Path) -> None:
    """Refuse to go on with another training."""
    difference = begun.domain.difference(job.domain)
    old, new = begun.recipe.model_dump(exclude={"name"}), job.recipe.model_dump(exclude={"name"})
    for field in old:
        if not difference and old[field] != new[field]:
            difference = f"recipe.{field}: {old[field]} there, {new[field]} here"
    if not difference and begun.history != job.history:
        difference = f"trained on {begun.history[-1].name} there, on {job.history[-1].name} of another content here"
    if difference:
        raise CheckpointError(f"{folder}: holds another training ({difference}); choose another --out")
