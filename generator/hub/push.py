"""Publishes a dataset folder on the Hugging Face Hub; the folder is verified first, the upload checked afterwards."""

import json
from pathlib import Path

from synthgen.errors import DatasetError, RemoteError
from synthgen.generator.dataset.folder import open_folder
from synthgen.generator.dataset.manifest import DatasetInfo
from synthgen.generator.dataset.verify import verify_dataset
from synthgen.progress import Silent
from synthgen.remote.address import Address
from synthgen.remote.hub import Hub
from synthgen.remote.progress import TransferListener
from synthgen.remote.publish import Content, PushOptions, PushReport, Remote, look, publish
from synthgen.storage.atomic_files import file_sha256
from synthgen.storage.dataset_paths import CHECKSUMS, LAST, MANIFEST, is_managed, read_checksums

_MANIFEST_BYTES = 64 * 2**20


def push(
    root: Path,
    address: Address,
    options: PushOptions | None = None,
    listener: TransferListener | None = None,
    hub: Hub | None = None,
) -> PushReport:
    """Publish a dataset folder; called again, it resumes an interrupted push, and uploads nothing if nothing changed.

    Shards, tables and pictures are uploaded first; card, manifest, checksums and deletions follow in one commit. So
    readers of the branch see the new card only when everything it describes is there.

    Args:
        root: The folder, sealed.
        address: Repository and branch.
        options: How to push.
        listener: Receives messages and progress.
        hub: The Hub; None uses the user's configuration.

    Raises:
        SynthgenError: The token has no write access, the folder is incomplete or damaged, the repository holds
            another dataset, or the Hub cannot be used.

    """
    options, listener = options or PushOptions(), listener or Silent()
    hub = hub or Hub(listener)
    account = hub.sign_in(address)
    _check_folder(root, listener)
    info, before = open_folder(root).info, look(hub, address, options)
    _check_same_dataset(hub, before, info)
    if not options.dry_run:
        listener.say(f"pushing to {address} as {account}")
    return publish(hub, address, before, _content(root, info, before), options, listener)


def _check_folder(root: Path, listener: TransferListener) -> None:
    listener.say(f"checking {root}")
    problems = verify_dataset(root, listener=listener).problems
    if problems:
        more = f" (and {len(problems) - 1} more; `synthgen verify {root}` lists them)" if len(problems) > 1 else ""
        raise DatasetError(f"nothing was pushed: {problems[0]}{more}")


def _check_same_dataset(hub: Hub, before: Remote, info: DatasetInfo) -> None:
    """Check that the repository does not hold a dataset of another name."""
    there = before.files.get(MANIFEST)
    if before.head is None or there is None or there.bytes > _MANIFEST_BYTES:
        return
    try:
        stored = json.loads(hub.read(before.head, there))
    except (ValueError, RecursionError):
        stored = None
    name = stored.get("name") if isinstance(stored, dict) else None
    if name != info.name:
        raise RemoteError(
            f"{before.head.repo}: holds the dataset {name!r:.60}, not {info.name!r}; choose another --repo"
        )


def _content(root: Path, info: DatasetInfo, before: Remote) -> Content:
    sums = read_checksums(root) | {CHECKSUMS: file_sha256(root / CHECKSUMS)}
    return Content(
        root=root,
        sums=sums,
        stale=tuple(sorted(path for path in before.files if is_managed(path) and path not in sums)),
        last=LAST,
        title=f"{info.title}: {info.count:,} samples, spec {info.spec_sha256[:8]}",
        bulk="shards and tables",
        tag_message=f"{info.title}, {info.count:,} samples",
    )
