"""Removing a dataset that is to be made anew: its own files and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

from synthgen.errors import DatasetError

_FILES = {"README.md", "LICENSE", "croissant.json", "_info.json", "manifest.json", "SHA256SUMS", "run.json"}
_FOLDERS = {
    "spec": re.compile(r"spec\.yaml|environment\.lock"),
    "train": re.compile(r".+\.tar"),
    "validation": re.compile(r".+\.tar"),
    "test": re.compile(r".+\.tar"),
    "labels": re.compile(r".+\.parquet"),
    "preview": re.compile(r".+\.parquet"),
    "assets": re.compile(r".+\.png"),
}
MARK = Path("spec", "spec.yaml")
"""What makes a folder a dataset folder."""


def dataset_bytes(root: Path) -> int:
    """Return the size of the dataset in a folder; 0 where there is none."""
    return sum(path.lstat().st_size for path in _walk(root) if path.is_file()) if (root / MARK).is_file() else 0


def clear_dataset(root: Path) -> None:
    """Remove the dataset in a folder, and leave the folder; an empty or missing folder is fine.

    Raises:
        DatasetError: The folder holds something that is no part of a dataset; then nothing is removed.

    """
    paths = sorted(_walk(root), reverse=True)
    if not paths:
        return
    if not (root / MARK).is_file():
        raise DatasetError(
            f"{root}: is not a dataset folder (no {MARK.as_posix()}); choose another --out, or empty it yourself"
        )
    for path in paths:
        if not _belongs(path, root):
            raise DatasetError(
                f"{path}: is no part of a dataset, so nothing was removed; move it away, or choose another --out"
            )
    # The mark goes last, so that what a crash leaves can still be recognized.
    for path in (p for p in paths if p.is_file() and p != root / MARK):
        path.unlink()
    for path in [p for p in paths if p.is_dir() and p != (root / MARK).parent]:
        path.rmdir()
    (root / MARK).unlink()
    (root / MARK).parent.rmdir()


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
    parts = path.relative_to(root).parts
    if any(part.startswith(".") for part in parts):
        return _is_ours_hidden(parts)
    if len(parts) == 1:
        return parts[0] in _FILES if path.is_file() else parts[0] in _FOLDERS
    return (
        len(parts) == 2 and path.is_file() and bool(_FOLDERS[parts[0]].fullmatch(parts[1]))
        if parts[0] in _FOLDERS
        else False
    )


def _is_ours_hidden(parts: tuple[str, ...]) -> bool:
    return True
