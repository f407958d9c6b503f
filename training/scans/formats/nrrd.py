"""The header of NRRD files: ``.nrrd``, and ``.nhdr`` with a separate data file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.untrusted_files import file_size, open_regular, read_head, sibling_file
from synthgen.training.scans.formats.voxels import Layout, check_affine, check_sizes

_MAX_HEADER = 2**20
_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: code for code, text in _TYPES.items() for name in text.split(", ")}
_SPACES = {
    "left-posterior-superior": (1.0, 1.0),
    "lps": (1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0),
    "ras": (-1.0, -1.0),
    "left-anterior-superior": (1.0, -1.0),
    "las": (1.0, -1.0),
}
"""Signs that convert the first two coordinates to LPS."""
_NOT_SPACE = {
    "none",
    "vector",
    "list",
    "point",
    "covariant-vector",
    "normal",
    "scalar",
    "complex",
    "rgb-color",
    "rgba-color",
    "2-vector",
    "3-vector",
    "4-vector",
    "3-color",
    "4-color",
    "hsv-color",
    "xyz-color",
}
"""Kinds of axes that are not spatial: components of a voxel, or a list of images."""
_VECTOR = re.compile(r"none|\([^()]*\)", re.IGNORECASE)


def nrrd_layout(path: Path) -> Layout:
    """Read and check the header of a ``.nrrd`` or ``.nhdr`` file.

    The space of a volume must be LPS, RAS or LAS. A data file must lie in the header's folder.

    Raises:
        ScanError: The header is invalid or unsupported; the text gives the reason.

    """
    fields, end = _read_fields(path)
    channels, sizes, vectors = _axes(path, fields)
    check_sizes(path, sizes)
    affine, stated = _affine(path, fields, vectors, len(sizes))
    if len(sizes) == 3 and sizes[2] > 1:
        _check_space(path, fields)
        check_affine(path, affine)
    dtype = _dtype(path, fields)
    data, start, skip = _data_file(path, fields, end)
    packed = _packed(path, fields)
    if skip < 0:  # the voxels are at the end of the file
        with open_regular(data) as file:
            skip = file_size(file) - start - int(np.prod(sizes, dtype=object)) * channels * dtype.itemsize
        if packed or skip < 0:
            raise ScanError(f"{path}: byte skip: -1 does not match its data file; export it again")
    return Layout(
        path=path,
        data=data,
        start=start,
        packed=packed,
        skip=skip,
        dtype=dtype,
        sizes=sizes,
        channels=channels,
        affine=affine,
        spacing_stated=stated,
    )


def _read_fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's fields, by lower-case names without spaces, and the offset at which it ends."""
    head = read_head(path, _MAX_HEADER)
    if not re.match(rb"NRRD000[1-5]\r?\n", head):
        raise ScanError(f"{path}: has no NRRD header; copy or export it again")
    fields: dict[str, str] = {}
    place = head.index(b"\n") + 1
    while place < len(head):
        end = head.find(b"\n", place)
        end = len(head) if end < 0 else end
        line = head[place:end].decode("latin-1").strip()
        place = end + 1
        if not line:
            break
        name, colon, value = line.partition(": ")
        if not line.startswith("#") and colon and ":=" not in name:
            fields[name.strip().lower().replace(" ", "")] = value.strip()
        elif not line.startswith("#") and ":=" not in line:
            raise ScanError(f"{path}: its header has the invalid line {line[:60]!r}; correct it")
    if place >= _MAX_HEADER:
        raise ScanError(f"{path}: its header has no end; copy or export it again")
    return fields, place


def _axes(path: Path, fields: Mapping[str, str]) -> tuple[int, tuple[int, ...], list[Floats]]:
    """Return the channels per voxel, the sizes of the spatial axes, and their directions if given."""
    shape = [_whole(path, "sizes", word) for word in _field(path, fields, "sizes").split()[:32]]
    if len(shape) != _whole(path, "dimension", _field(path, fields, "dimension")):
        raise ScanError(f"{path}: dimension is {fields['dimension'][:20]} but sizes has {len(shape)}; correct it")
    words = _VECTOR.findall(fields.get("spacedirections", "")[:2000])
    kinds = fields.get("kinds", "").lower().split()
    first = [word.lower() for word in (*words[:1], *kinds[:1])]
    counts = any(word in _NOT_SPACE for word in first)
    channels, sizes = (shape[0], tuple(shape[1:])) if counts else (1, tuple(shape))
    vectors = [_vector(path, word) for word in words if word.lower() != "none"]
    if vectors and (len(vectors) != len(sizes) or len({len(vector) for vector in vectors}) > 1):
        raise ScanError(f"{path}: space directions has {len(vectors)} vectors for {len(sizes)} axes; correct it")
    return channels, sizes, vectors


@np.errstate(over="ignore", invalid="ignore")  # values that are not finite are rejected later
def _affine(path: Path, fields: Mapping[str, str], vectors: list[Floats], count: int) -> tuple[Floats, bool]:
    """Return the affine from voxel centres to LPS mm, and whether the header gives the spacing."""
    affine = np.eye(4)
    if fields.get("spaceunits", '"mm"').replace('"', " ").split() not in ([], ["mm"], ["mm"] * 2, ["mm"] * 3):
        raise ScanError(f"{path}: space units is {fields['spaceunits'][:40]}; save it in mm")
    if vectors:
        for axis, vector in enumerate(vectors):
            affine[: len(vector), axis] = vector
            affine[len(vector) : 3, axis] = 0.0
        origin = _vector(path, fields["spaceorigin"]) if "spaceorigin" in fields else np.zeros(len(vectors[0]))
        affine[: len(origin), 3] = origin
    elif "spacings" in fields:
        spacings = [_number(path, "spacings", word) for word in fields["spacings"].split()[:8]]
        affine[:count, :count] = np.diag(spacings[-count:])
    affine[:2] *= np.reshape(_SPACES.get(fields.get("space", "").lower(), (1.0, 1.0)), (2, 1))
    return affine, bool(vectors) or "spacings" in fields


def _check_space(path: Path, fields: Mapping[str, str]) -> None:
    """Reject a volume whose header does not define the patient orientation."""
    space = fields.get("space", "")
    if space.lower() not in _SPACES or "spacedirections" not in fields:
        found = f"its space is {space[:40]!r}" if space else "it has no space field"
        raise ScanError(f"{path}: {found}, so the patient orientation is unknown; save it in LPS or RAS")


def _dtype(path: Path, fields: Mapping[str, str]) -> np.dtype[Any]:
    kind = _field(path, fields, "type").lower()
    if kind not in _DTYPES:
        raise ScanError(f"{path}: its type is {kind[:40]!r}; save it with integers or floats")
    dtype = np.dtype(_DTYPES[kind])
    endian = fields.get("endian", "little" if dtype.itemsize == 1 else "").lower()
    if endian not in {"little", "big"}:
        raise ScanError(f"{path}: endian is {endian[:40]!r}; write little or big")
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _packed(path: Path, fields: Mapping[str, str]) -> bool:
    encoding = _field(path, fields, "encoding").lower()
    if encoding not in {"raw", "gzip", "gz"}:
        raise ScanError(f"{path}: its encoding is {encoding[:40]!r}; save it as raw or gzip")
    return encoding != "raw"


def _data_file(path: Path, fields: Mapping[str, str], end: int) -> tuple[Path, int, int]:
    """Return the file with the voxels, the offset of its data, and the bytes to skip; -1: the voxels end the file."""
    if _whole(path, "line skip", fields.get("lineskip", "0"), least=0):
        raise ScanError(f"{path}: uses line skip, which is not supported; save it as one .nrrd")
    skip = _whole(path, "byte skip", fields.get("byteskip", "0"), least=-1)
    name = fields.get("datafile")
    if name is None:
        return path, end, skip
    if name.upper().startswith("LIST") or "%" in name:
        raise ScanError(f"{path}: its voxels are split over several files; save it as one .nrrd")
    return sibling_file(path, name), 0, skip


def _field(path: Path, fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise ScanError(f"{path}: its header has no {name}; export it again")
    return fields[name]


def _vector(path: Path, text: str) -> Floats:
    words = text.strip()[1:-1].split(",")
    if not 1 <= len(words) <= 3 or text.strip()[0] + text.strip()[-1] != "()":
        raise ScanError(f"{path}: has the invalid vector {text[:60]!r}; write (x,y,z)")
    return np.array([_number(path, "a vector", word) for word in words])


def _number(path: Path, name: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ScanError(f"{path}: {name} has {word[:40]!r}, which is not a number; correct the header") from None


def _whole(path: Path, name: str, word: str, *, least: int = 1) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", word) or int(word) < least:
        raise ScanError(f"{path}: {name} has {word[:40]!r}; correct the header")
    return int(word)
