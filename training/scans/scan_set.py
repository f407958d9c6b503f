"""The scan set: real scans in the common domain, with their landmarks and the way back, in one HDF5 file.

The file is trusted no further than its checks go: sizes are compared before anything is loaded, and nothing in it can
point to another file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.storage.atomic_files import atomic_file

FORMAT, VERSION = "synthgen-scanset", 1
MAX_BYTES = 8 * 2**30
MAX_SIDE, MAX_LANDMARKS = 4096, 4096
_GZIP = 4
_TEXTS = ("id", "subject", "side", "source", "sha256", "settings")


@dataclass(frozen=True)
class ScanSetInfo:
    """What all scans of a set have in common: its root attributes."""

    landmark_set: str
    landmark_names: tuple[str, ...]
    model: str
    """``hand`` or ``body``."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    framing: str
    """JSON of the spec's framing: networks and scans must share it."""
    spec_sha256: str
    """Digest of the resolved spec whose image, framing and landmarks the scans were converted to."""


@dataclass(frozen=True)
class Scan:
    """One scan in the common domain."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    depth_mm: NDArray[np.float32] | None
    """(H, W), NaN for background; None for 2D scans."""
    landmarks_px: Floats
    """(K, 2) continuous pixels of the patch, NaN where missing."""
    landmarks_mm: Floats
    """(K, 3) LPS, NaN where missing and for 2D scans."""
    patch_to_source: Floats
    """(4, 4), homogeneous: (x_px, y_px, depth_mm, 1) to LPS mm, or to pixels of the source for 2D scans."""
    mm_per_px: float
    """NaN where the source has no spacing."""
    touches_border: bool
    id: str
    subject: str
    side: str
    """``left`` or ``right``, empty for a body."""
    source: str
    """The image's path as the table gives it."""
    sha256: str
    """Of the image file, or of a DICOM folder's files in order of their names."""
    settings: str
    """JSON: what the table said, and what was found, such as the threshold."""


@dataclass(frozen=True)
class ScanSet:
    """A scan set in memory: N scans."""

    info: ScanSetInfo
    scans: tuple[Scan, ...]

    @property
    def has_depth(self) -> bool:
        """Whether every scan has depth."""
        return bool(self.scans) and all(scan.depth_mm is not None for scan in self.scans)

    def stacked(self, field: str) -> NDArray[Any]:
        """Return one field of all scans, (N, …)."""
        return np.stack([np.asarray(getattr(scan, field)) for scan in self.scans])


def write_scanset(path: Path, info: ScanSetInfo, scans: Sequence[Scan]) -> None:
    """Write a scan set, which has its name only when it is whole.

    Raises:
        ScanError: There is no scan, or the scans are of both kinds, 2D and 3D.
        OSError: The file cannot be written.

    """
    if not scans:
        raise ScanError(f"{path}: no scan to write: every row of the table was skipped")
    flat = [scan.id for scan in scans if scan.depth_mm is None]
    if flat and len(flat) < len(scans):
        raise ScanError(f"{path}: {flat[0]} is 2D and others are volumes; build one scan set of each kind")
    with atomic_file(path) as file, h5py.File(file, "w") as store:
        store.attrs.update({"format": FORMAT, "version": VERSION, **asdict(info)})
        store.attrs["landmark_names"] = list(info.landmark_names)
        for name, data in _columns(scans):
            if data.dtype.kind == "O":
                store.create_dataset(name, data=data, dtype=h5py.string_dtype("utf-8"))
            else:
                chunks = (1, *data.shape[1:])
                store.create_dataset(name, data=data, chunks=chunks, compression="gzip", compression_opts=_GZIP)


def _columns(scans: Sequence[Scan]) -> Iterable[tuple[str, NDArray[Any]]]:
    for field in (field.name for field in fields(Scan)):
        values = [getattr(scan, field) for scan in scans]
        if values[0] is None:
            continue
        if field in _TEXTS:
            yield field, np.array(values, dtype=object)
        else:
            yield field, np.stack([np.asarray(value, _STORED[field]) for value in values])


_STORED: dict[str, Any] = {
    "mask": np.uint8, "depth_mm": np.float32, "landmarks_px": np.float64, "landmarks_mm": np.float64,
    "patch_to_source": np.float64, "mm_per_px": np.float64, "touches_border": np.bool_,
}  # fmt: skip
"""Types of the datasets that hold numbers."""


def read_scanset(path: Path) -> ScanSet:
    """Read a scan set.

    Raises:
        ScanError: The file is not a scan set, is of a newer version, or is damaged.

    """
    try:
        with path.open("rb") as file, h5py.File(file, "r") as store:
            return _read(path, store)
    except (KeyError, ValueError, TypeError, RuntimeError, UnicodeDecodeError) as error:
        raise ScanError(f"{path}: is damaged ({str(error)[:100]}); build it again") from None
    except OSError as error:
        reason = error.strerror or "it is no HDF5 file, or is cut off"
        raise ScanError(f"{path}: cannot be read ({reason}); build it with `synthgen scans build`") from None


def _read(path: Path, store: h5py.File) -> ScanSet:
    attrs = store.attrs
    if attrs.get("format") != FORMAT:
        raise ScanError(f"{path}: is HDF5, but no scan set; build one with `synthgen scans build`")
    version = int(attrs["version"])
    if version > VERSION:
        raise ScanError(f"{path}: version {version} is newer than {VERSION}, which this program knows; update synthgen")
    info = ScanSetInfo(
        landmark_set=str(attrs["landmark_set"]),
        landmark_names=tuple(str(name) for name in np.asarray(attrs["landmark_names"]).ravel().tolist()),
        model=str(attrs["model"]),
        width=int(attrs["width"]),
        height=int(attrs["height"]),
        framing=str(attrs["framing"]),
        spec_sha256=str(attrs["spec_sha256"]),
    )
    columns = _checked(path, store, info)
    count = len(columns["id"])
    return ScanSet(info, tuple(_scan({name: column[n] for name, column in columns.items()}) for n in range(count)))


def _checked(path: Path, store: h5py.File, info: ScanSetInfo) -> dict[str, NDArray[Any]]:
    """Load the datasets once their types and sizes are those of a scan set."""
    k = len(info.landmark_names)
    if not (0 < info.width <= MAX_SIDE and 0 < info.height <= MAX_SIDE and 0 < k <= MAX_LANDMARKS):
        raise ScanError(
            f"{path}: {info.width}x{info.height} pixels and {k} landmarks are not valid for a scan set; build it again"
        )
    image = (info.height, info.width)
    shapes: dict[str, tuple[int, ...]] = {
        "mask": image, "depth_mm": image, "landmarks_px": (k, 2), "landmarks_mm": (k, 3), "patch_to_source": (4, 4),
        "mm_per_px": (), "touches_border": (), **dict.fromkeys(_TEXTS, ()),
    }  # fmt: skip
    count, found = None, {}
    for name, shape in shapes.items():
        if name == "depth_mm" and name not in store:
            continue
        data = _local(path, store, name)
        count = data.shape[0] if count is None and data.shape else count
        text = name in _TEXTS
        right = h5py.check_string_dtype(data.dtype) is not None if text else data.dtype == _STORED[name]
        if data.shape != (count, *shape) or not right:
            raise ScanError(f"{path}: {name} is {data.dtype} {data.shape}, not {(count, *shape)}; build it again")
        if data.size * data.dtype.itemsize > MAX_BYTES:
            raise ScanError(f"{path}: {name} has {data.size * data.dtype.itemsize} bytes, which are too many")
        found[name] = data
    return {name: data.asstr()[:] if name in _TEXTS else data[:] for name, data in found.items()}


def _local(path: Path, store: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset of the file itself: no link to another file, no data stored outside."""
    link = store.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ScanError(f"{path}: {name} is missing, or is stored in another file; build it again")
    data = store[name]
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise ScanError(f"{path}: {name} is missing, or is stored in another file; build it again")
    return data


def _scan(row: dict[str, Any]) -> Scan:
    return Scan(
        mask=row["mask"].astype(bool),
        depth_mm=row.get("depth_mm"),
        landmarks_px=row["landmarks_px"],
        landmarks_mm=row["landmarks_mm"],
        patch_to_source=row["patch_to_source"],
        mm_per_px=float(row["mm_per_px"]),
        touches_border=bool(row["touches_border"]),
        **{name: str(row[name]) for name in _TEXTS},
    )


def scan_points_mm(scan: Scan, points_px: Floats, depth_mm: Floats) -> Floats:
    """Return patch pixels (K, 2) with depths (K,) in the frame of the source: (K, 3) LPS mm, or pixels for 2D scans."""
    points = np.column_stack([points_px, depth_mm, np.ones(len(points_px))])
    with np.errstate(invalid="ignore"):
        return (points @ scan.patch_to_source.T)[:, :3]
