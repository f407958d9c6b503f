"""Addresses on the Hugging Face Hub: ``user/name``, ``hf://datasets/user/name@v1.0.0``, ``hf://user/model``."""

import re
from dataclasses import dataclass
from typing import Literal

from synthgen.errors import RemoteError

Kind = Literal["dataset", "model"]
SCHEME = "hf://"
MAIN = "main"
_DATASETS = "datasets/"
_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")


@dataclass(frozen=True)
class Address:
    """A repository at a revision."""

    repo: str
    """``owner/name``."""
    kind: Kind = "dataset"
    revision: str = MAIN
    """A branch, a tag or a commit."""

    def __str__(self) -> str:
        at = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{SCHEME}{_DATASETS if self.kind == 'dataset' else ''}{self.repo}{at}"

    @property
    def owner(self) -> str:
        """The user or organization that owns the repository."""
        return self.repo.split("/")[0]


def is_remote(text: str) -> bool:
    """Whether a text is an address on the Hub, not a path."""
    return text.startswith(SCHEME)


def parse_address(text: str, kind: Kind = "dataset", revision: str | None = None) -> Address:
    """Parse an address.

    Args:
        text: ``owner/name`` or an ``hf://`` address, which includes the kind; ``@revision`` may follow.
        kind: The kind of a bare ``owner/name``.
        revision: A branch, tag or commit that replaces the one in the text.

    Raises:
        RemoteError: The text is not an address.

    """
    repo, _, named = text.removeprefix(SCHEME).partition("@")
    if is_remote(text):
        kind = "dataset" if repo.startswith(_DATASETS) else "model"
        repo = repo.removeprefix(_DATASETS)
    at = revision or named or MAIN
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise RemoteError(f"repo: value {text!r:.120}; give owner/name, such as user/synthgen-hand")
    if not _REVISION.fullmatch(at) or ".." in at:
        raise RemoteError(f"revision: value {at!r:.120}; give a branch, a tag or a commit, such as v1.0.0")
    return Address(repo, kind, at)
