"""The files of a dataset folder: their paths, and the parser of ``SHA256SUMS``."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from synthgen.errors import DatasetError

FORMAT, FORMAT_VERSION = "synthgen-dataset", 1
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
SPEC = "spec/spec.yaml"
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
"""The only file that differs between runs; it has no checksum and is never pushed."""
GUARD = ".synthgen.lock"
"""Lock file, held while a folder is created or sealed; it remains, empty, and is not part of the dataset."""
PARTS = ".parts"
"""Folder of the label rows of finished shards, until the dataset is sealed."""
PICTURES = (SHEET, LANDMARKS, PEOPLE, POSES)
LAST = (CARD, LICENSE, CROISSANT, INFO, MANIFEST, SPEC, LOCK, CHECKSUMS)
"""The files that are pushed last."""
_ARCHIVES, _TABLES = ("train", "validation", "test"), ("labels", "preview")
FOLDERS = ("spec", "assets", PARTS, *_ARCHIVES, *_TABLES)


def labels_path(split: str) -> str:
    """Return the path of a split's labels."""
    return f"labels/{split}-00000.parquet"


def is_managed(path: str) -> bool:
    """Whether synthgen may write a file at this relative path in a dataset."""
    folder, _, name = path.rpartition("/")
    if path in {*LAST, *PICTURES, PREVIEW}:
        return True
    return (folder in _ARCHIVES and name.endswith(".tar")) or (folder in _TABLES and name.endswith(".parquet"))


def list_files(root: Path) -> list[str]:
    """Return the relative paths of the files in a folder, except hidden files and folders and ``run.json``."""
    return sorted(path.relative_to(root).as_posix() for path in _walk(root) if path != root / RUN_FILE)


def read_checksums(root: Path) -> dict[str, str]:
    """Return the digests in a folder's ``SHA256SUMS`` by relative file path.

    Raises:
        DatasetError: It cannot be read, a line is malformed, or a path leads out of the folder.

    """
    try:
        content = (root / CHECKSUMS).read_bytes()
    except OSError as error:
        raise DatasetError(f"{root / CHECKSUMS}: cannot be read ({error}); the dataset is not sealed") from None
    return parse_checksums(content, str(root / CHECKSUMS))


def parse_checksums(content: bytes, where: str) -> dict[str, str]:
    """Return the digests in a ``SHA256SUMS`` by relative file path, in the order of the lines.

    Args:
        content: The content of the file.
        where: The file's name in error messages.

    Raises:
        DatasetError: A line is malformed, or a path leads out of the folder.

    """
    sums = {}
    for line in content.decode("utf-8", "replace").splitlines():
        sha256, _, path = line.partition("  ")
        inside = PurePosixPath(path)
        if len(sha256) != 64 or not path or inside.is_absolute() or ".." in inside.parts:
            raise DatasetError(f"{where}: {line!r:.100} is not a line of checksum and relative path; restore the file")
        sums[path] = sha256
    return sums


def _walk(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path
