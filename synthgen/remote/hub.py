"""The Hugging Face Hub; the only module that imports its client, and only inside functions."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from synthgen.errors import RemoteError
from synthgen.progress import Silent
from synthgen.remote.address import MAIN, Address
from synthgen.remote.hub_files import Change, RemoteFile, groups
from synthgen.remote.progress import Meter, TransferListener
from synthgen.remote.resume import LONGEST_WAIT_S, PASSING, TIMEOUT_S, WAITS_S, PassingError, Patience, Wanted, pour
from synthgen.remote.token_rights import write_fault

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

T = TypeVar("T")
COMMIT_FILES = 100
"""Maximum number of files per commit, as the Hub recommends."""


class Hub:
    """The Hub, accessed with the user's token if there is one."""

    def __init__(self, listener: TransferListener | None = None, waits_s: Sequence[float] = WAITS_S) -> None:
        """Prepare the client; sends no request yet.

        Args:
            listener: Receives messages about waits.
            waits_s: Pauses before retries after temporary failures.

        """
        from huggingface_hub import HfApi, constants, get_token, logging  # noqa: PLC0415
        from huggingface_hub.utils import disable_progress_bars  # noqa: PLC0415

        disable_progress_bars()  # ours show bytes and files
        logging.set_verbosity(logging.ERROR)
        self._token = get_token()
        self._api = HfApi(token=self._token or False)
        self._patience = Patience(listener or Silent(), tuple(waits_s))
        self.endpoint = str(constants.ENDPOINT)

    def sign_in(self, address: Address) -> str:
        """Return the account's name after checking that its token permits writing to a repository.

        Raises:
            RemoteError: There is no token, it is invalid, or it does not permit writing there.

        """
        if not self._token:
            raise RemoteError("token: missing; run `hf auth login`, or set HF_TOKEN")
        told = self._ask(address, lambda: self._api.whoami(cache=False))
        fault = write_fault(told, address)
        if fault:
            raise RemoteError(f"token: {fault}; create one with write access at {self.endpoint}/settings/tokens")
        return str(told.get("name"))

    def is_private(self, address: Address) -> bool | None:
        """Whether a repository is private; None if it does not exist or is not visible."""
        if not self._ask(address, lambda: self._api.repo_exists(address.repo, repo_type=address.kind)):
            return None
        return bool(self._ask(address, lambda: self._api.repo_info(address.repo, repo_type=address.kind)).private)

    def create(self, address: Address, *, private: bool) -> None:
        """Create a repository and its branch if they do not exist."""
        self._ask(
            address,
            lambda: self._api.create_repo(address.repo, repo_type=address.kind, private=private, exist_ok=True),
        )
        if address.revision != MAIN:
            self._ask(
                address,
                lambda: self._api.create_branch(
                    address.repo, branch=address.revision, repo_type=address.kind, exist_ok=True
                ),
            )

    def refs(self, address: Address) -> tuple[dict[str, str], dict[str, str]]:
        """Return the commits of a repository's branches and of its tags, by name."""
        refs = self._ask(address, lambda: self._api.list_repo_refs(address.repo, repo_type=address.kind))
        branches, tags = ({ref.name: ref.target_commit for ref in kind} for kind in (refs.branches, refs.tags))
        return branches, tags

    def tag(self, address: Address, tag: str, message: str) -> None:
        """Tag the commit of an address."""
        self._ask(
            address,
            lambda: self._api.create_tag(
                address.repo, tag=tag, tag_message=message, revision=address.revision,
                repo_type=address.kind, exist_ok=True,
            ),
        )  # fmt: skip

    def resolve(self, address: Address) -> Address:
        """Return the address with its branch or tag replaced by the commit to which it points now."""
        info = self._ask(
            address, lambda: self._api.repo_info(address.repo, repo_type=address.kind, revision=address.revision)
        )
        return replace(address, revision=str(info.sha))

    def files(self, address: Address) -> dict[str, RemoteFile]:
        """Return the files of a commit, by path."""
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

        listed = self._ask(
            address,
            lambda: list(
                self._api.list_repo_tree(
                    address.repo, repo_type=address.kind, revision=address.revision, recursive=True
                )
            ),
        )
        return {
            item.path: RemoteFile(item.path, item.size, item.blob_id, item.lfs.sha256 if item.lfs else None)
            for item in listed
            if isinstance(item, RepoFile)
        }

    def upload(self, address: Address, folder: Path, change: Change, meter: Meter) -> None:
        """Upload files and commit them in batches; content that the Hub already has is not sent again.

        Args:
            address: Repository and branch.
            folder: The folder of the files.
            change: The files to add and delete.
            meter: Counts them.

        """
        from huggingface_hub import CommitOperationDelete  # noqa: PLC0415

        batches = [change.add[k : k + COMMIT_FILES] for k in range(0, len(change.add), COMMIT_FILES)] or [()]
        for batch in batches:
            operations: list[Any] = []
            for group in groups(folder, batch):
                operations += self._ask(address, partial(self._send, address, folder, group))
                meter.count(sum((folder / path).stat().st_size for path in group), len(group))
            if batch is batches[-1]:
                operations += [CommitOperationDelete(path) for path in change.delete]
            self._ask(
                address,
                partial(
                    self._api.create_commit, address.repo, operations, commit_message=change.message,
                    repo_type=address.kind, revision=address.revision,
                ),
            )  # fmt: skip

    def read(self, address: Address, file: RemoteFile) -> bytes:
        """Return the content of a file, checked, resuming after lost connections."""
        sink = io.BytesIO()
        self.fill(address, file, sink, lambda _: None)
        return sink.getvalue()

    def download(self, address: Address, file: RemoteFile, to: Path, came: Callable[[int], None]) -> None:
        """Download a file, checked and flushed to disk, resuming after lost connections.

        Args:
            address: Repository and commit.
            file: The file.
            to: A temporary path, because the file grows there; a partial file is resumed.
            came: Called with the number of bytes added.

        """
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("r+b" if to.exists() else "w+b", buffering=0) as sink:
            came(sink.seek(0, os.SEEK_END))
            self.fill(address, file, sink, came)
            os.fsync(sink.fileno())

    def fill(self, address: Address, file: RemoteFile, sink: BinaryIO, came: Callable[[int], None]) -> None:
        """Append the missing part to an open file, and check it; a wrong file is emptied.

        Args:
            address: Repository and commit.
            file: The file.
            sink: Open for reading and writing, unbuffered, with what was downloaded earlier.
            came: Called with the number of bytes added.

        Raises:
            RemoteError: The file could not be completed, or its content is wrong.

        """
        wanted = Wanted(file.path, file.bytes, file.bytes)

        def append() -> None:
            with self._explained(address):
                self._append(address, wanted, sink, came)

        self._patience.fill(wanted, sink, append)
        if not file.holds(sink):
            sink.truncate(0)
            raise RemoteError(
                f"{file.path}: the download differs from the file in {address}; run the same command again"
            )

    def _append(self, address: Address, wanted: Wanted, sink: BinaryIO, came: Callable[[int], None]) -> None:
        from huggingface_hub import get_session, hf_hub_url  # noqa: PLC0415
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # noqa: PLC0415

        url = hf_hub_url(
            address.repo, wanted.name, repo_type=address.kind, revision=address.revision, endpoint=self.endpoint
        )
        headers = build_hf_headers(token=self._token or False)
        headers |= {"Range": f"bytes={sink.tell()}-", "Accept-Encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as answer:
            hf_raise_for_status(answer)
            pour(answer, sink, wanted, came)

    def _send(self, address: Address, folder: Path, paths: Sequence[str]) -> "list[CommitOperationAdd]":
        """Upload the content of large files; return the operations for a commit of all files."""
        from huggingface_hub import CommitOperationAdd  # noqa: PLC0415

        additions = [CommitOperationAdd(path, str(folder / path)) for path in paths]
        self._api.preupload_lfs_files(address.repo, additions, repo_type=address.kind, revision=address.revision)
        return additions

    def _ask(self, address: Address, work: Callable[[], T]) -> T:
        """Call the client, with retries after temporary failures."""

        def explained() -> T:
            with self._explained(address):
                return work()

        return self._patience.ask(explained)

    @contextlib.contextmanager
    def _explained(self, address: Address) -> Iterator[None]:
        """Translate the client's errors into RemoteError."""
        from huggingface_hub import errors  # noqa: PLC0415

        network = errors.HTTPError  # of the client's own HTTP library
        try:
            yield
        except (network, OSError, RuntimeError) as error:
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
            raise self._explain(address, cause) from error

    def _explain(self, address: Address, error: BaseException) -> Exception:
        from huggingface_hub import errors  # noqa: PLC0415

        page = f"{self.endpoint}/{'datasets/' if address.kind == 'dataset' else ''}{address.repo}"
        login = "" if self._token else ", or log in with `hf auth login` if it is private"
        for kind, text in (
            (errors.GatedRepoError, f"{address}: is gated; request access at {page}"),
            (errors.RepositoryNotFoundError, f"{address}: is not a {address.kind} repository; check its name{login}"),
            (errors.RevisionNotFoundError, f"{address}: has no revision {address.revision}; see {page}"),
            (errors.EntryNotFoundError, f"{address}: lacks a file that it lists; run the same command again"),
            (errors.OfflineModeIsEnabled, f"{self.endpoint}: offline because HF_HUB_OFFLINE is set; unset it"),
        ):
            if isinstance(error, kind):
                return RemoteError(text)
        if isinstance(error, errors.HfHubHTTPError):
            return self._explain_status(error.response.status_code, error, address)
        if isinstance(error, OSError) and error.filename:
            return error  # of this machine
        return PassingError(
            f"{self.endpoint}: cannot be reached ({_line(error)}); run the same command again to resume"
        )

    def _explain_status(self, status: int, error: Any, address: Address) -> RemoteError:
        from huggingface_hub.utils import parse_ratelimit_headers  # noqa: PLC0415

        if status == 401:
            return RemoteError("token: rejected by the Hub; run `hf auth login` again, or set a new HF_TOKEN")
        if status == 403:
            tokens = f"{self.endpoint}/settings/tokens"
            return RemoteError(f"token: no write access to {address.repo}; create one with write access at {tokens}")
        if status not in PASSING:
            return RemoteError(f"{address}: the Hub responded with status {status}: {_line(error)}")
        limit = parse_ratelimit_headers(error.response.headers)
        after_s = limit.reset_in_seconds + 1 if limit and status == 429 else 0
        text = f"{self.endpoint}: responded with status {status}; run the same command again to resume"
        return PassingError(text, min(after_s, LONGEST_WAIT_S))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
