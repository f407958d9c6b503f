"""Reads real scans: NIfTI, MetaImage, NRRD, DICOM, PNG and JPEG. No file is trusted.

The headers of the first three are checked before `voxels.load` reads what follows, because libraries allocate whatever
a header claims, and some fill in what is missing in a truncated file. DICOM goes through pydicom.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import ScanError
from synthgen.training.scans.formats.image_types import Picture, Volume
from synthgen.training.scans.formats.metaimage import metaimage_layout
from synthgen.training.scans.formats.nrrd import nrrd_layout
from synthgen.training.scans.formats.png_jpeg import luminance, read_flat
from synthgen.training.scans.formats.untrusted_files import read_head
from synthgen.training.scans.formats.voxels import SPACING_MM, Layout, load

__all__ = ["Picture", "Volume", "read_image"]


def _nifti_layout(path: Path) -> Layout:
    from synthgen.training.scans.formats.nifti import nifti_layout  # noqa: PLC0415 (nibabel is slow to load)

    return nifti_layout(path)


_LAYOUTS = {
    ".nii": _nifti_layout,
    ".nii.gz": _nifti_layout,
    ".mha": metaimage_layout,
    ".mhd": metaimage_layout,
    ".nrrd": nrrd_layout,
    ".nhdr": nrrd_layout,
}
_FLAT = (".png", ".jpg", ".jpeg")


def read_image(path: Path) -> Volume | Picture:
    """Read a scan: a file, or the folder of a DICOM series.

    What has a single slice is a picture, as stored; anything else is a volume. Colours become grey by their luminance.
    PNG and JPEG state no spacing, and 1 x 1 mm, which other formats write for want of a number, counts as none.
    Voxels are integers or floats as stored; NIfTI's scaling gives floats.

    Raises:
        ScanError: The scan cannot be read; the text names the file and the reason.

    """
    name = path.name.lower()
    if path.is_dir():
        from synthgen.training.scans.formats.dicom import read_series  # noqa: PLC0415 (it loads SimpleITK)

        return read_series(path)
    for suffix, layout in _LAYOUTS.items():
        if name.endswith(suffix):
            return _image(layout(path))
    if name.endswith(_FLAT):
        return Picture(read_flat(path), None)
    if read_head(path, 132)[128:] == b"DICM":
        from synthgen.training.scans.formats.dicom import read_single  # noqa: PLC0415 (as above)

        return read_single(path)
    known = ", ".join((*_LAYOUTS, *_FLAT))
    raise ScanError(f"{path}: is not DICOM and has none of the extensions {known}; convert it to one of them")


def _image(layout: Layout) -> Volume | Picture:
    """Load the voxels of a checked header."""
    if len(layout.sizes) == 3 and layout.sizes[2] > 1:
        if layout.channels > 1:
            raise ScanError(f"{layout.path}: has {layout.channels} channels per voxel; save a single one")
        return Volume(load(layout).transpose(2, 1, 0), layout.affine)
    if layout.channels not in {1, 3, 4}:
        raise ScanError(f"{layout.path}: has {layout.channels} channels per pixel; save a single one, or RGB")
    spacing = _spacing(layout)
    pixels: NDArray[Any] = load(layout)
    pixels = pixels[0] if len(layout.sizes) == 3 else pixels
    return Picture(luminance(pixels) if layout.channels > 1 else pixels, spacing)


@np.errstate(over="ignore", invalid="ignore")
def _spacing(layout: Layout) -> tuple[float, float] | None:
    """Return the pixel spacing of a picture along x and y, mm, if the header gives it."""
    x, y = (float(length) for length in np.linalg.norm(layout.affine[:3, :2], axis=0))
    if not layout.spacing_stated or (x, y) == (1.0, 1.0):
        return None
    if not all(SPACING_MM[0] <= value <= SPACING_MM[1] for value in (x, y)):
        raise ScanError(f"{layout.path}: its spacing is {x:g} x {y:g} mm; correct the header")
    return x, y
