"""What `push` of Python and of the command line share: which of the two kinds a folder holds, and where it goes."""

from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import DatasetError, RemoteError, need

if TYPE_CHECKING:
    from synthgen.remote.address import Kind
    from synthgen.remote.progress import TransferListener
    from synthgen.remote.publish import PushOptions, PushReport


def push_folder(
    folder: Path, repo: tuple[str, str | None], options: "PushOptions", listener: "TransferListener"
) -> "PushReport":
    """Publish the dataset or the network in a folder.

    Args:
        folder: The folder.
        repo: Repository, and branch or None.
        options: How.
        listener: Told what happens.

    Raises:
        SynthgenError: The folder holds neither, the repository is of the other kind, or as the push of each kind.

    """
    from synthgen.remote.address import parse_address

    kind = _kind(folder)
    address = parse_address(repo[0], kind, repo[1])
    if address.kind != kind:
        raise RemoteError(
            f"--repo: value {repo[0]}; this is the address of a {address.kind}, but {folder} holds a {kind}"
        )
    if kind == "dataset":
        from synthgen.generator.hub.push import push

        return push(folder, address, options, listener)
    need("torch", "safetensors")
    from synthgen.training.hub.push import push_model

    return push_model(folder, address, options, listener)


def _kind(folder: Path) -> "Kind":
    """Return what a folder holds, by the files in it."""
    from synthgen.storage.dataset_paths import CHECKSUMS, MANIFEST, SPEC

    dataset = any((folder / name).is_file() for name in (CHECKSUMS, MANIFEST, SPEC))
    model = (folder / "checkpoint.json").is_file()
    if dataset and model:
        raise DatasetError(f"{folder}: holds both a dataset and a network; keep them in separate folders")
    if not dataset and not model:
        raise DatasetError(
            f"{folder}: holds neither a dataset nor a network; give a folder written by `synthgen render`, `train` or "
            "`finetune`"
        )
    return "dataset" if dataset else "model"
