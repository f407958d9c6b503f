"""Removes a dataset before it is rendered again: its files and nothing else."""

from collections.abc import Iterator
from pathlib import Path

from synthgen.errors import DatasetError
from synthgen.storage.dataset_paths import FOLDERS, GUARD, PARTS, RUN_FILE, SPEC, is_managed


def dataset_bytes(root: Path) -> int:
    """Return the size in bytes of the dataset in a folder; 0 if there is none."""
    return sum(path.lstat().st_size for path in _walk(root) if path.is_file()) if (root / SPEC).is_file() else 0


def clear_dataset(root: Path) -> None:
    """Remove the dataset in a folder, but not the folder; an empty or missing folder is left alone.

    Raises:
        DatasetError: The folder holds something that does not belong to a dataset; then nothing is removed.

    """
    paths = sorted(_walk(root), reverse=True)
    if not paths:
        return
    if not (root / SPEC).is_file():
        raise DatasetError(f"{root}: is not a dataset folder (no {SPEC}); choose another --out, or empty it yourself")
    for path in paths:
        if not _belongs(path, root):
            raise DatasetError(
                f"{path}: does not belong to a dataset, so nothing was removed; move it, or choose another --out"
            )
    # The spec goes last, so that leftovers of a crash are still recognized; the lock stays for those waiting for it.
    last = {root / SPEC, (root / SPEC).parent, root / GUARD}
    for path in (p for p in paths if p not in last):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / SPEC).unlink()
    (root / SPEC).parent.rmdir()


def _walk(root: Path) -> Iterator[Path]:
    """Yield everything below a folder; links are yielded, not followed."""
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
