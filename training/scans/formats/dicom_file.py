"""The images of one DICOM file: pydicom reads the headers, classic or multi-frame, and GDCM decompresses pixels."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import get_expected_length, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.png_jpeg import luminance
from synthgen.training.scans.formats.untrusted_files import file_size, open_regular
from synthgen.training.scans.formats.voxels import check_memory

MAX_EXPANSION = 10_000
"""Maximum compression ratio of pixels; JPEG 2000 reaches about this for an empty image of typical size."""
_ITK: Any = SimpleITK
"""Untyped: its functions have no annotations."""
_COLOURS = {"RGB", "PALETTE COLOR", "YBR_RCT", "YBR_ICT", "YBR_FULL", "YBR_FULL_422"}


@dataclass(frozen=True)
class DicomFile:
    """A file whose header has been read and whose pixel data has the length given by the header."""

    path: Path
    data: pydicom.Dataset
    """The data set; elements are converted on first use, which fails if they are damaged."""
    frames: int
    """Number of images."""
    rows: int
    columns: int
    samples: int
    """Samples per pixel."""
    bytes_per_frame: int
    """Size of one image in memory, as stored."""
    photometric: str
    """With ``MONOCHROME1``, low values are bright: little was absorbed there."""
    sop_class: str
    series: str
    """The series' unique identifier."""
    title: str
    """The series description, or else the modality."""
    is_localizer: bool
    has_frame_groups: bool
    """Whether it describes each of its images, as multi-frame (Enhanced) files do."""


@dataclass(frozen=True)
class Frame:
    """One image of a file; most files have one."""

    file: DicomFile
    number: int
    """Index within the file, from 0."""
    position: Floats | None
    """(3,) LPS mm of the first pixel's centre."""
    orientation: Floats | None
    """(2, 3) unit vectors: the directions of increasing column index and of increasing row index."""
    spacing: Floats | None
    """(2,) distance between rows (y) and between columns (x), mm."""
    rescale: tuple[float, float]
    """Value = rescale[0] * stored + rescale[1]."""
    stack: tuple[str, str]
    """The stack and the time point that a multi-frame file assigns it to; empty if it does not."""

    @property
    def name(self) -> str:
        """The file's name, with the frame number if the file has several."""
        return f"{self.file.path.name} frame {self.number + 1}" if self.file.frames > 1 else self.file.path.name


def read_file(path: Path) -> DicomFile:
    """Read a file into memory and its header with pydicom.

    Raises:
        ScanError: It is not a DICOM file, is truncated or damaged, has no image, has impossible sizes, or is too
            large for memory.

    """
    with open_regular(path) as file:
        check_memory(path, 2 * file_size(file))
        content = file.read()
    if content[128:132] != b"DICM":
        raise ScanError(f"{path}: is not a DICOM file; move it elsewhere, or copy or export it again")
    if DeflatedExplicitVRLittleEndian.encode() in content[132:1024]:
        raise ScanError(f"{path}: its data set is deflated; export it again as Explicit VR Little Endian")
    with _damage(path, "ends too early or is damaged"):
        data = pydicom.dcmread(BytesIO(content))  # from memory: a wrong length cannot read past the end
        if not data.file_meta.get("TransferSyntaxUID"):
            raise ScanError(f"{path}: has no transfer syntax; export it again as Explicit VR Little Endian")
        frames = int(data.get("NumberOfFrames") or 1)
        _check_pixels(path, data, frames)
        return DicomFile(
            path=path,
            data=data,
            frames=frames,
            rows=data.Rows,
            columns=data.Columns,
            samples=data.get("SamplesPerPixel", 1),
            bytes_per_frame=data.Rows * data.Columns * data.get("SamplesPerPixel", 1) * (data.BitsAllocated // 8),
            photometric=_text(data, "PhotometricInterpretation"),
            sop_class=_text(data, "SOPClassUID"),
            series=_text(data, "SeriesInstanceUID"),
            title=_text(data, "SeriesDescription") or _text(data, "Modality") or "unnamed",
            is_localizer="LOCALIZER" in _text(data, "ImageType"),
            has_frame_groups="PerFrameFunctionalGroupsSequence" in data,
        )


def frames_of(file: DicomFile) -> list[Frame]:
    """Return the images of a file, in file order.

    Raises:
        ScanError: A position, orientation, spacing or rescale factor is invalid.

    """
    with _damage(file.path, "its header is damaged"):
        per_frame = file.data.get("PerFrameFunctionalGroupsSequence") or []
        if per_frame and len(per_frame) != file.frames:
            raise ScanError(
                f"{file.path}: describes {len(per_frame)} frames but declares {file.frames}; export it again"
            )
        return [_frame(file, number, per_frame) for number in range(file.frames)]


def pixels_of(frame: Frame) -> NDArray[Any]:
    """Decode an image to (H, W): color as luminance, dense is bright, rescaled according to its header.

    Integers stay integers where the factors are whole numbers; other factors give float32.

    Raises:
        ScanError: The pixels are damaged or in an unsupported encoding.

    """
    file = frame.file
    kind = file.photometric
    if file.samples != 1 and kind not in _COLOURS:
        raise ScanError(f"{file.path}: has the photometric interpretation {kind[:40]!r}; export it as greyscale")
    syntax = file.data.file_meta.TransferSyntaxUID
    with _damage(file.path, f"its pixels ({syntax.name[:60]}) cannot be decoded", "export them uncompressed"):
        stored = _decompressed(frame) if syntax.is_compressed else pixel_array(file.data, index=frame.number)
        if kind == "PALETTE COLOR" and stored.ndim == 2:
            stored = apply_color_lut(stored, file.data)
        if stored.ndim == 3:
            stored = luminance(stored)
        if kind == "MONOCHROME1":
            full = np.dtype(stored.dtype.str.replace("i", "u")).type(2 ** int(file.data.BitsStored) - 1)
            stored = ~stored if stored.dtype.kind == "i" else full - stored
    if stored.shape != (file.rows, file.columns) or stored.dtype.kind not in "iu":
        raise ScanError(f"{file.path}: its pixels do not match its header; copy or export it again")
    return _rescaled(stored, *frame.rescale)


def _text(data: pydicom.Dataset, name: str) -> str:
    """Return an element as text on one line; empty if it is missing."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(data.get(name) or ""))


@contextmanager
def _damage(path: Path, fault: str, fix: str = "copy or export it again") -> Iterator[None]:
    """Turn any exception of a library for a damaged file into a one-line error, and suppress its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="(?is).*end of (file|input)")
            yield
    except (ScanError, MemoryError):
        raise
    except Exception as error:
        raise ScanError(f"{path}: {fault}; {fix}") from error


def _check_pixels(path: Path, data: pydicom.Dataset, frames: int) -> None:
    """Reject sizes that do not match the pixel data."""
    if "PixelData" not in data or not data.get("Rows") or not data.get("Columns"):
        raise ScanError(f"{path}: contains no image; move it elsewhere, or copy or export it again")
    declared = getattr(data.get_item("PixelData"), "length", 0)  # no longer available once the value is accessed
    samples, bits, there = data.get("SamplesPerPixel", 1), data.get("BitsAllocated"), len(data.PixelData)
    if bits not in {8, 16, 32} or samples not in {1, 3} or frames < 1:
        raise ScanError(f"{path}: has {frames} frames of {samples} x {bits} bits; export it with 8 or 16 bits")
    wanted = get_expected_length(data)
    if data.file_meta.TransferSyntaxUID.is_compressed:
        fits = wanted <= there * MAX_EXPANSION
    else:
        if there < declared:
            raise ScanError(f"{path}: ends too early, {there} of {declared} bytes of pixels; copy or export it again")
        fits = wanted <= there <= wanted + 1
    if not fits:
        raise ScanError(f"{path}: {there} bytes of pixels where its header says {wanted}; copy or export it again")


def _frame(file: DicomFile, number: int, per_frame: Sequence[pydicom.Dataset]) -> Frame:
    """Collect the elements of one image: its own and the shared functional groups, or a classic file's elements."""
    shared = file.data.get("SharedFunctionalGroupsSequence") or []
    groups = [*per_frame[number : number + 1], *shared[:1]]

    def values(sequence: str, name: str, count: int) -> Floats | None:
        places = [item for group in groups for item in group.get(sequence) or []] or [file.data]
        value = places[0].get(name)
        if value is None or value == "":
            return None
        try:
            numbers = np.array(np.atleast_1d(value), dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise ScanError(f"{file.path}: its {name} is {str(value)[:60]!r}; export it again")
        return numbers

    orientation = values("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = values("PixelMeasuresSequence", "PixelSpacing", 2)
    slope = values("PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = values("PixelValueTransformationSequence", "RescaleIntercept", 1)
    content = next((item for group in groups for item in group.get("FrameContentSequence") or []), pydicom.Dataset())
    return Frame(
        file=file,
        number=number,
        position=values("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=None if orientation is None else orientation.reshape(2, 3),
        spacing=values("", "ImagerPixelSpacing", 2) if spacing is None else spacing,
        rescale=(1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0])),
        stack=(str(content.get("StackID", "")), str(content.get("TemporalPositionIndex", ""))),
    )


def _decompressed(frame: Frame) -> NDArray[Any]:
    """Decode a compressed image with GDCM, from a temporary file that describes only how its pixels are stored."""
    source = frame.file.data
    data = source.group_dataset(0x0028)
    for name in ("NumberOfFrames", "RescaleSlope", "RescaleIntercept"):
        data.pop(name, None)
    if data.PhotometricInterpretation == "MONOCHROME1":  # ITK would invert it
        data.PhotometricInterpretation = "MONOCHROME2"
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid(entropy_srcs=["one frame"])
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    offsets = source.get("ExtendedOffsetTable"), source.get("ExtendedOffsetTableLengths")
    frames = generate_frames(
        source.PixelData,
        number_of_frames=frame.file.frames,
        extended_offsets=offsets if all(offsets) else None,
    )
    data.PixelData = encapsulate([next(piece for n, piece in enumerate(frames) if n == frame.number)])
    data["PixelData"].VR = "OB"
    with tempfile.TemporaryDirectory() as folder:
        data.save_as(Path(folder) / "frame.dcm", enforce_file_format=True)
        reader = _ITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(Path(folder) / "frame.dcm"))
        _ITK.ProcessObject.SetGlobalWarningDisplay(False)  # noqa: FBT003 (ITK's own)
        pixels: NDArray[Any] = _ITK.GetArrayFromImage(reader.Execute())
    return pixels[0] if pixels.shape[0] == 1 else pixels


def _rescaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Apply a header's rescale factors, in the smallest integer type that fits the result, or in float32."""
    if (slope, intercept) == (1.0, 0.0):
        return stored
    if slope != int(slope) or intercept != int(intercept):
        return (stored * slope + intercept).astype(np.float32)
    whole = stored.astype(np.int64) * int(slope) + int(intercept)
    low, high = int(whole.min()), int(whole.max())
    kind = next(
        kind for kind in (np.int16, np.int32, np.int64) if np.iinfo(kind).min <= low <= high <= np.iinfo(kind).max
    )
    return whole.astype(kind)
