"""Opening a dataset by its address: a folder, a web server, or a repository of the Hugging Face Hub."""

from pathlib import Path

from synthgen.datasets.dataset import Dataset, read_dataset
from synthgen.datasets.remote import RemoteSource, open_remote
from synthgen.datasets.source import Folder, Source
from synthgen.errors import DatasetError
from synthgen.quantities import byte_size
from synthgen.remote.content_cache import ContentCache
from synthgen.remote.progress import TransferListener
from synthgen.storage.dataset_paths import CHECKSUMS, SPEC


def open_dataset(
    address: str | Path, cache: ContentCache | None = None, listener: TransferListener | None = None
) -> Dataset:
    """Open a sealed dataset; arguments and errors as `open_source` and `read_dataset`."""
    return read_dataset(open_source(address, cache, listener))


def open_source(
    address: str | Path, cache: ContentCache | None = None, listener: TransferListener | None = None
) -> Source:
    """Return where the bytes of a dataset come from.

    Args:
        address: A folder; ``https://…``, which is a folder on any web server; or ``hf://datasets/owner/name``, at whose
            end ``@revision`` may stand.
        cache: Keeps what is fetched; None: nothing is kept.
        listener: Told of waits, and how much has come.

    Raises:
        SynthgenError: Nothing is known to be there.

    """
    if isinstance(address, str) and "://" in address:
        return open_remote(address, cache, listener)
    root = Path(address)
    if not (root / CHECKSUMS).is_file():
        state = "is not sealed" if (root / SPEC).is_file() else "is not a dataset folder"
        raise DatasetError(f"{root}: {state} (no {CHECKSUMS}); give a folder that `synthgen render` has finished")
    return Folder(root)


def announce(dataset: Dataset, samples: int | None, listener: TransferListener) -> None:
    """Say where the files of a dataset will be and how large they are, before they come; of a folder, nothing.

    Args:
        dataset: An open dataset.
        samples: How many are trained on, the first ones; None: all.
        listener: Told.

    """
    source = dataset.source
    if not isinstance(source, RemoteSource):
        return
    needed, left = [], sum(shard.samples for shard in dataset.shards) if samples is None else samples
    for shard in dataset.shards:
        if shard.split != "train" or left > 0:
            needed.append(shard)
        left -= shard.samples if shard.split == "train" else 0
    size = sum(shard.bytes for shard in needed)
    told = f"{source.address}: at most {byte_size(size)} in {len(needed)} shards"
    if source.cache is None:
        listener.say(f"{told}; nothing is kept, and what does not stay in memory is fetched again each epoch")
        return
    missing = size - sum(shard.bytes for shard in needed if source.cache.has(shard.sha256, shard.bytes))
    listener.say(f"{told}, kept in {source.cache.root}; {byte_size(size - missing)} are there already")
    free = source.cache.free_bytes()
    if missing > free:
        listener.say(f"{source.cache.root}: only {byte_size(free)} are free there; name another folder by --cache")
