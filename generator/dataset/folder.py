"""The dataset folder: creating, sealing, reading and checking it."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from synthgen.datasets.plan import ShardPlan, Split, find_plan, plan_shards
from synthgen.errors import DatasetError
from synthgen.generator.dataset.manifest import DatasetInfo, describe, environment, lock_difference, lock_text
from synthgen.generator.dataset.seal import SheetDrawer, draw_sheet, is_sealed, read_manifest, write_seal
from synthgen.generator.dataset.shards import find_sample, read_shard, shard_done
from synthgen.specs.files import dump_spec, load_spec
from synthgen.specs.spec import ResolvedSpec, difference
from synthgen.storage.atomic_files import file_sha256, remove_abandoned, write_file
from synthgen.storage.dataset_paths import CHECKSUMS, GUARD, LOCK, PARTS, RUN_FILE, SPEC, read_checksums
from synthgen.storage.sample import Sample, decode_sample


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset folder, open for reading; shards may be missing until it is sealed."""

    root: Path
    spec: ResolvedSpec
    info: DatasetInfo
    plans: tuple[ShardPlan, ...]
    manifest: dict[str, Any] | None
    """None until the folder is sealed."""

    def __len__(self) -> int:
        return self.spec.count

    def members(self, index: int) -> dict[str, bytes]:
        """Return the stored files of one sample, by suffix.

        Raises:
            DatasetError: There is no such sample, its shard is not rendered yet, or the shard is damaged.

        """
        plan = find_plan(self.plans, index) if index >= 0 else None
        if plan is None:
            raise DatasetError(f"index: value {index}; the dataset holds samples 0 to {len(self) - 1}")
        try:
            return find_sample(self.root / plan.path, index)
        except FileNotFoundError:
            raise DatasetError(f"{plan.path}: is missing; run `synthgen render` on this folder again") from None

    def sample(self, index: int) -> Sample:
        """Return one sample.

        Raises:
            DatasetError: As for `members`, or the sample is damaged.

        """
        return decode_sample(self.members(index))

    def samples(self, split: Split | None = None) -> Iterator[Sample]:
        """Yield the samples of the existing shards, of one split or of all, in stored order."""
        for plan in self.plans:
            if split in {None, plan.split} and (self.root / plan.path).is_file():
                for _, members in read_shard(self.root / plan.path):
                    yield decode_sample(members)


def start_dataset(root: Path, spec: ResolvedSpec) -> None:
    """Prepare a folder for the shards of a spec; a folder started with the same spec is resumed.

    A spec with another count counts as another spec, because the layout of the shards depends on the count. Temporary
    files left by killed runs are removed.

    Raises:
        DatasetError: The folder cannot be written, holds something else or another spec, or was started with other
            versions of the packages that its bytes depend on.

    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_foreign(root)
        with FileLock(root / GUARD):
            if (root / SPEC).is_file():
                _check_same(root, spec)
            write_file(root / LOCK, lock_text(environment(spec.engine)).encode())
            if not (root / SPEC).is_file():
                write_file(root / SPEC, dump_spec(spec, portable=True).encode())
            remove_abandoned(root)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"{root}: cannot be written ({reason}); choose another --out") from None


def seal_dataset(root: Path, spec: ResolvedSpec, plans: Sequence[ShardPlan], draw: SheetDrawer | None = None) -> bool:
    """Write all files except the shards once the shards are complete; sealing again changes nothing.

    Args:
        root: The dataset folder.
        spec: Resolved.
        plans: All shards of the dataset.
        draw: Draws the contact sheet; None uses `draw_sheet`.

    Returns:
        Whether the folder is sealed; False if shards are missing.

    Raises:
        DatasetError: A shard is damaged.

    """
    with FileLock(root / GUARD):
        if not all(shard_done(plan, root) for plan in plans):
            return False
        if not is_sealed(root, plans):
            write_seal(root, spec, plans, draw or draw_sheet)
        shutil.rmtree(root / PARTS, ignore_errors=True)
        remove_abandoned(root)
    return True


def open_folder(root: Path) -> DatasetFolder:
    """Open a dataset folder, sealed or not.

    Raises:
        DatasetError: It is not one.

    """
    if not (root / SPEC).is_file():
        raise DatasetError(f"{root}: is not a dataset folder (no {SPEC}); give the folder that `synthgen render` wrote")
    spec = load_spec(root / SPEC)
    stored = read_manifest(root) if (root / CHECKSUMS).is_file() else None
    return DatasetFolder(root, spec, describe(spec), plan_shards(spec.name, spec.version, spec.count), stored)


def verify_checksums(root: Path) -> tuple[str, ...]:
    """Compare every file of a sealed dataset with its checksum; return one line per problem.

    Raises:
        DatasetError: The folder is not sealed, or its checksums cannot be read.

    """
    problems = []
    for path, sha256 in read_checksums(root).items():
        if not (root / path).is_file():
            problems.append(f"{path}: is missing")
        elif file_sha256(root / path) != sha256:
            problems.append(f"{path}: has changed")
    return tuple(problems)


def _check_foreign(root: Path) -> None:
    if (root / SPEC).is_file():
        return
    # A run that was killed before it wrote the spec leaves these and nothing else.
    leftovers = {GUARD, "spec", RUN_FILE}
    in_spec = {path.relative_to(root).as_posix() for path in (root / "spec").glob("*")}
    foreign = sorted({path.name for path in root.iterdir()} - leftovers)
    foreign += sorted(name for name in in_spec if name != LOCK and not name.endswith(".partial"))
    if foreign:
        raise DatasetError(
            f"{root}: is not empty and not a dataset folder (it holds {foreign[0]}); choose another --out"
        )


def _check_same(root: Path, spec: ResolvedSpec) -> None:
    changes = difference(load_spec(root / SPEC), spec)
    if changes:
        raise DatasetError(
            f"{root}: holds a dataset of another spec ({'; '.join(changes)}); choose another --out, or use --overwrite"
        )
    started = (root / LOCK).read_text(encoding="utf-8") if (root / LOCK).is_file() else ""
    changes = lock_difference(started, lock_text(environment(spec.engine)))
    if changes:
        raise DatasetError(
            f"{root}: was started with other versions ({'; '.join(changes)}); "
            f"install those in {LOCK}, choose another --out, or use --overwrite"
        )
