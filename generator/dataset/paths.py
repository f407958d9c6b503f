"""Which files a dataset folder has, and which it must not have."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from synthgen.generator.dataset.shards import ShardPlan
from synthgen.storage.dataset_paths import CHECKSUMS, MANIFEST, SPEC, labels_path

LOCK = "spec/environment.lock"
INFO = "_info.json"
CARD = "README.md"
LICENSE = "LICENSE"
CROISSANT = "croissant.json"
SHEET = "assets/contact_sheet.png"
LANDMARKS = "assets/landmarks.png"
PEOPLE = "assets/people.png"
POSES = "assets/poses.png"
PREVIEW = "preview/preview.parquet"
RUN_FILE = "run.json"
"""The only file that differs between runs: in no checksum, and never pushed."""
PICTURES = (SHEET, LANDMARKS, PEOPLE, POSES)
LAST = (CARD, LICENSE, CROISSANT, INFO, MANIFEST, SPEC, LOCK, CHECKSUMS)
"""What is pushed after all else."""


def dataset_paths(plans: Sequence[ShardPlan]) -> set[str]:
    """Return the paths that a dataset of these shards may have, relative to its folder."""
    tables = {PREVIEW, *(labels_path(plan.split) for plan in plans)}
    return {*LAST, *PICTURES, *tables, *(plan.path for plan in plans)}


def is_managed(path: str) -> bool:
    """Tell whether a path is one that synthgen writes in datasets, whichever one."""
    folder, _, name = path.rpartition("/")
    if path in dataset_paths(()):
        return True
    return (folder in {"train", "validation", "test"} and name.endswith(".tar")) or (
        folder in {"labels", "preview"} and name.endswith(".parquet")
    )


def list_files(root: Path) -> list[str]:
    """Return what lies in a folder, relative to it; hidden files and folders, and ``run.json``, are left out."""
    return sorted(path.relative_to(root).as_posix() for path in _walk(root) if path != root / RUN_FILE)


def _walk(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path
