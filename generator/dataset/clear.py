"""Removing a dataset that is to be made anew: its own files and nothing else."""

from collections.abc import Iterator
from pathlib import Path

from synthgen.errors import DatasetError
from synthgen.storage.dataset_paths import FOLDERS, GUARD, PARTS, RUN_FILE, SPEC, is_managed


def dataset_bytes(root: Path) -> int:
    """Return the size of the dataset in a folder; 0 where there is none."""
    return sum(path.lstat().st_size for path in _walk(root) if path.is_file()) if (root / SPEC).is_file() else 0


def clear_dataset(root: Path) -> None:
    """Remove the dataset in a folder, and leave the folder; an empty or missing folder is fine.

    Raises:
        DatasetError: The folder holds something that is no part of a dataset; then nothing is removed.

    """
    paths = sorted(_walk(root), reverse=True)
    if not paths:
        return
    if not (root / SPEC).is_file():
        raise DatasetError(f"{root}: is not a dataset folder (no {SPEC}); choose another --out, or empty it yourself")
    for path in paths:
        if not _belongs(path, root):
            raise DatasetError(
                f"{path}: is no part of a dataset, so nothing was removed; move it away, or choose another --out"
            )
    # The spec goes last, so that what a crash leaves can still be recognized; the lock stays, for who waits for it.
    last = {root / SPEC, (root / SPEC).parent, root / GUARD}
    for path in (p for p in paths if p not in last):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / SPEC).unlink()
    (root / SPEC).parent.rmdir()


def _walk(root: Path) -> Iterator[Path]:
    """Everything below a folder; links are named, not followed."""
    if not root.is_dir():
        return
    for path in root.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _belongs(path: Path, root: Path) -> bool:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        return False
    relative = path.relative_to(root)
    if path.is_dir():
        return relative.as_posix() in FOLDERS
    if path.name.startswith(".") and path.name.endswith(".partial"):
        return len(relative.parts) <= 2
    name = relative.as_posix()
    return (
        name in {RUN_FILE, GUARD} or is_managed(name) or (name.startswith(f"{PARTS}/") and name.endswith(".jsonl.gz"))
    )
