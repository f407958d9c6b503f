"""Reading shards, and writing them atomically."""

import contextlib
import gzip
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from synthgen.datasets.plan import ShardPlan
from synthgen.errors import DatasetError
from synthgen.storage.atomic_files import HashingFile, atomic_file, file_sha256
from synthgen.storage.sample import MAX_JSON_BYTES, MEMBERS, Sample, decode_fields, encode_sample, sample_key
from synthgen.storage.tar import is_closed, list_members, pack_end, pack_member

_LINES_AT_ONCE = 2**18
"""Buffer size in bytes; compressing label lines one by one takes four times as long."""


@dataclass(frozen=True)
class ShardReceipt:
    """Size and digest of a written archive."""

    path: str
    bytes: int
    sha256: str
    samples: int


def write_shard(plan: ShardPlan, samples: Iterable[Sample], root: Path, depth_steps_per_mm: float) -> ShardReceipt:
    """Write an archive and its label lines; each gets its final name once it is complete on disk, the archive last.

    Args:
        plan: The archive.
        samples: Exactly the planned samples, in order.
        root: The dataset folder.
        depth_steps_per_mm: Steps of the stored depth per mm.

    Raises:
        SynthgenError: Depths do not fit 16 bits.
        ValueError: The samples are not the planned ones, or their recipes have different keys or types.

    """
    with atomic_file(root / plan.path) as archive, atomic_file(root / plan.part) as part:
        tar = HashingFile(archive)
        with _gzip(part) as packed, io.BufferedWriter(packed, _LINES_AT_ONCE) as lines:
            _write_members(plan, samples, tar, lines, depth_steps_per_mm)
            tar.write(pack_end(tar.bytes))
            receipt = ShardReceipt(plan.path, tar.bytes, tar.sha256, plan.samples)
            lines.write(_footer(receipt))
    return receipt


def shard_done(plan: ShardPlan, root: Path) -> bool:
    """Return whether an archive exists and is not truncated; reads only its end."""
    try:
        with (root / plan.path).open("rb") as file:
            return is_closed(file)
    except FileNotFoundError:
        return False


def read_shard(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield each sample of an archive: its key, and its files by suffix.

    Raises:
        DatasetError: It is truncated, or is not an archive of samples.

    """
    with path.open("rb") as file:
        yield from _samples(file, path.name, MEMBERS)


def find_sample(path: Path, index: int) -> dict[str, bytes]:
    """Return the files of one sample of an archive.

    Raises:
        DatasetError: The sample is missing, or the archive is damaged.

    """
    key, members = sample_key(index), {}
    with path.open("rb") as file:
        for member in list_members(file, path.name):
            if member.name.startswith(f"{key}."):
                file.seek(member.offset)
                members[member.name.removeprefix(f"{key}.")] = file.read(member.size)
                if len(members) == len(MEMBERS):
                    return members
    raise DatasetError(f"{path.name}: sample {key} is missing; render the shard again")


def read_part(plan: ShardPlan, root: Path) -> tuple[ShardReceipt, list[bytes]]:
    """Return a shard's receipt and the json of its samples, rebuilt from the archive if necessary.

    Raises:
        DatasetError: The archive is damaged.

    """
    with contextlib.suppress(OSError, EOFError, ValueError, TypeError, KeyError):
        *lines, footer = gzip.decompress((root / plan.part).read_bytes()).splitlines()
        receipt = ShardReceipt(**json.loads(footer)["receipt"])
        fits = receipt.path == plan.path and receipt.bytes == (root / plan.path).stat().st_size
        if fits and len(lines) == receipt.samples == plan.samples:
            return receipt, lines
    return rebuild_part(plan, root)


def rebuild_part(plan: ShardPlan, root: Path) -> tuple[ShardReceipt, list[bytes]]:
    """Rebuild the label lines of an archive from the archive.

    Raises:
        DatasetError: The archive is damaged or does not hold the planned samples.

    """
    path = root / plan.path
    with path.open("rb") as file:
        samples = [(key, members["json"]) for key, members in _samples(file, path.name, ("json",))]
        if not is_closed(file) or [key for key, _ in samples] != [sample_key(i) for i in plan.indices]:
            raise DatasetError(f"{plan.path}: does not hold the planned samples; remove it and render again")
    for key, line in samples:
        if b"\n" in line or sample_key(decode_fields(line)["index"]) != key:
            raise DatasetError(f"{plan.path}: {key}.json belongs to another sample; remove the shard and render again")
    receipt = ShardReceipt(plan.path, path.stat().st_size, file_sha256(path), len(samples))
    with atomic_file(root / plan.part) as part, _gzip(part) as lines:
        for _, line in samples:
            lines.write(line + b"\n")
        lines.write(_footer(receipt))
    return receipt, [line for _, line in samples]


def _write_members(
    plan: ShardPlan, samples: Iterable[Sample], tar: HashingFile, lines: BinaryIO, depth_steps_per_mm: float
) -> None:
    planned, layout = iter(plan.indices), None
    for sample in samples:
        if sample.index != next(planned, None):
            raise ValueError(f"{plan.path}: sample {sample.index} is not the planned one")
        own = _layout(sample)
        layout = layout or own
        if own != layout:
            raise ValueError(f"sample {sample.index}: its recipe has other keys or types than the shard's first sample")
        members, key = encode_sample(sample, depth_steps_per_mm), sample_key(sample.index)
        if len(members["json"]) > MAX_JSON_BYTES:
            raise ValueError(f"sample {sample.index}: {len(members['json'])} bytes of json, above {MAX_JSON_BYTES}")
        tar.write(b"".join([pack_member(f"{key}.{suffix}", data) for suffix, data in members.items()]))
        lines.write(members["json"] + b"\n")
    if next(planned, None) is not None:
        raise ValueError(f"{plan.path}: fewer samples than the {plan.samples} planned ones")


def _layout(sample: Sample) -> tuple[object, ...]:
    """Return what must be equal in all samples for them to fit into one table."""
    recipes = (sample.shape, sample.pose, sample.camera)
    return (sample.labels.landmarks_px.shape, *map(tuple, recipes), *(tuple(map(type, r.values())) for r in recipes))


def _gzip(file: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0)


def _footer(receipt: ShardReceipt) -> bytes:
    return json.dumps({"receipt": asdict(receipt)}).encode() + b"\n"


def _samples(file: BinaryIO, name: str, wanted: tuple[str, ...]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the wanted files of each sample; every sample must have its three files, consecutive and in order."""
    current, members = "", {}
    for position, member in enumerate(list_members(file, name)):
        key, _, suffix = member.name.partition(".")
        expected = MEMBERS[position % len(MEMBERS)]
        if suffix != expected or (key != current and position % len(MEMBERS)):
            raise DatasetError(f"{name}: expected a {expected}, found {member.name!r:.80}; restore the shard")
        current = key
        if suffix in wanted:
            file.seek(member.offset)
            members[suffix] = file.read(member.size)
        if suffix == MEMBERS[-1]:
            yield key, members
            members = {}
    if members:
        raise DatasetError(f"{name}: ends within sample {current}; restore the shard")
