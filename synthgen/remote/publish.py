"""The steps of every push to the Hugging Face Hub: inspect, compare digests, upload, compare again, tag."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from synthgen.errors import RemoteError
from synthgen.remote.address import MAIN, Address
from synthgen.remote.hub import Hub
from synthgen.remote.hub_files import Change, RemoteFile
from synthgen.remote.progress import Meter, TransferListener


@dataclass(frozen=True)
class PushOptions:
    """How a folder is published."""

    private: bool = False
    """Create new repositories as private."""
    tag: str | None = None
    """A tag for the commit, such as v1.0.0."""
    dry_run: bool = False
    """Check everything without writing."""


@dataclass(frozen=True)
class PushReport:
    """What a push did, or would do."""

    address: Address
    """With the commit; after a dry run with the branch."""
    sent: tuple[str, ...]
    """Paths of the files that were new or had changed."""
    sent_bytes: int
    deleted: tuple[str, ...]
    unchanged: int


@dataclass(frozen=True)
class Remote:
    """A repository before a push."""

    head: Address | None
    """The parent commit; None if there is no repository."""
    has_branch: bool
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Commits by name."""


@dataclass(frozen=True)
class Content:
    """The intended content of a repository."""

    root: Path
    sums: Mapping[str, str]
    """SHA-256 of each file, by its path in the folder and in the repository."""
    stale: tuple[str, ...]
    """Files of the repository to delete."""
    last: Collection[str]
    """Paths of the last commit, which also deletes stale files."""
    title: str
    """Of that commit."""
    bulk: str
    """Description of the files in earlier commits."""
    tag_message: str


def look(hub: Hub, address: Address, options: PushOptions) -> Remote:
    """Return the state of a repository after checking that it can be pushed to.

    Raises:
        RemoteError: It is public although private was requested, or the revision is a tag.

    """
    private = hub.is_private(address)
    if private is None:
        return Remote(None, has_branch=False)
    if options.private and not private:
        raise RemoteError(
            f"--private: {address.repo} already exists and is public; change its settings, or omit --private"
        )
    branches, tags = hub.refs(address)
    has_branch = address.revision in branches
    if not has_branch and address.revision in tags:
        raise RemoteError(f"--revision: value {address.revision}; it is a tag, give a branch")
    head = hub.resolve(address if has_branch else replace(address, revision=MAIN))  # a new branch starts here
    return Remote(head, has_branch, hub.files(head), tags)


def publish(
    hub: Hub, address: Address, before: Remote, content: Content, options: PushOptions, listener: TransferListener
) -> PushReport:
    """Make a repository hold a content; repeating it sends nothing, and an interrupted call is resumed.

    Args:
        hub: The Hub.
        address: Repository and branch.
        before: Its current state.
        content: Its intended content.
        options: How to push.
        listener: Receives progress.

    Raises:
        RemoteError: The tag exists on another commit, or the Hub cannot be used.

    """
    changed = differing(content, before.files)
    _check_tag(before, options.tag, changes=bool(changed or content.stale))
    size = sum((content.root / path).stat().st_size for path in changed)
    unchanged = len(content.sums) - len(changed)
    report = PushReport(before.head or address, tuple(changed), size, content.stale, unchanged)
    if options.dry_run:
        return report
    if not before.has_branch:
        hub.create(address, private=options.private)
    _send(hub, address, content, changed, listener)
    pinned = hub.resolve(address)
    wrong = differing(content, hub.files(pinned))
    if wrong:
        raise RemoteError(f"{pinned}: {len(wrong)} files differ from those sent, first {wrong[0]}; push again")
    if options.tag and options.tag not in before.tags:
        hub.tag(pinned, options.tag, content.tag_message)
    return replace(report, address=pinned)


def differing(content: Content, remote: Mapping[str, RemoteFile]) -> list[str]:
    """Return the sorted paths of a content that differ in a repository."""
    return sorted(
        path for path, sha256 in content.sums.items() if not _same(content.root / path, sha256, remote.get(path))
    )


def _same(path: Path, sha256: str, there: RemoteFile | None) -> bool:
    if there is None or there.sha256:
        return there is not None and there.sha256 == sha256
    with path.open("rb") as file:
        return there.holds(file)


def _check_tag(before: Remote, tag: str | None, *, changes: bool) -> None:
    """Reject a tag that already exists on another commit."""
    commit = before.tags.get(tag) if tag else None
    if commit and before.head and (changes or commit != before.head.revision):
        raise RemoteError(f"--tag: value {tag}; it already exists on commit {commit[:8]}, choose another")


def _send(hub: Hub, address: Address, content: Content, changed: list[str], listener: TransferListener) -> None:
    bulk = tuple(path for path in changed if path not in content.last)
    last = tuple(path for path in changed if path in content.last)
    changes = (Change(f"{content.title}: {content.bulk}", bulk), Change(content.title, last, content.stale))
    size = sum((content.root / path).stat().st_size for path in changed)
    meter = Meter("uploading", len(changed), size, listener)
    for change in changes:
        if change.add or change.delete:
            hub.upload(address, content.root, change, meter)
