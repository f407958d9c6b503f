"""Publishing a dataset folder on the Hugging Face Hub: verified before, complete and verified after."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from synthgen.address import MAIN, Address
from synthgen.dataset_files import CHECKSUMS, MANIFEST
from synthgen.errors import DatasetError, RemoteError
from synthgen.generator.dataset import open_dataset
from synthgen.generator.layout import LAST, is_managed
from synthgen.generator.manifest import DatasetInfo
from synthgen.generator.seal import read_checksums
from synthgen.generator.verify import verify_dataset
from synthgen.remote import Hub
from synthgen.remote_files import Change, RemoteFile
from synthgen.storage import file_sha256
from synthgen.transfer import Meter, TransferListener, Unheard

_MANIFEST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PushOptions:
    """How a dataset is published."""

    private: bool = False
    """A repository that is made is seen by its owner alone."""
    tag: str | None = None
    """A name for the commit, such as v1.0.0."""
    dry_run: bool = False
    """Check everything, and write nothing."""


@dataclass(frozen=True)
class PushReport:
    """What a push did, or would do."""

    address: Address
    """With the commit; in a dry run with the branch."""
    sent: tuple[str, ...]
    """Paths of the files that were new or had changed."""
    sent_bytes: int
    deleted: tuple[str, ...]
    unchanged: int


@dataclass(frozen=True)
class _Remote:
    """A repository before a push."""

    head: Address | None
    """The commit to which the push adds; None where there is no repository."""
    has_branch: bool
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Commits by name."""


def push(
    root: Path,
    address: Address,
    options: PushOptions | None = None,
    listener: TransferListener | None = None,
    hub: Hub | None = None,
) -> PushReport:
    """Publish a dataset folder; the same again sends nothing, and goes on where an earlier push was stopped.

    Shards, tables and pictures go first, then in one commit card, manifest and checksums, together with what is
    removed; so whoever reads the branch finds the new card only when all that it tells of is there.

    Args:
        root: The folder, sealed.
        address: Repository and branch.
        options: How.
        listener: Told what happens.
        hub: The Hub; None takes the user's.

    Raises:
        SynthgenError: The token may not write there, the folder is not whole and sound, the repository holds another
            dataset, or the Hub cannot be used. The text says which.

    """
    options, listener = options or PushOptions(), listener or Unheard()
    hub = hub or Hub(listener)
    account = hub.sign_in(address)
    _check_folder(root, listener)
    sums = dict(read_checksums(root)) | {CHECKSUMS: file_sha256(root / CHECKSUMS)}
    info, before = open_dataset(root).info, _look(hub, address, options)
    _check_same_dataset(hub, before, info)
    changed = _differing(root, sums, before.files)
    stale = tuple(sorted(path for path in before.files if is_managed(path) and path not in sums))
    _check_tag(before, options.tag, changes=bool(changed or stale))
    size = sum((root / path).stat().st_size for path in changed)
    report = PushReport(before.head or address, tuple(changed), size, stale, len(sums) - len(changed))
    if options.dry_run:
        return report
    listener.say(f"pushing to {address} as {account}")
    if not before.has_branch:
        hub.create(address, private=options.private)
    _send(hub, address, root, _changes(info, changed, stale), listener)
    pinned = hub.resolve(address)
    wrong = _differing(root, sums, hub.files(pinned))
    if wrong:
        raise RemoteError(f"{pinned}: {len(wrong)} files are not those of {root}, first {wrong[0]}; push again")
    if options.tag and options.tag not in before.tags:
        hub.tag(pinned, options.tag, f"{info.title}, {info.count:,} samples")
    return replace(report, address=pinned)


def _check_folder(root: Path, listener: TransferListener) -> None:
    listener.say(f"checking {root}")
    problems = verify_dataset(root, listener=listener).problems
    if problems:
        more = f" (and {len(problems) - 1} more; `synthgen verify {root}` lists them)" if len(problems) > 1 else ""
        raise DatasetError(f"nothing was pushed: {problems[0]}{more}")


def _look(hub: Hub, address: Address, options: PushOptions) -> _Remote:
    private = hub.is_private(address)
    if private is None:
        return _Remote(None, has_branch=False)
    if options.private and not private:
        raise RemoteError(
            f"--private: {address.repo} is there and public; change that in its settings, or leave it out"
        )
    branches, tags = hub.refs(address)
    has_branch = address.revision in branches
    if not has_branch and address.revision in tags:
        raise RemoteError(f"--revision: value {address.revision}; it is a tag, give a branch")
    head = hub.resolve(address if has_branch else replace(address, revision=MAIN))  # where a new branch begins
    return _Remote(head, has_branch, hub.files(head), tags)


def _check_same_dataset(hub: Hub, before: _Remote, info: DatasetInfo) -> None:
    """Refuse to put a dataset over one of another name."""
    there = before.files.get(MANIFEST)
    if before.head is None or there is None or there.bytes > _MANIFEST_BYTES:
        return
    try:
        told = json.loads(hub.read(before.head, there))
    except (ValueError, RecursionError):
        told = None
    name = told.get("name") if isinstance(told, dict) else None
    if name != info.name:
        raise RemoteError(
            f"{before.head.repo}: holds the dataset {name!r:.60}, not {info.name!r}; choose another --repo"
        )


def _check_tag(before: _Remote, tag: str | None, *, changes: bool) -> None:
    """Refuse a tag that names another commit than the one that the push makes."""
    commit = before.tags.get(tag) if tag else None
    if commit and before.head and (changes or commit != before.head.revision):
        raise RemoteError(f"--tag: value {tag}; it names the commit {commit[:8]} already, choose another")


def _differing(root: Path, sums: Mapping[str, str], remote: Mapping[str, RemoteFile]) -> list[str]:
    """Return the files of the folder that are not the same in the repository."""
    differing = []
    for path, sha256 in sums.items():
        there = remote.get(path)
        if there is not None and there.sha256:
            same = there.sha256 == sha256
        elif there is not None:
            with (root / path).open("rb") as file:
                same = there.holds(file)
        else:
            same = False
        if not same:
            differing.append(path)
    return sorted(differing)


def _changes(info: DatasetInfo, changed: list[str], stale: tuple[str, ...]) -> list[Change]:
    bulk = tuple(path for path in changed if path not in LAST)
    last = tuple(path for path in changed if path in LAST)
    told = f"{info.title}: {info.count:,} samples, spec {info.spec_sha256[:8]}"
    changes = [Change(f"{told}: shards and tables", bulk), Change(told, last, stale)]
    return [change for change in changes if change.add or change.delete]


def _send(hub: Hub, address: Address, root: Path, changes: list[Change], listener: TransferListener) -> None:
    paths = [path for change in changes for path in change.add]
    meter = Meter("uploading", len(paths), sum((root / path).stat().st_size for path in paths), listener)
    for change in changes:
        hub.upload(address, root, change, meter)
