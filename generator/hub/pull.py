"""Downloads a dataset, or a part of one, from the Hugging Face Hub: checked, and resumed where it was interrupted."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from synthgen.datasets.plan import SPLITS, ShardPlan, dataset_paths, plan_shards
from synthgen.errors import DatasetError, RemoteError, SynthgenError
from synthgen.generator.dataset.verify import VerifyOptions, VerifyReport, verify_dataset
from synthgen.generator.dataset.verify_shard import read_members
from synthgen.generator.runs.options import check_target, select_shards
from synthgen.progress import Silent
from synthgen.remote.address import Address
from synthgen.remote.hub import Hub
from synthgen.remote.hub_files import RemoteFile
from synthgen.remote.progress import Meter, TransferListener
from synthgen.specs.files import load_spec
from synthgen.storage.atomic_files import file_sha256, sync_folder, write_file
from synthgen.storage.dataset_paths import CHECKSUMS, GUARD, SPEC, labels_path, list_files, parse_checksums

_SMALL_BYTES = 64 * 2**20
"""Maximum size of a file that is read into memory."""


@dataclass(frozen=True)
class PullOptions:
    """Which part of a dataset to download; if both are None, all of it."""

    shards: str | None = None
    """Numbers and ranges of shards, counted across all splits: ``0-15,20``."""
    split: str | None = None


@dataclass(frozen=True)
class PullReport:
    """What a pull did."""

    address: Address
    """The address, with the commit."""
    files: int
    """Files downloaded."""
    bytes: int
    """Bytes downloaded."""
    shards: int
    """Shards now in the folder."""
    of_shards: int
    """Shards of the whole dataset."""
    sealed: bool
    """Whether the dataset in the folder is complete."""


@dataclass(frozen=True)
class _PinnedDataset:
    """A dataset on the Hub at one commit."""

    hub: Hub
    address: Address
    files: Mapping[str, RemoteFile]
    plans: tuple[ShardPlan, ...]
    spec: bytes
    """The content of its spec file."""
    checksums: bytes
    """The content of its checksum file."""
    sums: Mapping[str, str]
    """Its digests, by path."""


def pull(
    address: Address,
    root: Path,
    options: PullOptions | None = None,
    listener: TransferListener | None = None,
    hub: Hub | None = None,
) -> PullReport:
    """Download a dataset to a folder; called again, it resumes: it downloads what is missing or damaged.

    A folder with a part of a dataset is like one whose rendering is incomplete: another pull, or `synthgen render`,
    adds the rest. The dataset is sealed once it is complete.

    Args:
        address: Repository and revision, which is resolved to a commit first.
        root: The folder: new, empty, or of the same dataset.
        options: Which part; None for all.
        listener: Receives messages and progress.
        hub: The Hub; None uses the user's configuration.

    Raises:
        SynthgenError: The repository is not a synthgen dataset or does not match its checksums, the folder holds
            something else, or the Hub cannot be used.

    """
    options, listener = options or PullOptions(), listener or Silent()
    source = _open(hub or Hub(listener), address)
    wanted = _wanted(source.plans, options)
    if root.is_dir():
        _check_folder(root, source)
    check_target(root)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / GUARD):
        _check_folder(root, source)
        paths = _paths(source, wanted)
        missing = [path for path in paths if not _is_here(root / path, source.sums[path])]
        meter = Meter("downloading", len(missing), sum(source.files[path].bytes for path in missing), listener)
        for path in missing:
            _get(source, path, root, meter)
        here = sum(_is_whole(root / plan.path, source.files[plan.path]) for plan in source.plans)
        sealed = here == len(source.plans) and all((root / path).is_file() for path in source.sums)
        if sealed:
            write_file(root / CHECKSUMS, source.checksums)
    size = sum(source.files[path].bytes for path in missing)
    return PullReport(source.address, len(missing), size, here, len(source.plans), sealed)


def verify_remote(
    address: Address,
    options: VerifyOptions | None = None,
    listener: TransferListener | None = None,
    hub: Hub | None = None,
) -> VerifyReport:
    """Check a dataset on the Hub by downloading all of it, one archive at a time; nothing is kept.

    Args:
        address: Repository and revision.
        options: Additional checks.
        listener: Receives messages and progress.
        hub: The Hub; None uses the user's configuration.

    Raises:
        SynthgenError: It is not a synthgen dataset, or the Hub cannot be used.

    """
    source = _open(hub or Hub(listener), address)
    archives = {plan.path for plan in source.plans}
    with tempfile.TemporaryDirectory(prefix="synthgen-verify-") as name:
        root = Path(name)
        for path in sorted(dataset_paths(source.plans) - archives):
            if path in source.files:
                _download(source, path, root / path)
        return verify_dataset(root, options, listener, _RemoteFiles(source, root))


class _RemoteFiles:
    """The files of a repository; each archive is downloaded only while it is checked."""

    def __init__(self, source: _PinnedDataset, root: Path) -> None:
        self._source, self._root = source, root

    def sizes(self) -> Mapping[str, int]:
        """Return the files' sizes in bytes by path, without hidden files, which belong to the Hub."""
        return {path: file.bytes for path, file in self._source.files.items() if not path.startswith(".")}

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Path]:
        """Download an archive; remove it after the block."""
        to = self._root / path
        _download(self._source, path, to)
        try:
            yield to
        finally:
            to.unlink()


def _open(hub: Hub, address: Address) -> _PinnedDataset:
    """Resolve a dataset to its commit and read its spec and checksums, which list its files."""
    pinned = hub.resolve(address)
    files = hub.files(pinned)
    small = {}
    for path in (SPEC, CHECKSUMS):
        if path not in files:
            raise RemoteError(
                f"{address}: is not a synthgen dataset, or its push did not finish ({path} is missing); push it again"
            )
        if files[path].bytes > _SMALL_BYTES:
            raise RemoteError(
                f"{address}: {path}: {files[path].bytes} bytes, the maximum is {_SMALL_BYTES}; contact its owner"
            )
        small[path] = hub.read(pinned, files[path])
    with tempfile.TemporaryDirectory(prefix="synthgen-pull-") as name:
        (Path(name) / "spec.yaml").write_bytes(small[SPEC])
        spec = load_spec(Path(name) / "spec.yaml")
    plans = plan_shards(spec.name, spec.version, spec.count)
    sums = parse_checksums(small[CHECKSUMS], f"{address}: {CHECKSUMS}")
    return _PinnedDataset(hub, pinned, files, plans, small[SPEC], small[CHECKSUMS], sums)


def _wanted(plans: tuple[ShardPlan, ...], options: PullOptions) -> list[ShardPlan]:
    if options.split is not None and options.split not in SPLITS:
        raise DatasetError(f"--split: value {options.split}; give one of {', '.join(SPLITS)}")
    chosen = select_shards(plans, options.shards)
    return [plan for plan in chosen if options.split in {None, plan.split}]


def _paths(source: _PinnedDataset, wanted: list[ShardPlan]) -> list[str]:
    """Return the files to download, in order: the spec, other files and the wanted splits' tables, wanted shards."""
    sums, plans = source.sums, source.plans
    unexpected = (sums.keys() - dataset_paths(plans)) | (sums.keys() - source.files.keys())
    if unexpected:
        raise RemoteError(
            f"{source.address}: {CHECKSUMS}: lists {min(unexpected)!r:.100}, which is not a file of this dataset; "
            "contact its owner"
        )
    tables = {labels_path(plan.split) for plan in plans}
    unwanted = {plan.path for plan in plans} | (tables - {labels_path(plan.split) for plan in wanted})
    others = sorted(sums.keys() - unwanted, key=lambda path: (path != SPEC, path))
    absent = [plan.path for plan in wanted if plan.path not in sums]
    if absent:
        raise RemoteError(f"{source.address}: {CHECKSUMS}: {absent[0]} is missing; contact its owner")
    return [*others, *(plan.path for plan in wanted)]


def _check_folder(root: Path, source: _PinnedDataset) -> None:
    """Check that a folder holds nothing except a part of this dataset."""
    if not (root / SPEC).is_file():
        foreign = list_files(root)
        if foreign:
            raise DatasetError(
                f"{root}: is not empty and not a dataset folder (it holds {foreign[0]}); choose another --out"
            )
    elif (root / SPEC).read_bytes() != source.spec:
        raise DatasetError(f"{root}: holds a different dataset than {source.address}; choose another --out")
    if (root / CHECKSUMS).is_file() and (root / CHECKSUMS).read_bytes() != source.checksums:
        raise DatasetError(f"{root}: holds a different version than {source.address}; choose another --out")


def _get(source: _PinnedDataset, path: str, root: Path, meter: Meter) -> None:
    """Download one file, and move it to its path once it matches its checksum."""
    to, plan = root / path, next((plan for plan in source.plans if plan.path == path), None)
    partial = to.with_name(f".{to.name}.{source.sums[path][:8]}.partial")
    source.hub.download(source.address, source.files[path], partial, meter.count)
    try:
        _check_content(source, path, partial, plan)
    except SynthgenError:
        partial.unlink()
        raise
    partial.replace(to)
    sync_folder(to.parent)
    meter.count(0, 1)


def _check_content(source: _PinnedDataset, path: str, partial: Path, plan: ShardPlan | None) -> None:
    known = source.files[path].sha256  # known for large files, whose content was compared during the download
    if (known or file_sha256(partial)) != source.sums[path]:
        raise RemoteError(f"{source.address}: {path}: does not match {CHECKSUMS}; contact its owner")
    if plan is not None:
        for _ in read_members(partial, plan):
            pass


def _download(source: _PinnedDataset, path: str, to: Path) -> None:
    source.hub.download(source.address, source.files[path], to, lambda _: None)


def _is_here(path: Path, sha256: str) -> bool:
    return path.is_file() and not path.is_symlink() and file_sha256(path) == sha256


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes
