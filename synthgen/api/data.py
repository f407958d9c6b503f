"""Datasets: opening, checking, publishing and downloading them."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.datasets.dataset import Dataset
    from synthgen.generator.dataset.verify import VerifyReport
    from synthgen.generator.hub.pull import PullReport
    from synthgen.remote.publish import PushReport


def open_dataset(data: str | Path, *, cache: str | Path | None = None) -> "Dataset":
    """Open a rendered dataset, wherever it is, as a sequence of samples.

    Args:
        data: A folder; ``https://…``, the address of such a folder; or ``hf://datasets/owner/name[@revision]``.
        cache: Folder that keeps what is fetched; ``$SYNTHGEN_CACHE`` or the user's cache if None.

    Returns:
        The dataset: ``len(dataset)``; ``dataset[i]``, a sample as `draw` returns it; ``dataset[a:b]``, a list; it can
        be iterated. ``.split("train")``, ``"validation"`` or ``"test"`` is the sequence of one split. ``.landmarks``
        holds the K names, ``.spec`` the spec. A file's SHA-256 is verified before anything in it is used, and remote
        shards are fetched when the first sample of theirs is asked for.

    Raises:
        SynthgenError: There is no sealed dataset there, it is damaged, or it cannot be reached.

    Example:
        ``synthgen.open_dataset("hands").split("test")[0].landmarks_mm``

    """
    from synthgen.api.log import LogListener
    from synthgen.datasets.opening import open_dataset as open_checked
    from synthgen.remote.content_cache import ContentCache, cache_folder

    kept = ContentCache((Path(cache) if cache else cache_folder()).absolute())
    return open_checked(data, kept, LogListener())


def verify(data: str | Path, *, rerender: int = 0, engine: str | None = None, seed: int = 0) -> "VerifyReport":
    """Check every checksum, archive, sample, label and count of a dataset, as ``synthgen verify`` does.

    Args:
        data: A dataset folder, or ``hf://datasets/owner/name[@revision]``.
        rerender: Render this many random samples again and compare them.
        engine: ``blender`` or ``raster``, by which to render them; the dataset's if None.
        seed: Chooses the samples.

    Returns:
        What was found: ``.problems``, a line each and none for a sound dataset; ``.samples``, ``.shards``, ``.bytes``.

    Raises:
        SynthgenError: There is no dataset to check, or the engine cannot run here.

    Example:
        ``assert not synthgen.verify("hands", rerender=5, engine="raster").problems``

    """
    from synthgen.api.log import LogListener
    from synthgen.generator.dataset.verify import VerifyOptions, verify_dataset
    from synthgen.remote.address import is_remote, parse_address

    options = VerifyOptions(rerender, engine, seed)
    if is_remote(str(data)):
        from synthgen.generator.hub.pull import verify_remote

        return verify_remote(parse_address(str(data)), options, LogListener())
    return verify_dataset(Path(data), options, LogListener())


def push(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    tag: str | None = None,
    revision: str | None = None,
    dry_run: bool = False,
) -> "PushReport":
    """Publish a dataset or a network on the Hugging Face Hub. Call it again to resume; an equal repository is kept.

    Args:
        folder: Folder of a sealed dataset, or of a trained network.
        repo: ``owner/name``; created if it does not exist.
        private: Create it as a private repository.
        tag: Name for the commit, such as ``v1.0.0``.
        revision: Branch; ``main`` if None.
        dry_run: Check everything and write nothing.

    Returns:
        What was done: ``.address`` with the commit, the paths ``.sent`` and ``.deleted``, and how many are
        ``.unchanged``.

    Raises:
        SynthgenError: The folder is not sound, the token may not write there, the repository holds something else, or
            the Hub cannot be used.

    Example:
        ``synthgen.push("hands", "user/synthgen-hand", tag="v1.0.0")``

    """
    from synthgen.api.log import LogListener
    from synthgen.api.publishing import push_folder
    from synthgen.remote.publish import PushOptions

    return push_folder(Path(folder), (repo, revision), PushOptions(private, tag, dry_run), LogListener())


def pull(
    repo: str, out: str | Path, *, shards: str | None = None, split: str | None = None, revision: str | None = None
) -> "PullReport":
    """Download a dataset, or a part of it, from the Hugging Face Hub. Call it again to resume.

    Args:
        repo: ``owner/name[@revision]``, or ``hf://datasets/owner/name[@revision]``.
        out: Dataset folder: new, empty, or of the same dataset.
        shards: Only these, for example ``"0-3"``.
        split: Only ``train``, ``validation`` or ``test``.
        revision: Branch, tag or commit; ``main`` if None.

    Returns:
        What was done: ``.files`` and ``.bytes`` downloaded, ``.shards`` that are here now, and whether the dataset is
        ``.sealed``, which means complete.

    Raises:
        SynthgenError: The repository holds no dataset or a damaged one, the folder holds something else, or the Hub
            cannot be used.

    Example:
        ``synthgen.pull("user/synthgen-hand@v1.0.0", "hands", split="validation")``

    """
    from synthgen.api.log import LogListener
    from synthgen.generator.hub.pull import PullOptions
    from synthgen.generator.hub.pull import pull as pull_dataset
    from synthgen.remote.address import parse_address

    address = parse_address(repo, revision=revision)
    return pull_dataset(address, Path(out), PullOptions(shards, split), LogListener())
