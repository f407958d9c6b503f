"""Small scans in every format, written by other programs' code."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from synthgen.errors import ScanError
from synthgen.training.scans.formats.read_image import Picture, read_image

CT = "1.2.840.10008.5.1.4.1.1.2"
RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1"


def voxels(shape=(5, 4, 3), dtype=np.int16, seed=0):
    """Numbers (I, J, K) that no shift, flip or swap leaves as they are."""
    random = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    low, high = (
        (0, 200) if dtype.itemsize == 1 and dtype.kind == "u" else (-100, 100) if dtype.kind == "i" else (0, 900)
    )
    return random.integers(low, high, size=shape).astype(dtype)


def rotation(seed=0):
    """A rotation (3, 3) that is near no axis."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def affine_of(seed=0, spacing=(0.7, 1.3, 2.9), flips=(1, 1, 1)):
    """Voxel centres to LPS mm (4, 4): oblique, anisotropic."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) * spacing * flips
    affine[:3, 3] = (-31.5, 12.25, 400.75)
    return affine


def itk_image(array, affine=None, *, vector=False):
    """A SimpleITK image of voxels (I, J[, K]) placed in LPS mm."""
    axes = array.ndim - vector
    order = (*range(axes - 1, -1, -1), axes) if vector else None
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(order)), isVector=vector)
    if affine is not None:
        spacing = np.linalg.norm(affine[:axes, :axes], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:axes, :axes] / spacing).ravel().tolist())
        image.SetOrigin(affine[:axes, -1].tolist())
    return image


def write_itk(path, array, affine=None, *, compress=False, vector=False):
    sitk.WriteImage(itk_image(array, affine, vector=vector), str(path), useCompression=compress)
    return path


def write_nifti(path, array, affine, *, kind=nibabel.Nifti1Image, order="<", scale=None):
    """A NIfTI file of nibabel's; the affine is in LPS like everywhere here."""
    header = {nibabel.Nifti1Image: nibabel.Nifti1Header, nibabel.Nifti2Image: nibabel.Nifti2Header}[kind](
        endianness=order
    )
    header.set_data_dtype(array.dtype)
    image = kind(array, np.diag([-1, -1, 1, 1]) @ affine, header)
    if scale:
        image.header.set_slope_inter(*scale)
    nibabel.save(image, path)
    return path


def dicom(pixels, *, sop_class=CT, position=None, orientation=None, spacing=(1.5, 0.5), series="1.2.3.4", **tags):
    """A data set of pydicom's: one image (rows, columns)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(position), str(pixels.sum())])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.Modality, data.PatientName = series, "CT" if sop_class == CT else "CR", "Nobody"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if spacing is not None:
        data.PixelSpacing = list(spacing)
    if position is not None:
        data.ImagePositionPatient = [float(value) for value in position]
        data.ImageOrientationPatient = [float(value) for value in orientation]
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return data


def save(path, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.save_as(path, enforce_file_format=True)
    return path


def write_series(folder, array, *, step=2.5, order=None, skip=(), seed=0, **tags):
    """A CT series of voxels (I, J, K); returns voxel centres to LPS mm."""
    folder.mkdir(parents=True, exist_ok=True)
    axes = rotation(seed)
    origin = np.array([-31.5, 12.25, 400.75])
    names = range(array.shape[2]) if order is None else order
    for k, name in zip(range(array.shape[2]), names, strict=True):
        if k not in skip:
            position = origin + k * step * axes[:, 2]
            orientation = [*axes[:, 0], *axes[:, 1]]
            data = dicom(array[:, :, k].T, position=position, orientation=orientation, InstanceNumber=k + 1, **tags)
            save(folder / f"IM{name:04d}", data)
    affine = np.eye(4)
    affine[:3] = np.column_stack([axes[:, 0] * 0.5, axes[:, 1] * 1.5, axes[:, 2] * step, origin])
    return affine


def write_all(folder: Path) -> list[Path]:
    """One small scan in every format and packing that is read; a folder is a DICOM series."""
    array, affine = voxels(), affine_of()
    picture = voxels((7, 6), np.uint8)
    write_series(folder / "series", array)
    Image.fromarray(picture).convert("P").save(folder / "palette.png")
    Image.fromarray(picture.astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(picture).save(folder / "grey.png")
    Image.fromarray(np.stack([picture] * 3, axis=-1)).save(folder / "colour.jpg")
    save(folder / "radiograph.dcm", dicom(voxels((7, 6), np.uint16), sop_class=RADIOGRAPH))
    write_itk(folder / "small.mhd", array, affine)
    write_itk(folder / "small.nhdr", array, affine)
    return [
        folder / "series",
        *(folder / name for name in ("palette.png", "deep.png", "grey.png", "colour.jpg", "radiograph.dcm")),
        *(folder / name for name in ("small.mhd", "small.nhdr")),
        write_packed_dicom(folder / "packed.dcm"),
        write_nifti(folder / "small.nii", array, affine),
        write_nifti(folder / "small.nii.gz", array, affine),
        write_nifti(folder / "second.nii", array, affine, kind=nibabel.Nifti2Image),
        write_itk(folder / "small.mha", array, affine),
        write_itk(folder / "packed.mha", array, affine, compress=True),
        write_itk(folder / "small.nrrd", array, affine),
        write_itk(folder / "packed.nrrd", array, affine, compress=True),
    ]


def write_packed_dicom(path):
    """A radiograph in JPEG 2000."""
    image = sitk.GetImageFromArray(voxels((40, 32), np.uint16))
    image.SetMetaData("0008|0060", "CR")
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    writer.SetFileName(str(path))
    writer.Execute(image)
    return path


def content(scan):
    """What two reads of one scan must agree in."""
    if isinstance(scan, Picture):
        return scan.pixels.dtype, scan.pixels.tolist(), scan.mm_per_px
    return scan.voxels.dtype, scan.voxels.tolist(), scan.affine.tolist()


def refusal(path):
    """The one line with which a scan is refused."""
    with pytest.raises(ScanError) as caught:
        read_image(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text
