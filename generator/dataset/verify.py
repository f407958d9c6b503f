"""Checking a whole dataset: every checksum, archive, sample, label and count."""

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from synthgen.datasets.plan import ShardPlan, dataset_paths
from synthgen.errors import DatasetError, EngineError, SynthgenError
from synthgen.generator.dataset.folder import DatasetFolder, open_folder
from synthgen.generator.dataset.manifest import RENDERERS, manifest, timm_info
from synthgen.generator.dataset.parquet import PREVIEW_SAMPLES
from synthgen.generator.dataset.rerender import Rerendered, choose_samples, rerender
from synthgen.generator.dataset.seal import read_manifest
from synthgen.generator.dataset.shards import ShardReceipt
from synthgen.generator.dataset.verify_shard import check_shard
from synthgen.generator.dataset.verify_tables import Tables
from synthgen.generator.engines.availability import check_engine
from synthgen.progress import Silent
from synthgen.remote.progress import Meter, TransferListener
from synthgen.storage.atomic_files import file_sha256
from synthgen.storage.dataset_paths import CHECKSUMS, FORMAT_VERSION, INFO, MANIFEST, list_files, read_checksums
from synthgen.storage.sample import sample_key


class Shelf(Protocol):
    """Where the archives of a dataset are had from."""

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of the files that are there, by path."""

    def take(self, path: str) -> AbstractContextManager[Path]:
        """Return an archive as a file of this machine, for as long as the block lasts."""


class FolderShelf:
    """The files of a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of the files that are there, by path; a link has none of its own."""
        return {path: (self._root / path).lstat().st_size for path in list_files(self._root)}

    @contextlib.contextmanager
    def take(self, path: str) -> Iterator[Path]:
        """Return an archive where it lies."""
        yield self._root / path


@dataclass(frozen=True)
class VerifyOptions:
    """What is checked beyond the files themselves."""

    rerender: int = 0
    """How many samples are rendered again."""
    engine: str | None = None
    """By which engine; None takes the dataset's."""
    seed: int = 0
    """Chooses the samples."""


@dataclass(frozen=True)
class VerifyReport:
    """What a check found."""

    problems: tuple[str, ...]
    """A line each; none for a sound dataset."""
    shards: int
    samples: int
    bytes: int
    """Of the archives."""
    rerendered: Rerendered | None = None


def verify_dataset(
    root: Path,
    options: VerifyOptions | None = None,
    listener: TransferListener | None = None,
    shelf: Shelf | None = None,
) -> VerifyReport:
    """Check a dataset folder; reads all of it and changes nothing.

    Args:
        root: The folder; without the archives, where a shelf has them.
        options: What else is done.
        listener: Told how far the check is.
        shelf: Where the files are; None takes the folder.

    Raises:
        SynthgenError: It is no dataset folder, or the engine is not installed.

    """
    options = options or VerifyOptions()
    if options.engine is not None and options.engine not in RENDERERS:
        raise EngineError(f"--engine: value {options.engine}; give blender or raster")
    check = _Check(open_folder(root), shelf or FolderShelf(root))
    engine = options.engine or check.dataset.spec.engine
    if options.rerender:
        check_engine(engine)
    check.paths()
    with check.noting():
        check.manifest()
    check.around()
    chosen = [sample_key(index) for index in choose_samples(check.there, options.rerender, options.seed)]
    check.archives(chosen, listener or Silent())
    again = None
    if chosen:
        with check.noting():
            stored = [check.kept[key] for key in chosen if key in check.kept]
            again = rerender(check.dataset.spec, stored, engine)
            if not again.agrees:
                raise DatasetError(f"{root}: is not what its recipes give ({again}); restore it")
    return VerifyReport(tuple(check.problems), check.shards, check.samples, check.bytes, again)


class _Check:
    """One check of a dataset, and what it has found so far."""

    def __init__(self, dataset: DatasetFolder, shelf: Shelf) -> None:
        self.dataset = dataset
        self.problems: list[str] = []
        self.shards = self.samples = self.bytes = 0
        self.kept: dict[str, dict[str, bytes]] = {}
        """The files of chosen samples by key."""
        self._shelf, self._sizes, self._sums = shelf, shelf.sizes(), dict[str, str]()
        self.there = [plan for plan in dataset.plans if plan.path in self._sizes]

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Take an error that ends a block as a problem."""
        try:
            yield
        except SynthgenError as error:
            self.problems.append(str(error))

    def paths(self) -> None:
        """Check that the files are those of the dataset, all of them and no others."""
        root, plans = self.dataset.root, self.dataset.plans
        missing = len(plans) - len(self.there)
        if missing:
            self.problems.append(f"{root}: {missing} of {len(plans)} shards are missing; "
                                 "`synthgen render` or `synthgen pull` with this folder adds them")  # fmt: skip
        if CHECKSUMS in self._sizes:
            with self.noting():
                self._sums = read_checksums(root)
        elif not missing:
            self.problems.append(f"{CHECKSUMS}: is missing; `synthgen render` with this folder seals it")
        allowed = dataset_paths(plans)
        for path in sorted({*self._sums, *self._sizes}):
            if path not in allowed:
                self.problems.append(f"{path!r:.120}: does not belong in this dataset; remove it")
            elif self._sums and path not in self._sums and path != CHECKSUMS:
                self.problems.append(f"{path}: is in no checksum; remove it")
            elif path not in self._sizes:
                self.problems.append(f"{path}: is missing; restore it")

    def manifest(self) -> None:
        """Check that the manifest says what the spec and the files say.

        Raises:
            DatasetError: It does not.

        """
        if MANIFEST not in self._sizes:
            return
        info, plans, told = self.dataset.info, self.dataset.plans, read_manifest(self.dataset.root)
        if told.get("format_version") != FORMAT_VERSION:
            raise DatasetError(f"{MANIFEST}: format_version: value {told.get('format_version')!r:.20}; "
                               f"this synthgen reads {FORMAT_VERSION}, install the one that wrote it")  # fmt: skip
        rows = told.get("shards")
        shards = {
            str(row.get("path")): row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict)
        }
        receipts = []
        for plan in plans:
            own = shards.get(plan.path, {})
            sha256 = self._sums.setdefault(plan.path, str(own.get("sha256")))  # not sealed: the manifest knows it too
            size = self._sizes.get(plan.path, own.get("bytes", 0))
            receipts.append(ShardReceipt(plan.path, size, sha256, plan.samples))
        expected = manifest(info, plans, receipts)
        for name in expected.keys() - {"versions"}:
            if told.get(name) != expected[name]:
                raise DatasetError(f"{MANIFEST}: {name}: is not what the spec and the files say; restore it")

    def around(self) -> None:
        """Check the content of all files but the archives."""
        root, archives = self.dataset.root, {plan.path for plan in self.dataset.plans}
        for path in sorted(self._sizes.keys() - archives):
            if (root / path).is_symlink():
                self.problems.append(f"{path}: is a link; put the file itself there")
            elif path in self._sums and file_sha256(root / path) != self._sums[path]:
                self.problems.append(f"{path}: has changed; restore it")
        with self.noting():
            if INFO in self._sizes and _json(root / INFO) != timm_info(self.dataset.info, self.dataset.plans):
                raise DatasetError(f"{INFO}: is not what the spec says; restore it")

    def archives(self, chosen: list[str], listener: TransferListener) -> None:
        """Check every archive and the tables, and keep the chosen samples."""
        first = list(itertools.islice(_keys(self.dataset.plans), PREVIEW_SAMPLES))
        wanted = {*chosen, *first}
        meter = Meter("checking", len(self.there), sum(self._sizes[plan.path] for plan in self.there), listener)
        with Tables(self.dataset.root) as tables:
            for plan in self.there:
                with self.noting(), self._shelf.take(plan.path) as path:
                    self._check_digest(path, plan)
                    content = check_shard(path, plan, self.dataset.info, wanted)
                    tables.compare(plan, content)
                    self.kept |= content.kept
                    self.samples += plan.samples
                self.shards += 1
                self.bytes += self._sizes[plan.path]
                meter.count(self._sizes[plan.path], 1)
            if all(key in self.kept for key in first):
                with self.noting():
                    tables.compare_preview({key: self.kept[key] for key in first})

    def _check_digest(self, path: Path, plan: ShardPlan) -> None:
        if path.is_symlink():
            raise DatasetError(f"{plan.path}: is a link; put the file itself there")
        if self._sums.get(plan.path, "") not in {"", file_sha256(path)}:
            raise DatasetError(f"{plan.path}: has changed; restore it")


def _keys(plans: Sequence[ShardPlan]) -> Iterator[str]:
    for plan in plans:
        yield from (sample_key(int(index)) for index in plan.indices)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
