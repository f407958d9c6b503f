"""What ``manifest.json`` says of a dataset. The file is not trusted."""

import json
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from synthgen.datasets.plan import Split
from synthgen.errors import DatasetError
from synthgen.storage.dataset_paths import FORMAT, FORMAT_VERSION
from synthgen.storage.sample import MAX_LANDMARKS, MEMBERS
from synthgen.storage.tar import BLOCK

MAX_SHARD_BYTES = 4 * 2**30
_SAMPLE_BYTES = 2 * BLOCK * len(MEMBERS)
"""What a sample takes at least: a header and a block for each of its files."""


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


class Manifest(_Part):
    """What a reader needs of a dataset's manifest."""

    name: str = Field(pattern="^[a-z][a-z0-9_]*$", max_length=64)
    version: int = Field(ge=1)
    side: Literal["left", "right"]
    image: _Image
    landmarks: list[str] = Field(min_length=1, max_length=MAX_LANDMARKS)
    spec_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    shards: list[Shard] = Field(min_length=1, max_length=100_000)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Return what a ``manifest.json`` says.

    Args:
        content: The file.
        where: What errors call it.

    Raises:
        DatasetError: It is not of a dataset, of a newer version, or damaged.

    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: is not valid JSON ({str(error)[:100]}); restore it") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DatasetError(f"{where}: is not of a synthgen dataset; give a folder that `synthgen render` wrote")
    version = data.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise DatasetError(f"{where}: format_version {version!r:.20} is newer than {FORMAT_VERSION}; update synthgen")
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise DatasetError(f"{where}: {field}: {first['msg'][:100]}; restore the file") from None
    for shard in manifest.shards:
        if shard.samples * _SAMPLE_BYTES > shard.bytes:
            raise DatasetError(f"{where}: {shard.path} is too small for {shard.samples} samples; restore the file")
    return manifest
