"""The storage half of the test Hub in Xet mode: xorbs, shards, reconstructions, as `hf_xet` 1.8 speaks them.

Standard library only. What it knows of the formats: a xorb is a row of chunks, each with a header of 8 bytes (version,
packed size, scheme, size); a shard lists files as terms (a range of chunks of a xorb) with the SHA-256 of the whole.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

HEADER = 8
RECORD = 48
_STORED, _LZ4, _GROUPED = 0, 1, 2
_VERIFIED, _WITH_SHA256 = 0x80000000, 0x40000000
_LZ4_MAGIC = 0x184D2204


@dataclass(frozen=True)
class Term:
    xorb: str
    unpacked: int
    first: int
    end: int


@dataclass(frozen=True)
class XetFile:
    size: int
    sha256: str | None
    terms: tuple[Term, ...]


class XetStore:
    """Xorbs as files in a folder, shards as tables in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._chunks: dict[str, list[int]] = {}
        self.files: dict[str, XetFile] = {}
        self.by_sha256: dict[str, str] = {}

    def xorb_path(self, xorb: str) -> Path:
        return self._folder / xorb

    def put_xorb(self, xorb: str, data: bytes) -> bool:
        """Keep a xorb; tell whether it is new."""
        new = xorb not in self._chunks
        offsets = [0]
        while offsets[-1] + HEADER <= len(data) and data[offsets[-1]] == 0:
            offsets.append(offsets[-1] + HEADER + int.from_bytes(data[offsets[-1] + 1 : offsets[-1] + 4], "little"))
        self.xorb_path(xorb).write_bytes(data)
        self._chunks[xorb] = offsets
        return new

    def put_shard(self, data: bytes) -> str | None:
        """Register the files of a shard; return what is wrong with it."""
        at = RECORD
        while at + RECORD <= len(data):
            name, flags, count = data[at : at + 32], *struct.unpack("<II", data[at + 32 : at + 40])
            at += RECORD
            if name == b"\xff" * 32:
                return None
            terms = [_term(data[at + RECORD * i : at + RECORD * (i + 1)]) for i in range(count)]
            for term in terms:
                if term.end >= len(self._chunks.get(term.xorb, ())):
                    return f"xorb {term.xorb} is not there"
            at += RECORD * count * (2 if flags & _VERIFIED else 1)
            sha256 = None
            if flags & _WITH_SHA256:
                sha256 = _hex(data[at : at + 32])
                at += RECORD
            self.files[_hex(name)] = XetFile(sum(t.unpacked for t in terms), sha256, tuple(terms))
            if sha256:
                self.by_sha256[sha256] = _hex(name)
        return None

    def reconstruction(self, file: str, asked: str | None, base: str) -> dict:
        """Return where the bytes of a file lie, as the client asks it."""
        found = self.files[file]
        first, last = 0, found.size - 1
        if asked:
            first, last = (int(part) for part in asked.removeprefix("bytes=").split("-"))
        terms, fetch, at, skip = [], {}, 0, 0
        for term in found.terms:
            if at + term.unpacked > first and at <= last:
                skip = first - at if not terms else skip
                span = {"start": term.first, "end": term.end}
                terms.append({"hash": term.xorb, "unpacked_length": term.unpacked, "range": span})
                offsets = self._chunks[term.xorb]
                place = {
                    "range": span,
                    "url": f"{base}/_xorb/{term.xorb}",
                    "url_range": {"start": offsets[term.first], "end": offsets[term.end] - 1},
                }
                if place not in fetch.setdefault(term.xorb, []):
                    fetch[term.xorb].append(place)
            at += term.unpacked
        return {"offset_into_first_range": skip, "terms": terms, "fetch_info": fetch}

    def content(self, file: str) -> bytes:
        """Return a whole file, put together again from its chunks."""
        parts = []
        for term in self.files[file].terms:
            data, offsets = self.xorb_path(term.xorb).read_bytes(), self._chunks[term.xorb]
            parts += [_unpack(data[offsets[i] : offsets[i + 1]]) for i in range(term.first, term.end)]
        return b"".join(parts)


def _term(record: bytes) -> Term:
    _, unpacked, first, end = struct.unpack("<4I", record[32:])
    return Term(_hex(record[:32]), unpacked, first, end)


def _hex(digest: bytes) -> str:
    """Write a digest as Xet does: four words of 64 bits, each the other way round."""
    return b"".join(struct.pack(">Q", word) for word in struct.unpack("<4Q", digest)).hex()


def _unpack(chunk: bytes) -> bytes:
    scheme, size = chunk[4], int.from_bytes(chunk[5:8], "little")
    data = chunk[HEADER:] if scheme == _STORED else unpack_lz4_frame(chunk[HEADER:])
    if scheme == _GROUPED:  # bytes 0, 4, 8 ..., then 1, 5, 9 ...
        plain, at = bytearray(size), 0
        for lane in range(4):
            length = len(range(lane, size, 4))
            plain[lane::4] = data[at : at + length]
            at += length
        data = bytes(plain)
    if scheme not in (_STORED, _LZ4, _GROUPED) or len(data) != size:
        raise ValueError(f"chunk of scheme {scheme}: {len(data)} bytes, expected {size}")
    return data


def unpack_lz4_frame(data: bytes) -> bytes:
    """Unpack an LZ4 frame; checksums are skipped, since the whole file has its SHA-256."""
    magic, flags = struct.unpack_from("<IB", data)
    if magic != _LZ4_MAGIC:
        raise ValueError("no LZ4 frame")
    at, plain = 6 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0) + 1, bytearray()
    while size := int.from_bytes(data[at : at + 4], "little"):
        at += 4
        packed, size = not size & 0x80000000, size & 0x7FFFFFFF
        if packed:
            _unpack_block(data[at : at + size], plain)
        else:
            plain += data[at : at + size]
        at += size + (4 if flags & 0x10 else 0)
    return bytes(plain)


def _unpack_block(data: bytes, plain: bytearray) -> None:
    at = 0
    while at < len(data):
        token, at = data[at], at + 1
        length, at = _length(data, at, token >> 4)
        plain += data[at : at + length]
        at += length
        if at >= len(data):
            return
        back, at = int.from_bytes(data[at : at + 2], "little"), at + 2
        length, at = _length(data, at, token & 15)
        length += 4
        start = len(plain) - back
        if back >= length:
            plain += plain[start : start + length]
        else:  # the copy reads what it has just written
            piece = bytes(plain[start:])
            plain += (piece * (length // back + 1))[:length]


def _length(data: bytes, at: int, length: int) -> tuple[int, int]:
    if length == 15:
        while True:
            more, at = data[at], at + 1
            length += more
            if more != 255:
                break
    return length, at
