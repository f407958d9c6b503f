"""Reads an archive that may be malicious: every byte is checked before it is used."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from synthgen.datasets.plan import ShardPlan
from synthgen.errors import DatasetError
from synthgen.generator.dataset.manifest import DatasetInfo
from synthgen.storage.sample import MEMBERS, decode_fields, decode_sample, sample_key
from synthgen.storage.tar import BLOCK, list_members, pack_end, pack_member

_SCALARS = frozenset((bool, int, float, str))
_RUNS_CODE = frozenset((".pkl", ".pickle", ".pth", ".pt", ".pyd", ".py", ".so", ".dll", ".exe"))


@dataclass(frozen=True)
class ShardContent:
    """The content of an intact archive."""

    lines: tuple[bytes, ...]
    """The json of its samples, in order."""
    kept: dict[str, dict[str, bytes]]
    """The files of the requested samples, by key and suffix."""
    layout: tuple[Any, ...]
    """Keys and types of its samples' json."""


def read_members(path: Path, plan: ShardPlan) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the samples of an archive that has, byte for byte, the form that synthgen writes.

    Args:
        path: The archive.
        plan: What it must contain.

    Raises:
        DatasetError: It differs: in the name, order or type of a member, in a header, or by trailing bytes.

    """
    names = ((sample_key(int(index)), suffix) for index in plan.indices for suffix in MEMBERS)
    with path.open("rb") as file:
        members: dict[str, bytes] = {}
        end, seen = 0, set[str]()
        for member in list_members(file, plan.path):
            key, suffix = next(names, ("", ""))
            if member.name != f"{key}.{suffix}":
                raise DatasetError(f"{plan.path}: {_kind(member.name, seen)}; do not trust its source")
            end = member.offset + member.size + -member.size % BLOCK
            file.seek(member.offset - BLOCK)
            stored = file.read(end - member.offset + BLOCK)
            members[suffix] = stored[BLOCK : BLOCK + member.size]
            if stored != pack_member(member.name, members[suffix]):
                raise DatasetError(
                    f"{plan.path}: the header of {member.name} is not the one that synthgen writes; restore it"
                )
            seen.add(member.name)
            if suffix == MEMBERS[-1]:
                yield key, members
                members = {}
        missing = next(names, None)
        if missing is not None:
            raise DatasetError(f"{plan.path}: ends before {'.'.join(missing)}; restore it")
        _check_end(file, end, plan)


def check_shard(path: Path, plan: ShardPlan, info: DatasetInfo, wanted: Collection[str] = ()) -> ShardContent:
    """Check every sample of an archive.

    Args:
        path: The archive.
        plan: What it must contain.
        info: The facts that its samples must match.
        wanted: Keys of samples to keep.

    Raises:
        DatasetError: The first problem found.

    """
    lines, kept, layout = [], {}, None
    for key, members in read_members(path, plan):
        try:
            own = _check_sample(key, members, info)
        except DatasetError as error:
            raise DatasetError(f"{plan.path}: {key}: {error}") from None
        layout = layout or own
        if own != layout:
            raise DatasetError(
                f"{plan.path}: {key}.json: its fields or types differ from the first sample's; restore it"
            )
        lines.append(members["json"])
        if key in wanted:
            kept[key] = members
    return ShardContent(tuple(lines), kept, layout or ())


def layout_of(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what must be equal in the json of all samples: keys, in order, with their types."""
    return tuple((key, _type(value)) for key, value in fields.items())


def _check_sample(key: str, members: Mapping[str, bytes], info: DatasetInfo) -> tuple[Any, ...]:
    """Check a sample, and return the layout of its json."""
    for name in MEMBERS[:2]:
        _check_png(name, members[name])
    fields, sample = decode_fields(members["json"]), decode_sample(members)
    if sample_key(sample.index) != key:
        raise DatasetError(f"index: value {sample.index}; restore the shard")
    if sample.depth_mm.shape != (info.height, info.width):
        height, width = sample.depth_mm.shape
        raise DatasetError(f"depth.png: {width} x {height} pixels, not {info.width} x {info.height}; restore the shard")
    if len(sample.labels.visible) != len(info.landmarks):
        raise DatasetError(
            f"visible: {len(sample.labels.visible)} landmarks, not {len(info.landmarks)}; restore the shard"
        )
    if fields["depth_steps_per_mm"] != info.depth_steps_per_mm:
        raise DatasetError(f"depth_steps_per_mm: value {fields['depth_steps_per_mm']}; restore the shard")
    return layout_of(fields)


def _check_png(name: str, data: bytes) -> None:
    """Check the chunks of a PNG: their checksums, and that nothing follows the last one."""
    at, kind = 8, b""
    while at + 12 <= len(data) and kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if int.from_bytes(data[end : end + 4], "big") != zlib.crc32(data[at + 4 : end]):
            raise DatasetError(f"{name}: the checksum of a chunk is wrong; restore the shard")
        at = end + 4
    if kind != b"IEND" or at != len(data):
        raise DatasetError(f"{name}: is truncated or has trailing bytes; restore the shard")


def _check_end(file: BinaryIO, end: int, plan: ShardPlan) -> None:
    closing = pack_end(end)
    file.seek(end)
    if file.read(len(closing) + 1) != closing:
        raise DatasetError(f"{plan.path}: lacks the end marker or has trailing bytes; restore it")


def _kind(name: str, seen: set[str]) -> str:
    """Describe what is wrong with the name of a member."""
    quoted, path = f"{name!r:.80}", PurePosixPath(name)
    if name in seen:
        return f"contains {quoted} twice"
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        return f"contains {quoted}, which points outside its folder"
    if path.suffix.lower() in _RUNS_CODE:
        return f"contains {quoted}, which could run code when it is read"
    return f"contains {quoted}, which does not belong there"


def _type(value: Any) -> Any:
    """Return the type of a JSON value; for lists, the type of their items, which must be the same."""
    kind = type(value)
    if kind in _SCALARS:
        return kind
    if kind is dict:
        return tuple((key, _type(item)) for key, item in value.items())
    if kind is not list:
        raise DatasetError(f"json: value {value!r:.40} does not fit into a table; restore the shard")
    kinds = {type(item) for item in value}
    if not kinds <= _SCALARS:
        kinds = {_type(item) for item in value}
    if len(kinds) != 1:
        raise DatasetError("json: a list is empty or mixes types; restore the shard")
    return (kinds.pop(),)
