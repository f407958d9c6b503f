"""The header of MetaImage files: ``.mha``, and ``.mhd`` with a separate data file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.untrusted_files import file_size, open_regular, read_head, sibling_file
from synthgen.training.scans.formats.voxels import Layout, check_affine, check_sizes

_MAX_HEADER = 65536
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LAST = "ElementDataFile"


def metaimage_layout(path: Path) -> Layout:
    """Read and check the header of a ``.mha`` or ``.mhd`` file.

    Its frame is LPS. A data file must lie in the header's folder; lists and patterns of files are refused.

    Raises:
        ScanError: The header is invalid or unsupported; the text gives the reason.

    """
    fields, end = _read_fields(path)
    if fields.get("ObjectType", "Image") != "Image":
        raise ScanError(f"{path}: is a MetaImage {fields['ObjectType'][:40]}, not an Image; give the image")
    sizes = _sizes(path, fields)
    if len(sizes) != _whole(path, fields, "NDims", len(sizes)):
        raise ScanError(f"{path}: NDims is {fields['NDims'][:20]} but DimSize has {len(sizes)}; correct the header")
    check_sizes(path, sizes)
    kind = fields.get("ElementType", "")
    if kind.removesuffix("_ARRAY") not in _TYPES:
        raise ScanError(f"{path}: ElementType is {kind[:40]!r}; save it with integers or floats")
    if not _flag(path, fields, "BinaryData", default=True):
        raise ScanError(f"{path}: its voxels are stored as text; save it as binary")
    order = ">" if _flag(path, fields, "BinaryDataByteOrderMSB") or _flag(path, fields, "ElementByteOrderMSB") else "<"
    dtype = np.dtype(order + _TYPES[kind.removesuffix("_ARRAY")])
    channels = _whole(path, fields, "ElementNumberOfChannels", 1)
    packed = _flag(path, fields, "CompressedData")
    data, start = _data_file(path, fields, end)
    if start < 0:  # the voxels are at the end of the file
        with open_regular(data) as file:
            start = file_size(file) - int(np.prod(sizes, dtype=object)) * channels * dtype.itemsize
        if packed or start < 0:
            raise ScanError(f"{path}: HeaderSize = -1 does not match its data file; export it again")
    affine, stated = _affine(path, fields, len(sizes))
    if len(sizes) == 3 and sizes[2] > 1:
        check_affine(path, affine)
    return Layout(
        path=path,
        data=data,
        start=start,
        packed=packed,
        skip=0,
        dtype=dtype,
        sizes=sizes,
        channels=channels,
        affine=affine,
        spacing_stated=stated,
    )


def _read_fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's fields, and the offset at which it ends."""
    head = read_head(path, _MAX_HEADER)
    fields: dict[str, str] = {}
    place = 0
    while _LAST not in fields:
        end = head.find(b"\n", place)
        if end < 0 and len(head) < _MAX_HEADER and place < len(head):
            end = len(head)  # the last line of a header with separate data may lack a newline
        name, equals, value = head[place : max(end, place)].decode("latin-1").partition("=")
        if end < 0 or (not equals and name.strip()):
            raise ScanError(f"{path}: has no MetaImage header up to {_LAST}; copy or export it again")
        if equals:
            fields[name.strip()] = value.strip()
        place = end + 1
    return fields, place


def _sizes(path: Path, fields: Mapping[str, str]) -> tuple[int, ...]:
    words = fields.get("DimSize", "").split()[:32]
    if not words or not all(word.isdecimal() and len(word) < 16 for word in words):
        raise ScanError(f"{path}: DimSize is {fields.get('DimSize', '')[:60]!r}; correct the header")
    return tuple(int(word) for word in words)


def _data_file(path: Path, fields: Mapping[str, str], end: int) -> tuple[Path, int]:
    """Return the file with the voxels and the offset at which they begin; -1 means that they end the file."""
    name = fields[_LAST]
    header_size = _whole(path, fields, "HeaderSize", 0, least=-1)
    if name.upper() == "LOCAL":
        if header_size:
            raise ScanError(f"{path}: has both HeaderSize and {_LAST} = LOCAL; export it again")
        return path, end
    if name.upper().startswith("LIST") or "%" in name:
        raise ScanError(f"{path}: its voxels are split over several files; save it as one .mha")
    return sibling_file(path, name), header_size


@np.errstate(over="ignore", invalid="ignore")  # values that are not finite are rejected later
def _affine(path: Path, fields: Mapping[str, str], count: int) -> tuple[Floats, bool]:
    """Return the affine from voxel centres to LPS mm, and whether the header gives the spacing."""
    spacing_names = ("ElementSpacing", "ElementSize")
    spacing = _numbers(path, fields, spacing_names, [1.0] * count)
    axes = _numbers(path, fields, ("TransformMatrix", "Rotation", "Orientation"), np.eye(count).ravel().tolist())
    origin = _numbers(path, fields, ("Offset", "Origin", "Position"), [0.0] * count)
    for name, values, wanted in (("spacing", spacing, count), ("matrix", axes, count**2), ("origin", origin, count)):
        if len(values) != wanted:
            raise ScanError(f"{path}: its {name} has {len(values)} numbers, expected {wanted}; correct the header")
    affine = np.eye(4)
    affine[:count, :count] = np.reshape(axes, (count, count)).T * spacing  # the file lists the axes one by one
    affine[:count, 3] = origin
    return affine, any(name in fields for name in spacing_names)


def _numbers(
    path: Path, fields: Mapping[str, str], names: tuple[str, ...], default: list[float] | None = None
) -> list[float]:
    """Return the numbers of the first of these fields that is present."""
    for name in names:
        if name in fields:
            try:
                return [float(word) for word in fields[name].split()[:32]]
            except ValueError:
                raise ScanError(f"{path}: {name} is {fields[name][:60]!r}; correct the header") from None
    if default is None:
        raise ScanError(f"{path}: has no {names[0]}; export it again")
    return default


def _whole(path: Path, fields: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    value = _numbers(path, fields, (name,), [float(default)])
    if len(value) != 1 or not least <= value[0] <= 2**40 or value[0] != int(value[0]):
        raise ScanError(f"{path}: {name} is {fields[name][:60]!r}; correct the header")
    return int(value[0])


def _flag(path: Path, fields: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    value = fields.get(name, str(default)).lower()
    if value not in {"true", "false", "1", "0"}:
        raise ScanError(f"{path}: {name} is {value[:60]!r}; write True or False")
    return value in {"true", "1"}
