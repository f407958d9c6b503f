"""Walks through a DICOM file's elements to the end of the file, before GDCM sees it."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from synthgen.errors import ScanError
from synthgen.training.scans.formats.untrusted_files import file_size, open_regular

Tag = tuple[int, int]
_SYNTAX: Tag = (0x0002, 0x0010)
_PIXELS: Tag = (0x7FE0, 0x0010)
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
"""Value representations whose length has 32 bits."""
_VRS = _LONG | set(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_MAX_VALUE = 4096
_MAX_STREAM_HEAD = 2**18
_MAX_ELEMENTS = 100_000
_MAX_DEPTH = 16
_IMPLICIT, _BIG, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_NATIVE = {_IMPLICIT, _BIG, "1.2.840.10008.1.2.1"}
"""Transfer syntaxes whose pixels are not compressed."""


@dataclass(frozen=True)
class Elements:
    """What was found on the way."""

    values: Mapping[str, bytes]
    """Values of the elements that were wanted, by the name they were wanted under."""
    big: bool
    """Are numbers big endian?"""
    syntax: str
    """The transfer syntax."""
    native: bool
    """Are the pixels not compressed?"""
    pixel_bytes: int | None
    """Length of the pixel data, compressed or not; None where there are none."""
    stream: bytes
    """The first bytes of compressed pixels."""


def walk_elements(path: Path, wanted: Mapping[str, Tag]) -> Elements:
    """Follow the elements of a DICOM file to its end.

    Args:
        path: The file.
        wanted: Elements whose values are kept, by a name; those within sequences are not.

    Raises:
        ScanError: It is no DICOM file, is cut off or damaged, or its parts lie too deep in each other.

    """
    with open_regular(path) as file:
        if file.read(132)[128:] != b"DICM":
            raise ScanError(f"{path}: is no DICOM file; move it away, or copy or export it again")
        walk = _Walk(path, file, wanted)
        try:
            walk.all()
        except (struct.error, _CutOffError):
            raise ScanError(f"{path}: ends too early or is damaged; copy or export it again") from None
    return Elements(walk.values, walk.big, walk.syntax, walk.native, walk.pixel_bytes, walk.stream)


def text_of(data: bytes) -> str:
    """Return a value as text on one line."""
    kept = data.decode("latin-1").strip("\0 ")
    return "".join(letter if letter.isprintable() else "?" for letter in kept)


class _CutOffError(Exception):
    """An element goes on behind the end of the file, or makes no sense."""


class _Walk:
    """A walk through all elements of one file, which keeps the values that are wanted."""

    def __init__(self, path: Path, file: BinaryIO, wanted: Mapping[str, Tag]) -> None:
        self.values: dict[str, bytes] = {}
        self.pixel_bytes: int | None = None
        self.stream = b""
        self.syntax = ""
        self.native = True
        self.big = False
        self._names = {tag: name for name, tag in wanted.items()}
        self._path, self._file, self._size, self._count = path, file, file_size(file), 0

    def all(self) -> None:
        """Walk from behind the preamble to the end of the file."""
        implicit = False
        in_meta = True
        while self._rest() > 0:
            if in_meta and not self._peek_meta():
                in_meta = False
                if self.syntax == _DEFLATED or not self.syntax:
                    found = "its data set is deflated" if self.syntax else "it names no transfer syntax"
                    raise ScanError(f"{self._path}: {found}; export it again as Explicit VR Little Endian")
                implicit, self.big = self.syntax == _IMPLICIT, self.syntax == _BIG
                self.native = self.syntax in _NATIVE
            self._element(implicit=implicit, top=True, depth=0)

    def _peek_meta(self) -> bool:
        place = self._file.tell()
        group = self._file.read(2)
        self._file.seek(place)
        return group == b"\x02\0"

    def _unpack(self, form: str, count: int) -> tuple[int, ...]:
        return struct.unpack((">" if self.big else "<") + form, self._file.read(count))

    def _head(self, *, implicit: bool) -> tuple[Tag, bytes, int]:
        """Read tag, value representation (empty if implicit) and length of the next element."""
        self._count += 1
        if self._count > _MAX_ELEMENTS:
            raise ScanError(f"{self._path}: has more than {_MAX_ELEMENTS} elements; export it again")
        group, element = self._unpack("HH", 4)
        if implicit or group == 0xFFFE:
            return (group, element), b"", self._unpack("I", 4)[0]
        vr = self._file.read(2)
        if vr not in _VRS:
            raise _CutOffError
        if vr in _LONG:
            self._skip(2)
            return (group, element), vr, self._unpack("I", 4)[0]
        return (group, element), vr, self._unpack("H", 2)[0]

    def _rest(self) -> int:
        return self._size - self._file.tell()

    def _skip(self, count: int) -> None:
        if count > self._rest():
            raise _CutOffError
        self._file.seek(count, 1)

    def _element(self, *, implicit: bool, top: bool, depth: int) -> Tag:
        """Walk over one element; of those that do not lie in a sequence (``top``), keep what is wanted."""
        tag, vr, length = self._head(implicit=implicit)
        if top and tag == _PIXELS:
            self.pixel_bytes = self._fragments() if length == _UNDEFINED else length
        if length == _UNDEFINED:
            if not (top and tag == _PIXELS):
                self._items(implicit=implicit or vr == b"UN", depth=depth + 1)
        elif top and (tag in self._names or tag == _SYNTAX) and length <= min(_MAX_VALUE, self._rest()):
            value = self._file.read(length)
            self.syntax = text_of(value) if tag == _SYNTAX else self.syntax
            self.values[self._names.get(tag, "")] = value
        else:
            self._skip(length)
        return tag

    def _items(self, *, implicit: bool, depth: int) -> None:
        """Walk over the items of a sequence of undefined length."""
        if depth > _MAX_DEPTH:
            raise ScanError(f"{self._path}: its sequences lie more than {_MAX_DEPTH} deep; export it again")
        while True:
            tag, _, length = self._head(implicit=True)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise _CutOffError
            if length != _UNDEFINED:
                self._skip(length)
                continue
            while self._element(implicit=implicit, top=False, depth=depth) != _ITEM_END:
                pass

    def _fragments(self) -> int:
        """Walk over compressed pixels, and return their bytes without the table of offsets; keep the first ones."""
        sizes: list[int] = []
        while True:
            tag, _, length = self._head(implicit=True)
            if tag == _SEQUENCE_END:
                return sum(sizes[1:])
            if tag != _ITEM:
                raise _CutOffError
            place = self._file.tell()
            self._skip(length)
            sizes.append(length)
            if len(sizes) == 2:
                self._file.seek(place)
                self.stream = self._file.read(min(length, _MAX_STREAM_HEAD))
                self._file.seek(place + length)
