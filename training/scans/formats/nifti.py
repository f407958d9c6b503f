"""The header of NIfTI files (versions 1 and 2, one file, packed or not)."""

import struct
from pathlib import Path

import numpy as np

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.untrusted_files import open_regular
from synthgen.training.scans.formats.voxels import Layout, check_affine, check_sizes, unpacked

_GZIP = b"\x1f\x8b"
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOUR = {128: 3, 2304: 4}
"""Three or four numbers of 8 bits."""
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Not said, metre, millimetre, micrometre."""
_HEADS = {
    348: {
        "dim": (40, "8h"),
        "datatype": (70, "h"),
        "pixdim": (76, "8f"),
        "vox_offset": (108, "f"),
        "scale": (112, "2f"),
        "units": (123, "B"),
        "codes": (252, "2h"),
        "quaternion": (256, "3f"),
        "qoffset": (268, "3f"),
        "srow": (280, "12f"),
        "magic": (344, "4s"),
    },
    540: {
        "dim": (16, "8q"),
        "datatype": (12, "h"),
        "pixdim": (104, "8d"),
        "vox_offset": (168, "q"),
        "scale": (176, "2d"),
        "units": (500, "i"),
        "codes": (344, "2i"),
        "quaternion": (352, "3d"),
        "qoffset": (376, "3d"),
        "srow": (400, "12d"),
        "magic": (4, "4s"),
    },
}
"""Place and form of the fields, by the header's length."""


class _Head:
    """The fields of a header, by name."""

    def __init__(self, data: bytes, length: int, order: str) -> None:
        self._data, self._fields, self._order, self.length = data, _HEADS[length], order, length

    def all(self, name: str) -> tuple[float, ...]:
        """The numbers of a field."""
        place, form = self._fields[name]
        return struct.unpack_from(self._order + form, self._data, place)

    def one(self, name: str) -> float:
        """The number of a field that holds one."""
        return self.all(name)[0]

    @property
    def magic(self) -> bytes:
        """The four bytes that name the kind of file."""
        place, _ = self._fields["magic"]
        return self._data[place : place + 4]


def nifti_layout(path: Path) -> Layout:
    """Read and check the header of a ``.nii`` or ``.nii.gz`` file.

    The affine is the file's sform, or where it has none its qform, as nibabel chooses, turned from RAS to LPS.

    Raises:
        ScanError: The header cannot be used; the text says why.

    """
    packed, head, order = _read_head(path)
    count = int(head.one("dim"))
    sizes = tuple(int(size) for size in head.all("dim")[1 : 1 + count]) if 1 <= count <= 7 else ()
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    check_sizes(path, sizes)
    code = int(head.one("datatype"))
    if code not in _TYPES and code not in _COLOUR:
        raise ScanError(f"{path}: has voxels of NIfTI type {code}; save it with integers or floats")
    affine, stated = _affine(path, head, volume=len(sizes) == 3 and sizes[2] > 1)
    slope, intercept = (float(value) for value in head.all("scale"))
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        slope, intercept = 1.0, 0.0
    return Layout(
        path=path,
        data=path,
        start=0,
        packed=packed,
        skip=_offset(path, head),
        dtype=np.dtype(order + _TYPES.get(code, "u1")),
        sizes=sizes,
        channels=_COLOUR.get(code, 1),
        affine=affine,
        spacing_stated=stated,
        slope=slope,
        intercept=intercept,
    )


def _read_head(path: Path) -> tuple[bool, _Head, str]:
    """Return whether the file is packed, its header, and its byte order."""
    with open_regular(path) as file:
        data = file.read(540)
        packed = data[:2] == _GZIP
        if packed:
            file.seek(0)
            data = b""
            for piece in unpacked(path, file):
                data = (data + piece)[:540]
                if len(data) == 540:
                    break
    for order in "<>":
        length = struct.unpack(order + "i", data[:4])[0] if len(data) >= 4 else 0
        if length in _HEADS and len(data) >= length:
            head = _Head(data, length, order)
            if head.magic in {b"n+1\0", b"n+2\0"}:
                return packed, head, order
            if head.magic[:2] == b"ni":
                raise ScanError(f"{path}: is half of a pair of NIfTI files; save it as one .nii.gz")
    raise ScanError(f"{path}: has no NIfTI header; copy or export it again")


def _offset(path: Path, head: _Head) -> int:
    """Return the bytes before the voxels; 0 stands for right behind the header."""
    offset = head.one("vox_offset")
    if offset == 0:
        return head.length + 4
    if not (head.length + 4 <= offset <= 2**30 and offset == int(offset)):
        raise ScanError(f"{path}: its voxels begin at byte {offset:g}, within its header; export it again")
    return int(offset)


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused afterwards
def _affine(path: Path, head: _Head, *, volume: bool) -> tuple[Floats, bool]:
    """Return voxel centres to LPS mm, and whether the file says it; a flat image needs no patient directions."""
    qform_code, sform_code = head.all("codes")
    unit = _UNIT_MM.get(int(head.one("units")) & 7)
    if unit is None:
        raise ScanError(f"{path}: its unit of length is unknown; correct xyzt_units in the header")
    affine = np.eye(4)
    pixdim = head.all("pixdim")
    if sform_code > 0:
        affine[:3] = np.reshape(head.all("srow"), (3, 4))
    elif qform_code > 0:
        if min(pixdim[1:4]) <= 0:
            raise ScanError(f"{path}: its spacing is {pixdim[1]:g} x {pixdim[2]:g} x {pixdim[3]:g}; correct pixdim")
        affine[:3, :3] = _rotation(path, head.all("quaternion")) * pixdim[1:4]
        affine[:3, 2] *= -1.0 if pixdim[0] == -1 else 1.0
        affine[:3, 3] = head.all("qoffset")
    elif volume:
        raise ScanError(f"{path}: does not say how the patient lies (no sform, no qform); set its sform")
    else:
        affine[:3, :3] = np.diag([*pixdim[1:3], 1.0])
    affine[:3] *= unit
    affine = _TO_LPS @ affine
    if volume:
        check_affine(path, affine)
    return affine, True


def _rotation(path: Path, bcd: tuple[float, ...]) -> Floats:
    """Return the rotation (3, 3) of a unit quaternion that is stored without its first, positive part."""
    b, c, d = bcd
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest > -1e-6:
        raise ScanError(f"{path}: its qform is no rotation; export it again")
    a, b, c, d = np.array([np.sqrt(max(rest, 0.0)), b, c, d]) / np.sqrt(max(rest, 0.0) + b * b + c * c + d * d)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
