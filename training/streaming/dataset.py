"""Where a dataset's bytes come from, and what its manifest says, checked before anything is streamed."""

import hashlib
import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO, Literal, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from synthgen.errors import DatasetError
from synthgen.remote.content_cache import ContentCache
from synthgen.remote.progress import TransferListener
from synthgen.specs.domain import Domain
from synthgen.specs.files import parse_spec
from synthgen.specs.safe_yaml import parse_yaml
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.dataset_paths import CHECKSUMS, FORMAT, FORMAT_VERSION, MANIFEST, SPEC
from synthgen.storage.sample import MAX_LANDMARKS, MEMBERS
from synthgen.storage.tar import BLOCK

MAX_FILE_BYTES = 64 * 2**20
"""Of the files around the shards."""
MAX_SHARD_BYTES = 4 * 2**30
MAX_LABELS_BYTES = 16 * 2**30
_SAMPLE_BYTES = 2 * BLOCK * len(MEMBERS)
"""What a sample takes at least: a header and a block for each of its files."""

Split = Literal["train", "validation", "test"]


class Source(Protocol):
    """Something that holds a dataset's files by their paths: a folder, a web server, a repository."""

    @property
    def address(self) -> str:
        """What messages call it."""

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file.

        Raises:
            DatasetError: It is not there, cannot be read, or is larger than ``limit`` bytes.

        """

    def shard(self, path: str, size: int) -> memoryview:
        """Return a whole shard of ``size`` bytes.

        Raises:
            DatasetError: It is not there, cannot be read, or has another size.

        """

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading at any position.

        Raises:
            DatasetError: It is not there, or cannot be read.

        """


@dataclass(frozen=True)
class Folder:
    """A dataset folder on a disk."""

    root: Path

    @property
    def address(self) -> str:
        """The folder."""
        return str(self.root)

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file."""
        with self.open(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DatasetError(f"{self.root / path}: is larger than the expected {limit} bytes; restore it")
        return data

    def shard(self, path: str, size: int) -> memoryview:
        """Return a whole shard, of which the system reads what is looked at."""
        with self.open(path) as file:
            found = file.seek(0, 2)
            if found != size:
                raise DatasetError(f"{self.root / path}: has {found} bytes, the manifest says {size}; restore it")
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def open(self, path: str) -> BinaryIO:
        """Open a file."""
        try:
            return (self.root / path).open("rb")
        except FileNotFoundError:
            raise DatasetError(f"{self.root / path}: is missing; restore it, or render the dataset again") from None
        except OSError as error:
            raise DatasetError(f"{self.root / path}: cannot be read ({error.strerror}); check it") from None


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or not path:
        raise ValueError("leads out of the dataset")
    return path


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Shard(_Part):
    """One archive, as the manifest tells of it."""

    path: Annotated[str, AfterValidator(_inside), Field(max_length=200)]
    split: Split
    bytes: int = Field(gt=0, le=MAX_SHARD_BYTES)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    samples: int = Field(gt=0)


class _Image(_Part):
    width: int = Field(ge=16, le=2048)
    height: int = Field(ge=16, le=2048)


class _Manifest(_Part):
    name: str = Field(pattern="^[a-z][a-z0-9_]*$", max_length=64)
    version: int = Field(ge=1)
    side: Literal["left", "right"]
    image: _Image
    landmarks: list[str] = Field(min_length=1, max_length=MAX_LANDMARKS)
    spec_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    shards: list[Shard] = Field(min_length=1, max_length=100_000)


@dataclass(frozen=True)
class Dataset:
    """A sealed dataset, open for streaming."""

    source: Source
    domain: Domain
    spec: ResolvedSpec
    """Its target files are known by their digests only."""
    name: str
    version: int
    sha256: str
    """Of the manifest, which holds the digest of every shard: equal for equal datasets only."""
    spec_sha256: str
    """Of the resolved spec without its count."""
    shards: tuple[Shard, ...]
    checksums: Mapping[str, str]
    """Digests of all files by their paths, from ``SHA256SUMS``."""

    @property
    def title(self) -> str:
        """The dataset's name, as its shards bear it."""
        return f"synthgen-{self.name}-v{self.version}"

    def split(self, split: Split) -> tuple[Shard, ...]:
        """Return the shards of a split, in stored order.

        Raises:
            DatasetError: It has none.

        """
        shards = tuple(shard for shard in self.shards if shard.split == split)
        if not shards:
            raise DatasetError(f"{self.source.address}: has no samples in split {split}; render more of them")
        return shards


def open_source(
    address: str | Path, cache: ContentCache | None = None, listener: TransferListener | None = None
) -> Source:
    """Return where the bytes of a dataset come from.

    Args:
        address: A folder; ``https://…``, which is a folder on any web server; or ``hf://datasets/owner/name``, at whose
            end ``@revision`` may stand.
        cache: Keeps what is fetched; None: nothing is kept.
        listener: Told of waits, and how much has come.

    Raises:
        SynthgenError: Nothing is known to be there.

    """
    if isinstance(address, str) and "://" in address:
        from synthgen.training.streaming.remote import open_remote  # noqa: PLC0415  # which knows what is here

        return open_remote(address, cache, listener)
    root = Path(address)
    if not (root / CHECKSUMS).is_file():
        state = "is not sealed" if (root / SPEC).is_file() else "is no dataset folder"
        raise DatasetError(f"{root}: {state} (no {CHECKSUMS}); give a folder that `synthgen render` has finished")
    return Folder(root)


def open_dataset(source: Source) -> Dataset:
    """Read what stands around a dataset's shards.

    Raises:
        DatasetError: It is no dataset, is of a newer version, or a file around the shards is damaged.

    """
    checksums = parse_checksums(source.read(CHECKSUMS, MAX_FILE_BYTES))
    content = read_checked(source, MANIFEST, checksums)
    told = _manifest(content, f"{source.address}: {MANIFEST}")
    spec = parse_spec(parse_yaml(read_checked(source, SPEC, checksums), f"{source.address}: {SPEC}"))
    domain = Domain.of_spec(spec)
    same = (domain.width, domain.height) == (told.image.width, told.image.height)
    if not same or list(domain.landmarks) != told.landmarks or spec.side != told.side:
        raise DatasetError(f"{source.address}: {MANIFEST} and {SPEC} are not of one dataset; restore them")
    sha256 = hashlib.sha256(content).hexdigest()
    return Dataset(
        source, domain, spec, told.name, told.version, sha256, told.spec_sha256, tuple(told.shards), checksums
    )


def read_checked(source: Source, path: str, checksums: Mapping[str, str], limit: int = MAX_FILE_BYTES) -> bytes:
    """Return a file whose digest is the one in ``SHA256SUMS``.

    Raises:
        DatasetError: It is another, or not listed.

    """
    content = source.read(path, limit)
    if path not in checksums:
        raise DatasetError(f"{source.address}: {CHECKSUMS} does not list {path}; render the dataset again to seal it")
    if hashlib.sha256(content).hexdigest() != checksums[path]:
        raise DatasetError(f"{source.address}: {path} has changed (its checksum is another); restore it")
    return content


def open_checked(source: Source, path: str, checksums: Mapping[str, str]) -> BinaryIO:
    """Open a large file after reading it once for its digest.

    Raises:
        DatasetError: As `read_checked`.

    """
    file = source.open(path)
    if content_sha256(file) != checksums.get(path):
        file.close()
        raise DatasetError(f"{source.address}: {path} has changed (its checksum is another); restore it")
    return file


def content_sha256(file: BinaryIO) -> str:
    """Return the SHA-256 of what follows in an open file, hexadecimal."""
    digest = hashlib.sha256()
    while piece := file.read(2**20):
        digest.update(piece)
    return digest.hexdigest()


def parse_checksums(content: bytes) -> dict[str, str]:
    """Return the digests in a ``SHA256SUMS`` by their files' paths."""
    pairs = [line.partition("  ") for line in content.decode("utf-8", "replace").splitlines()]
    return {path: sha256 for sha256, _, path in pairs}


def _manifest(content: bytes, where: str) -> _Manifest:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: is no JSON ({str(error)[:100]}); restore it") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DatasetError(f"{where}: is not of a synthgen dataset; give a folder that `synthgen render` wrote")
    version = data.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise DatasetError(f"{where}: format_version {version!r:.20} is newer than {FORMAT_VERSION}; update synthgen")
    try:
        told = _Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{where}: {field}: {first['msg'][:100]}; restore the file") from None
    for shard in told.shards:
        if shard.samples * _SAMPLE_BYTES > shard.bytes:
            raise DatasetError(f"{where}: {shard.path} is too small for {shard.samples} samples; restore the file")
    return told
