"""A model on the Hugging Face Hub as a folder of this machine: fetched once, checked whenever it is asked for.

A repository is trusted no further than its checks go. Of whatever it holds, three files are asked for, by names that
are known beforehand, each with a size that is known before its first byte comes; none of them can run code.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from synthgen.errors import DatasetError, RemoteError
from synthgen.progress import Silent
from synthgen.remote.address import Address
from synthgen.remote.content_cache import VARIABLE, ContentCache, cache_folder
from synthgen.remote.hub import Hub
from synthgen.remote.hub_files import RemoteFile
from synthgen.remote.progress import Meter, TransferListener
from synthgen.storage.atomic_files import file_sha256, write_file
from synthgen.storage.dataset_paths import CHECKSUMS, read_checksums
from synthgen.training.experiments.cross_validation import MAX_PRIOR_BYTES, PRIOR
from synthgen.training.loop.checkpoint import MAX_CARD_BYTES, NETWORK_FILE, WEIGHTS, TensorFile, parse_card

_COMMIT = re.compile("[0-9a-f]{40}")


def fetch_model(
    address: Address, listener: TransferListener | None = None, hub: Hub | None = None, cache: Path | None = None
) -> Path:
    """Return a folder with a network of a repository, which holds what `load_checkpoint` and `read_prior` read.

    The revision is pinned to its commit. What is here already does not come again, and a commit that is here whole is
    used without asking the Hub.

    Args:
        address: Repository and revision.
        listener: Told what happens.
        hub: The Hub; None takes the user's.
        cache: Where fetched files are kept; None takes the user's.

    Raises:
        SynthgenError: The repository holds no finished network of synthgen, a file is not what it should be, or the
            Hub cannot be used.

    """
    if address.kind != "model":
        raise RemoteError(f"{address}: is a dataset; give the address of a model, hf://owner/name")
    listener, root = listener or Silent(), cache or cache_folder()
    if _COMMIT.fullmatch(address.revision) and _is_whole(_folder(root, address)):
        return _folder(root, address)
    hub = hub or Hub(listener)
    pinned = hub.resolve(address)
    folder = _folder(root, pinned)
    if not _is_whole(folder):
        _fetch(hub, pinned, root, listener)
    return folder


def _folder(root: Path, pinned: Address) -> Path:
    return root / "models" / pinned.repo / pinned.revision


def _is_whole(folder: Path) -> bool:
    """Tell whether a folder holds what was fetched, unchanged."""
    try:
        return all(file_sha256(folder / name) == sha256 for name, sha256 in read_checksums(folder).items())
    except (OSError, DatasetError):
        return False


def _fetch(hub: Hub, pinned: Address, root: Path, listener: TransferListener) -> None:
    files, folder, store = hub.files(pinned), _folder(root, pinned), ContentCache(root)
    small = {NETWORK_FILE: _read(hub, pinned, files, NETWORK_FILE, MAX_CARD_BYTES)}
    weights = _weights(pinned, small[NETWORK_FILE], files)
    if PRIOR in files:
        small[PRIOR] = _read(hub, pinned, files, PRIOR, MAX_PRIOR_BYTES)
    listener.say(f"fetching {pinned}")
    meter = Meter("downloading", 1, weights.bytes, listener)
    fetch = partial(hub.download, pinned, files[weights.name], came=meter.count)
    cached = store.get(weights.sha256, weights.bytes, fetch, f"{pinned}: {weights.name}")
    sums = {weights.name: weights.sha256} | {name: hashlib.sha256(data).hexdigest() for name, data in small.items()}
    small[CHECKSUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    try:
        _put(cached, folder / weights.name)
        for name, data in small.items():  # the checksums last
            write_file(folder / name, data)
    except OSError as error:
        raise RemoteError(
            f"{folder}: cannot be written ({error.strerror}); free some space, or choose another folder with "
            f"{VARIABLE} or --cache"
        ) from None


def _read(hub: Hub, pinned: Address, files: Mapping[str, RemoteFile], name: str, limit: int) -> bytes:
    if name not in files:
        raise RemoteError(f"{pinned}: holds no network of synthgen (it lacks {name}); give another repository")
    if files[name].bytes > limit:
        raise RemoteError(f"{pinned}: {name}: {files[name].bytes} bytes are too many; it is not what synthgen writes")
    return hub.read(pinned, files[name])


def _weights(pinned: Address, content: bytes, files: Mapping[str, RemoteFile]) -> TensorFile:
    """Return the file of weights, once the repository's list agrees with the card."""
    card = parse_card(content, f"{pinned}: {NETWORK_FILE}")
    if not card.finished or set(card.files) != {WEIGHTS}:
        raise RemoteError(f"{pinned}: its training has not ended; give another revision, or ask its owner")
    weights = card.files[WEIGHTS]
    there = files.get(weights.name)
    if there is None:
        raise RemoteError(f"{pinned}: lacks {weights.name}, which its {NETWORK_FILE} names; give another revision")
    if there.bytes != weights.bytes or there.sha256 not in {None, weights.sha256}:
        raise RemoteError(f"{pinned}: {weights.name}: is not what its {NETWORK_FILE} says; tell its owner")
    return weights


def _put(cached: Path, to: Path) -> None:
    """Give a fetched file its name, without a second copy where the disk can."""
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}.{os.getpid()}.partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(cached, temporary)
    except OSError:  # another disk, or one without links
        shutil.copyfile(cached, temporary)
    try:
        temporary.replace(to)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()  # rename does nothing where both are one file already
