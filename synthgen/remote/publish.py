"""What every push to the Hugging Face Hub does: look, compare by digests, send, compare again, tag."""

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
class Remote:
    """A repository before a push."""

    head: Address | None
    """The commit to which the push adds; None where there is no repository."""
    has_branch: bool
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    """Commits by name."""


@dataclass(frozen=True)
class Content:
    """What a repository is to hold."""

    root: Path
    sums: Mapping[str, str]
    """SHA-256 of each file, by its path in the folder and in the repository."""
    stale: tuple[str, ...]
    """Files of the repository that are to go."""
    last: Collection[str]
    """Paths that go in the last commit, together with what is removed."""
    title: str
    """Of that commit."""
    bulk: str
    """What the files before it are, for people."""
    tag_message: str


def look(hub: Hub, address: Address, options: PushOptions) -> Remote:
    """Return what a repository holds, once it is known that it may be pushed to.

    Raises:
        RemoteError: It is public and was to be private, or the revision is a tag.

    """
    private = hub.is_private(address)
    if private is None:
        return Remote(None, has_branch=False)
    if options.private and not private:
        raise RemoteError(
            f"--private: {address.repo} is there and public; change that in its settings, or leave it out"
        )
    branches, tags = hub.refs(address)
    has_branch = address.revision in branches
    if not has_branch and address.revision in tags:
        raise RemoteError(f"--revision: value {address.revision}; it is a tag, give a branch")
    head = hub.resolve(address if has_branch else replace(address, revision=MAIN))  # where a new branch begins
    return Remote(head, has_branch, hub.files(head), tags)


def publish(
    hub: Hub, address: Address, before: Remote, content: Content, options: PushOptions, listener: TransferListener
) -> PushReport:
    """Bring a repository to a content; the same again sends nothing, and goes on where an earlier call was stopped.

    Args:
        hub: The Hub.
        address: Repository and branch.
        before: What is there.
        content: What is to be there.
        options: How.
        listener: Told what happens.

    Raises:
        RemoteError: The tag names another commit, or the Hub cannot be used.

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
        raise RemoteError(f"{pinned}: {len(wrong)} files are not those that were sent, first {wrong[0]}; push again")
    if options.tag and options.tag not in before.tags:
        hub.tag(pinned, options.tag, content.tag_message)
    return replace(report, address=pinned)


def differing(content: Content, remote: Mapping[str, RemoteFile]) -> list[str]:
    """Return the paths of a content that are not the same in a repository, sorted."""
    return sorted(
        path for path, sha256 in content.sums.items() if not _same(content.root / path, sha256, remote.get(path))
    )


def _same(path: Path, sha256: str, there: RemoteFile | None) -> bool:
    if there is None or there.sha256:
        return there is not None and there.sha256 == sha256
    with path.open("rb") as file:
        return there.holds(file)


def _check_tag(before: Remote, tag: str | None, *, changes: bool) -> None:
    """Refuse a tag that names another commit than the one that the push makes."""
    commit = before.tags.get(tag) if tag else None
    if commit and before.head and (changes or commit != before.head.revision):
        raise RemoteError(f"--tag: value {tag}; it names the commit {commit[:8]} already, choose another")


def _send(hub: Hub, address: Address, content: Content, changed: list[str], listener: TransferListener) -> None:
    bulk = tuple(path for path in changed if path not in content.last)
    last = tuple(path for path in changed if path in content.last)
    changes = (Change(f"{content.title}: {content.bulk}", bulk), Change(content.title, last, content.stale))
    size = sum((content.root / path).stat().st_size for path in changed)
    meter = Meter("uploading", len(changed), size, listener)
    for change in changes:
        if change.add or change.delete:
            hub.upload(address, content.root, change, meter)
