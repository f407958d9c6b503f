"""Publishing a model folder on the Hugging Face Hub: verified before, complete and verified after."""

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from synthgen.errors import RemoteError, SynthgenError
from synthgen.progress import Silent
from synthgen.remote.address import Address
from synthgen.remote.hub import Hub
from synthgen.remote.progress import TransferListener
from synthgen.remote.publish import Content, PushOptions, PushReport, Remote, look, publish
from synthgen.storage.atomic_files import write_file
from synthgen.storage.dataset_paths import MANIFEST
from synthgen.training.experiments.cross_validation import PRIOR, RESULTS, read_prior
from synthgen.training.hub.model_card import FIGURE, Model, errors_png, model_card
from synthgen.training.hub.stored_results import read_results
from synthgen.training.loop.checkpoint import (
    MAX_CARD_BYTES,
    NETWORK_FILE,
    WEIGHTS,
    CheckpointError,
    load_checkpoint,
    parse_card,
)

README = "README.md"
_MAX_README_BYTES = 2**20
_FRONT = re.compile(r"\A(?:---\n(.*?)\n?---(?:\n|\Z))?(.*)", re.DOTALL)
_MANAGED = re.compile(r"weights-[0-9]{9,15}\.safetensors")


@dataclass(frozen=True)
class _Folder:
    """A model folder, read and found sound."""

    model: Model
    files: Mapping[str, bytes]
    """What is published of it, by path; the card is not among them, because it names the repository."""


def push_model(
    root: Path,
    address: Address,
    options: PushOptions | None = None,
    listener: TransferListener | None = None,
    hub: Hub | None = None,
) -> PushReport:
    """Publish the folder of a network; run it again to resume, and an unchanged folder uploads nothing.

    Everything is one commit, including deletions, made after the large files have been uploaded. So a repository always
    holds a complete network, or none.

    Args:
        root: A folder of `synthgen train` or `synthgen finetune`.
        address: Repository and branch.
        options: How.
        listener: Receives progress.
        hub: The Hub; None: the user's.

    Raises:
        SynthgenError: The token may not write there, the folder does not hold a finished, valid network, the repository
            holds something else, or the Hub cannot be used. The text says which.

    """
    options, listener = options or PushOptions(), listener or Silent()
    hub = hub or Hub(listener)
    account = hub.sign_in(address)
    listener.say(f"checking {root}")
    try:
        folder = _read(root)
    except SynthgenError as error:
        raise type(error)(f"nothing was pushed: {error}") from None
    before = look(hub, address, options)
    _check_same_model(hub, before, folder.model)
    if not options.dry_run:
        listener.say(f"pushing to {address} as {account}")
    with tempfile.TemporaryDirectory(prefix="synthgen-push-") as name:
        return publish(hub, address, before, _stage(Path(name), folder, address, before), options, listener)


def _read(root: Path) -> _Folder:
    """Read what is published of a model folder, once it is known to be whole."""
    checkpoint = load_checkpoint(root)
    if not checkpoint.finished:
        raise CheckpointError(
            f"{root}: its training has not ended (epoch {checkpoint.place.epoch} of {checkpoint.config.epochs}); give "
            "the same command that began it again"
        )
    checkpoint.model()
    broken = [name for name, tensor in checkpoint.weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{root}: its weights contain NaN or infinity ({broken[0]}); train it again")
    found = read_results(root, checkpoint.domain.landmarks)
    if found is None and any(root.glob("fold-*")):
        raise CheckpointError(f"{root}: its fine-tuning has not ended (no {RESULTS}); give the same command again")
    prior = read_prior(root, len(checkpoint.domain.landmarks))
    content = (root / NETWORK_FILE).read_bytes()
    weights = parse_card(content, str(root / NETWORK_FILE)).files[WEIGHTS]
    files = {weights.name: (root / weights.name).read_bytes(), NETWORK_FILE: published_card(content)}
    if prior is not None:
        files[PRIOR] = (root / PRIOR).read_bytes()
    if found is not None:
        files |= {RESULTS: found[1], FIGURE: errors_png(found[0])}
    return _Folder(Model(checkpoint, found[0] if found else None, prior is not None), files)


def published_card(content: bytes) -> bytes:
    """Return a ``checkpoint.json`` as it is published: without momentum, and without the names of scan sets' files."""
    card = json.loads(content)
    card["files"] = {WEIGHTS: card["files"][WEIGHTS]}
    card["history"] = [data | ({"name": "scan set"} if data["kind"] == "scan set" else {}) for data in card["history"]]
    return (json.dumps(card, indent=2, allow_nan=False) + "\n").encode()


def _check_same_model(hub: Hub, before: Remote, model: Model) -> None:
    """Refuse to put a network over one of another domain, over a dataset, or over somebody's card."""
    head, files = before.head, before.files
    if head is None:
        return
    if MANIFEST in files:
        raise RemoteError(f"{head.repo}: holds a dataset ({MANIFEST}); choose another --repo")
    if NETWORK_FILE in files:
        there = parse_card(_small(hub, head, before, NETWORK_FILE, MAX_CARD_BYTES), f"{head}: {NETWORK_FILE}")
        different = there.domain.difference(model.checkpoint.domain)
        if not different and there.config.input != model.checkpoint.config.input:
            different = f"input: {there.config.input} there, {model.checkpoint.config.input} here"
        if different:
            raise RemoteError(f"{head.repo}: holds a network of another domain ({different}); choose another --repo")
    elif README in files:
        text = _small(hub, head, before, README, _MAX_README_BYTES).decode("utf-8", "replace")
        front, body = _FRONT.match(text.replace("\r\n", "\n")).groups(default="")  # type: ignore[union-attr]
        if body.strip() or re.search("^(library_name|model-index|base_model|pipeline_tag):", front, re.MULTILINE):
            raise RemoteError(f"{head.repo}: holds another model's card ({README}); choose another --repo")


def _small(hub: Hub, head: Address, before: Remote, path: str, limit: int) -> bytes:
    if before.files[path].bytes > limit:
        raise RemoteError(f"{head.repo}: {path}: {before.files[path].bytes} bytes are too many; choose another --repo")
    return hub.read(head, before.files[path])


def _stage(stage: Path, folder: _Folder, address: Address, before: Remote) -> Content:
    """Write exactly what was read and checked, with its card, for the client to send."""
    model = folder.model
    files = {**folder.files, README: model_card(model, address.repo).encode()}
    for path, data in files.items():
        write_file(stage / path, data)
    title = f"{model.title}, config {model.checkpoint.config.name}"
    return Content(
        root=stage,
        sums={path: hashlib.sha256(data).hexdigest() for path, data in files.items()},
        stale=tuple(sorted(path for path in before.files if _is_managed(path) and path not in files)),
        last=tuple(files),
        title=title,
        bulk="",
        tag_message=title,
    )


def _is_managed(path: str) -> bool:
    return path in {NETWORK_FILE, PRIOR, RESULTS, FIGURE} or _MANAGED.fullmatch(path) is not None
