"""Verifies a whole dataset: every checksum, archive, sample, label and count."""

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


class Files(Protocol):
    """The files of a dataset, wherever they are stored."""

    def sizes(self) -> Mapping[str, int]:
        """Return the sizes in bytes of the existing files by path."""

    def open(self, path: str) -> AbstractContextManager[Path]:
        """Provide an archive as a local file for the duration of the block."""


class FolderFiles:
    """The files of a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sizes(self) -> Mapping[str, int]:
        """Return the sizes in bytes of the existing files by path, without following links."""
        return {path: (self._root / path).lstat().st_size for path in list_files(self._root)}

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Path]:
        """Provide an archive in place."""
        yield self._root / path


@dataclass(frozen=True)
class VerifyOptions:
    """Additional checks beyond the files themselves."""

    rerender: int = 0
    """Number of samples to render again."""
    engine: str | None = None
    """Engine that renders them; None uses the dataset's engine."""
    seed: int = 0
    """Random seed of the choice of samples."""


@dataclass(frozen=True)
class VerifyReport:
    """The result of a verification."""

    problems: tuple[str, ...]
    """One line each; empty if the dataset is intact."""
    shards: int
    samples: int
    bytes: int
    """Size of the archives."""
    rerendered: Rerendered | None = None


def verify_dataset(
    root: Path,
    options: VerifyOptions | None = None,
    listener: TransferListener | None = None,
    files: Files | None = None,
) -> VerifyReport:
    """Check a dataset folder; reads all of it and changes nothing.

    Args:
        root: The folder; the archives may be missing from it if ``files`` provides them.
        options: Additional checks.
        listener: Receives messages and progress.
        files: The dataset's files; None for those in the folder.

    Raises:
        SynthgenError: It is not a dataset folder, or the engine is not installed.

    """
    options = options or VerifyOptions()
    if options.engine is not None and options.engine not in RENDERERS:
        raise EngineError(f"--engine: value {options.engine}; give blender or raster")
    check = _Check(open_folder(root), files or FolderFiles(root))
    engine = options.engine or check.dataset.spec.engine
    if options.rerender:
        check_engine(engine)
    check.paths()
    with check.recording():
        check.manifest()
    check.other_files()
    chosen = [sample_key(index) for index in choose_samples(check.present, options.rerender, options.seed)]
    check.archives(chosen, listener or Silent())
    again = None
    if chosen:
        with check.recording():
            stored = [check.kept[key] for key in chosen if key in check.kept]
            again = rerender(check.dataset.spec, stored, engine)
            if not again.agrees:
                raise DatasetError(f"{root}: differs from what its recipes give ({again}); restore it")
    return VerifyReport(tuple(check.problems), check.shards, check.samples, check.bytes, again)


class _Check:
    """One verification of a dataset, and the problems found so far."""

    def __init__(self, dataset: DatasetFolder, files: Files) -> None:
        self.dataset = dataset
        self.problems: list[str] = []
        self.shards = self.samples = self.bytes = 0
        self.kept: dict[str, dict[str, bytes]] = {}
        """The files of chosen samples by key."""
        self._files, self._sizes, self._sums = files, files.sizes(), dict[str, str]()
        self.present = [plan for plan in dataset.plans if plan.path in self._sizes]

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record an error that ends the block as a problem."""
        try:
            yield
        except SynthgenError as error:
            self.problems.append(str(error))

    def paths(self) -> None:
        """Check that exactly the files of the dataset are there."""
        root, plans = self.dataset.root, self.dataset.plans
        missing = len(plans) - len(self.present)
        if missing:
            self.problems.append(f"{root}: {missing} of {len(plans)} shards are missing; "
                                 "run `synthgen render` or `synthgen pull` on this folder to add them")  # fmt: skip
        if CHECKSUMS in self._sizes:
            with self.recording():
                self._sums = read_checksums(root)
        elif not missing:
            self.problems.append(f"{CHECKSUMS}: is missing; run `synthgen render` on this folder to seal it")
        allowed = dataset_paths(plans)
        for path in sorted({*self._sums, *self._sizes}):
            if path not in allowed:
                self.problems.append(f"{path!r:.120}: does not belong to this dataset; remove it")
            elif self._sums and path not in self._sums and path != CHECKSUMS:
                self.problems.append(f"{path}: is not listed in {CHECKSUMS}; remove it")
            elif path not in self._sizes:
                self.problems.append(f"{path}: is missing; restore it")

    def manifest(self) -> None:
        """Check that the manifest matches the spec and the files.

        Raises:
            DatasetError: It does not.

        """
        if MANIFEST not in self._sizes:
            return
        info, plans, stored = self.dataset.info, self.dataset.plans, read_manifest(self.dataset.root)
        if stored.get("format_version") != FORMAT_VERSION:
            raise DatasetError(f"{MANIFEST}: format_version: value {stored.get('format_version')!r:.20}; this synthgen "
                               f"reads {FORMAT_VERSION}, install the version that wrote the dataset")  # fmt: skip
        rows = stored.get("shards")
        shards = {
            str(row.get("path")): row for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict)
        }
        receipts = []
        for plan in plans:
            own = shards.get(plan.path, {})
            sha256 = self._sums.setdefault(plan.path, str(own.get("sha256")))  # not sealed: only the manifest has it
            size = self._sizes.get(plan.path, own.get("bytes", 0))
            receipts.append(ShardReceipt(plan.path, size, sha256, plan.samples))
        expected = manifest(info, plans, receipts)
        for name in expected.keys() - {"versions"}:
            if stored.get(name) != expected[name]:
                raise DatasetError(f"{MANIFEST}: {name}: does not match the spec and the files; restore it")

    def other_files(self) -> None:
        """Check the content of all files except the archives."""
        root, archives = self.dataset.root, {plan.path for plan in self.dataset.plans}
        for path in sorted(self._sizes.keys() - archives):
            if (root / path).is_symlink():
                self.problems.append(f"{path}: is a link; replace it by the file itself")
            elif path in self._sums and file_sha256(root / path) != self._sums[path]:
                self.problems.append(f"{path}: has changed; restore it")
        with self.recording():
            if INFO in self._sizes and _json(root / INFO) != timm_info(self.dataset.info, self.dataset.plans):
                raise DatasetError(f"{INFO}: does not match the spec; restore it")

    def archives(self, chosen: list[str], listener: TransferListener) -> None:
        """Check every archive and the tables, and keep the chosen samples."""
        first = list(itertools.islice(_keys(self.dataset.plans), PREVIEW_SAMPLES))
        wanted = {*chosen, *first}
        meter = Meter("checking", len(self.present), sum(self._sizes[plan.path] for plan in self.present), listener)
        with Tables(self.dataset.root) as tables:
            for plan in self.present:
                with self.recording(), self._files.open(plan.path) as path:
                    self._check_digest(path, plan)
                    content = check_shard(path, plan, self.dataset.info, wanted)
                    tables.compare(plan, content)
                    self.kept |= content.kept
                    self.samples += plan.samples
                self.shards += 1
                self.bytes += self._sizes[plan.path]
                meter.count(self._sizes[plan.path], 1)
            if all(key in self.kept for key in first):
                with self.recording():
                    tables.compare_preview({key: self.kept[key] for key in first})

    def _check_digest(self, path: Path, plan: ShardPlan) -> None:
        if path.is_symlink():
            raise DatasetError(f"{plan.path}: is a link; replace it by the file itself")
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
