"""Checkpoints: a network's domain, training config, weights and progress. JSON and safetensors, never pickle.

A folder holds one checkpoint: ``checkpoint.json`` names the files of tensors with their digests and is written last. So
the folder holds a complete checkpoint or none, whatever happens.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

import synthgen
from synthgen.errors import SynthgenError
from synthgen.specs.domain import Domain
from synthgen.specs.renamed import CHECKPOINT, renames
from synthgen.storage.atomic_files import write_file
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.paper_net import build_model, count_parameters

FORMAT, VERSION = "synthgen-checkpoint", 3
NETWORK_FILE = "checkpoint.json"
MAX_CARD_BYTES = 4 * 2**20
_MAX_TENSORS_BYTES = 16 * 2**30
_MAX_HEADER_BYTES = 2**20
"""Maximum size of a tensor file beyond twice its float32 tensors, which leaves room to report another type as such."""
WEIGHTS, _OPTIMIZER = "weights", "optimizer"
_NAME = re.compile(r"(weights|optimizer)-[0-9]{9,15}\.safetensors")

Tensors = dict[str, Tensor]


SeenKind = Literal["dataset", "spec", "scan set"]


class CheckpointError(SynthgenError):
    """A checkpoint that is missing, damaged, from a newer version, or from another training."""


@dataclass(frozen=True)
class TrainedOn:
    """Data that a network has seen."""

    kind: SeenKind
    name: str
    sha256: str
    """SHA-256 of the dataset's manifest, of the resolved spec without its count, or of the scan set's file."""


@dataclass(frozen=True)
class Place:
    """The position in a training."""

    epoch: int = 0
    """Current epoch, from 0."""
    position: int = 0
    """Completed samples of that epoch."""
    steps: int = 0
    """Optimizer steps so far, over all epochs."""
    loss_sum: float = 0.0
    """Sum of losses over the steps since the previous row of the log."""
    loss_count: int = 0


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors, as listed in ``checkpoint.json``."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Network:
    """A network's domain and how it was trained."""

    domain: Domain
    config: TrainingConfig
    history: tuple[TrainedOn, ...]
    """The data of all its trainings, the latest last."""
    place: Place

    @property
    def finished(self) -> bool:
        """Whether the training has ended."""
        return self.place.epoch >= self.config.epochs

    @property
    def labels(self) -> LabelSpace:
        """How the network's outputs become landmarks."""
        return label_space(self.domain, self.config)


@dataclass(frozen=True)
class Card(_Network):
    """What ``checkpoint.json`` holds."""

    files: Mapping[str, TensorFile]
    """By kind: weights always, optimizer until the training has ended."""


@dataclass(frozen=True)
class Checkpoint(_Network):
    """A network, its domain and how it was trained."""

    weights: Tensors
    optimizer_state: Tensors
    """Empty once the training has ended."""

    def model(self) -> nn.Module:
        """Return the network, on the CPU, ready to predict.

        Raises:
            CheckpointError: The weights do not match the network.

        """
        model = _empty_model(self.domain, self.config)
        expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
        if expected != {name: tensor.shape for name, tensor in self.weights.items()}:
            raise CheckpointError(f"weights: do not match network {self.config.arch}; restore the checkpoint")
        model.load_state_dict({name: tensor.clone() for name, tensor in self.weights.items()}, assign=True)
        return model.eval()


def label_space(domain: Domain, config: TrainingConfig) -> LabelSpace:
    """Return how landmarks become the targets of a network."""
    return LabelSpace(domain.width, domain.height, config.label_range, config.input == "depth")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, replacing the one in the folder.

    Raises:
        CheckpointError: The folder cannot be written.

    """
    files = {}
    try:
        for kind, tensors in ((WEIGHTS, checkpoint.weights), (_OPTIMIZER, checkpoint.optimizer_state)):
            if tensors:
                content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
                name = f"{kind}-{checkpoint.place.steps:09d}.safetensors"
                write_file(folder / name, content)
                sha256 = hashlib.sha256(content).hexdigest()
                files[kind] = {"file": name, "bytes": len(content), "sha256": sha256}
        card = {
            "format": FORMAT,
            "version": VERSION,
            "synthgen": synthgen.__version__,
            "domain": checkpoint.domain.to_json(),
            "label_range": [-checkpoint.config.label_range, checkpoint.config.label_range],
            "config": checkpoint.config.model_dump(mode="json"),
            "history": [asdict(data) for data in checkpoint.history],
            "place": asdict(checkpoint.place),
            "files": files,
        }
        write_file(folder / NETWORK_FILE, (json.dumps(card, indent=2, allow_nan=False) + "\n").encode())
        for path in folder.glob("*.safetensors"):
            if path.name not in {file["file"] for file in files.values()}:
                path.unlink()
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None


def has_checkpoint(folder: Path) -> bool:
    """Return whether a folder has a checkpoint."""
    return (folder / NETWORK_FILE).is_file()


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: It is missing, damaged, or of another version.

    """
    card = load_card(folder)
    weights = _read_tensors(folder, card.files[WEIGHTS])
    state = _read_tensors(folder, card.files[_OPTIMIZER]) if _OPTIMIZER in card.files else {}
    return Checkpoint(card.domain, card.config, card.history, card.place, weights, state)


def load_card(folder: Path) -> Card:
    """Read a checkpoint without its tensors.

    Raises:
        CheckpointError: It is missing, damaged, or of another version.

    """
    return parse_card(_read_card(folder / NETWORK_FILE), str(folder / NETWORK_FILE))


def parse_card(content: bytes, where: str) -> Card:
    """Parse a ``checkpoint.json`` from any source; everything in it is checked.

    Args:
        content: The bytes of the file.
        where: Its name in errors.

    Raises:
        CheckpointError: It is not a checkpoint, is damaged, or of another version.

    """
    card = _parse(content, where)
    try:
        domain, config = Domain.from_json(card["domain"]), TrainingConfig.model_validate(card["config"])
        history, place = tuple(_trained_on(**data) for data in card["history"]), _place(**card["place"])
        files = {
            kind: TensorFile(str(f["file"]), int(f["bytes"]), str(f["sha256"])) for kind, f in card["files"].items()
        }
        # Before anything is allocated: the network must be as large as its file.
        needed = 4 * count_parameters(_empty_model(domain, config))
        sound = needed <= files[WEIGHTS].bytes <= 2 * needed + _MAX_HEADER_BYTES
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{where}: is damaged ({text:.100}); restore it or train again") from None
    if not sound or not all(_NAME.fullmatch(file.name) for file in files.values()):
        raise CheckpointError(f"{where}: its files do not match the network; restore it or train again")
    return Card(domain, config, history, place, files)


def check_same_domain(checkpoint: Checkpoint, domain: Domain, model: Path, data: str) -> None:
    """Reject data whose domain differs from the network's.

    Raises:
        CheckpointError: The landmarks, the size or the framing differ.

    """
    difference = checkpoint.domain.difference(domain)
    if difference:
        raise CheckpointError(
            f"{model}: differs from {data} in its domain ({difference}); use data and networks of one spec"
        )


def _empty_model(domain: Domain, config: TrainingConfig) -> nn.Module:
    """Return a network on the meta device: shapes without memory."""
    with torch.device("meta"):
        labels = label_space(domain, config)
        return build_model(config.arch, labels, len(domain.landmarks), config.dropout, config.seed)


def _trained_on(kind: SeenKind, name: str, sha256: str) -> TrainedOn:
    if kind not in get_args(SeenKind) or type(name) is not str or type(sha256) is not str:
        raise ValueError("history: an entry is invalid")
    return TrainedOn(kind, name, sha256)


def _place(**numbers: Any) -> Place:
    for name, value in numbers.items():
        if name != "loss_sum" and (type(value) is not int or value < 0):
            raise ValueError(f"place.{name}: is not an integer from 0")
    return Place(**numbers | {"loss_sum": float(numbers["loss_sum"])})


def _read_card(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_CARD_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing; give a folder that `synthgen train` wrote") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); restore it or train again") from None


def _parse(content: bytes, where: str) -> Mapping[str, Any]:
    try:
        card = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: cannot be read ({str(error)[:100]}); restore it or train again") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError(f"{where}: is not a synthgen checkpoint; give a folder that `synthgen train` wrote")
    version = card.get("version")
    if type(version) is int and version < VERSION:
        raise CheckpointError(
            f"{where}: version {version} is of synthgen 0.1.0 ({renames(CHECKPOINT)}); train it again"
        )
    if version != VERSION:
        raise CheckpointError(
            f"{where}: version {version!r:.20} is newer than {VERSION}, which this program knows; update synthgen"
        )
    return card


def _read_tensors(folder: Path, file: TensorFile) -> Tensors:
    path = folder / file.name
    try:
        if path.stat().st_size != file.bytes or file.bytes > _MAX_TENSORS_BYTES:
            raise CheckpointError(
                f"{path}: is not {file.bytes} bytes long, as {NETWORK_FILE} says; restore it or train again"
            )
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); restore it or train again") from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise CheckpointError(f"{path}: has changed (its SHA-256 differs); restore it or train again")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: is not a safetensors file ({str(error)[:80]}); restore it") from None
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        raise CheckpointError(f"{path}: has tensors that are not float32; restore it or train again")
    return tensors
