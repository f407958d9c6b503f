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
        address: A folder; ``https://…``, which is a folder on any web server; or ``hf://datasets/owner/name``,
            optionally with ``@revision``.
        cache: Stores downloads; None: nothing is stored.
        listener: Receives progress, and messages about retries.

    Raises:
        SynthgenError: The address is invalid or cannot be reached, or there is no sealed dataset.

    """
    if isinstance(address, str) and "://" in address:
        return open_remote(address, cache, listener)
    root = Path(address)
    if not (root / CHECKSUMS).is_file():
        state = "is not sealed" if (root / SPEC).is_file() else "is not a dataset folder"
        raise DatasetError(f"{root}: {state} (no {CHECKSUMS}); give a folder that `synthgen render` has finished")
    return Folder(root)


def announce(dataset: Dataset, samples: int | None, listener: TransferListener) -> None:
    """Report how much of a remote dataset will be downloaded, and where it is cached; nothing for a folder.

    Args:
        dataset: An open dataset.
        samples: Number of samples that are used, the first ones; None: all.
        listener: Receives the report.

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
    line = f"{source.address}: at most {byte_size(size)} in {len(needed)} shards"
    if source.cache is None:
        listener.say(f"{line}; not cached: what does not fit in memory is downloaded again each epoch")
        return
    missing = size - sum(shard.bytes for shard in needed if source.cache.has(shard.sha256, shard.bytes))
    listener.say(f"{line}, cached in {source.cache.root}; {byte_size(size - missing)} are cached already")
    free = source.cache.free_bytes()
    if missing > free:
        listener.say(f"{source.cache.root}: only {byte_size(free)} are free; choose another folder with --cache")
