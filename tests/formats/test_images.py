"""Scans in one file: in agreement with nibabel, SimpleITK and Pillow."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.fake_scans import affine_of, content, refusal, voxels, write_itk, write_nifti
from support.paths import REAL_DATA

from synthgen.training.scans.formats import voxels as voxel_file
from synthgen.training.scans.formats.read_image import Picture, Volume, read_image

real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real data are not here")
TO_LPS = np.diag([-1, -1, 1, 1])
KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]
SPACING = st.tuples(*[st.floats(0.125, 6)] * 3)
FLIPS = st.tuples(*[st.sampled_from([-1, 1])] * 3)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(2, 6))


def by_nibabel(path):
    image = nibabel.load(path)
    return np.asanyarray(image.dataobj), TO_LPS @ image.affine


@given(st.integers(0, 999), SPACING, FLIPS, SHAPES, st.sampled_from(KINDS), st.booleans(), st.sampled_from("<>"))
def test_nifti_is_what_nibabel_reads(tmp_path_factory, seed, spacing, flips, shape, kind, second, order):
    path = tmp_path_factory.mktemp("nifti") / ("scan.nii.gz" if seed % 2 else "scan.nii")
    array, affine = voxels(shape, kind, seed), affine_of(seed, spacing, flips)
    write_nifti(path, array, affine, kind=nibabel.Nifti2Image if second else nibabel.Nifti1Image, order=order)
    scan = read_image(path)
    expected, expected_affine = by_nibabel(path)

    assert isinstance(scan, Volume)
    np.testing.assert_array_equal(scan.voxels, expected)
    assert scan.voxels.dtype == np.dtype(kind)
    assert scan.voxels.dtype.isnative
    np.testing.assert_allclose(scan.affine, expected_affine, atol=1e-12, rtol=0)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-4, rtol=0)
    np.testing.assert_allclose(scan.spacing_mm, spacing, rtol=1e-5)
    assert scan.shape == shape


@given(st.integers(0, 999), SPACING, st.sampled_from([-1, 1]))
def test_a_qform_alone_is_what_nibabel_reads(tmp_path_factory, seed, spacing, flip):
    path = tmp_path_factory.mktemp("nifti") / "scan.nii"
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_qform(TO_LPS @ affine_of(seed, spacing, (1, 1, flip)), code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, path)

    assert nibabel.load(path).header["sform_code"] == 0
    np.testing.assert_allclose(read_image(path).affine, by_nibabel(path)[1], atol=1e-5, rtol=0)


def test_scaled_nifti_is_what_nibabel_reads(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", voxels(), affine_of(), scale=(0.25, -1024))
    scan = read_image(path)

    np.testing.assert_array_equal(scan.voxels, by_nibabel(path)[0])
    assert scan.voxels.dtype == np.float32
    assert scan.voxels.max() < -900


def test_nifti_units_are_brought_to_mm(tmp_path):
    paths = [tmp_path / f"{unit}.nii" for unit in ("mm", "micron", "meter")]
    for path, scale in zip(paths, (1, 1000, 0.001), strict=True):
        affine = affine_of() * scale
        affine[3, 3] = 1
        image = nibabel.Nifti1Image(voxels(), TO_LPS @ affine)
        image.header.set_xyzt_units(path.stem)
        nibabel.save(image, path)

    for path in paths:
        np.testing.assert_allclose(read_image(path).affine, affine_of(), atol=1e-4)


@pytest.mark.parametrize("piece", [2, 3, 5, 65536])
def test_nifti_in_several_gzip_members_is_read(tmp_path, piece, monkeypatch):
    monkeypatch.setattr(voxel_file, "_PACKED", piece)
    whole = write_nifti(tmp_path / "whole.nii", voxels(), affine_of())
    data = whole.read_bytes()
    parts = tmp_path / "parts.nii.gz"
    parts.write_bytes(gzip.compress(data[:100]) + gzip.compress(data[100:380]) + gzip.compress(data[380:]))

    assert content(read_image(parts)) == content(read_image(whole))


def test_a_slope_of_zero_is_none(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", voxels(), affine_of())
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0, 5], "<f4").tobytes()
    path.write_bytes(data)

    np.testing.assert_array_equal(read_image(path).voxels, voxels())


def test_nifti_without_patient_directions_is_refused_unless_flat(tmp_path):
    for shape, path in (((5, 4, 3), tmp_path / "volume.nii"), ((5, 4), tmp_path / "flat.nii")):
        image = nibabel.Nifti1Image(voxels((*shape, 1)[:3]).reshape(shape), None)
        image.header.set_zooms((0.5, 0.25, 1)[: len(shape)])
        image.header["sform_code"] = image.header["qform_code"] = 0
        nibabel.save(image, path)

    assert "has no patient orientation" in refusal(tmp_path / "volume.nii")
    picture = read_image(tmp_path / "flat.nii")
    assert picture.mm_per_px == (0.5, 0.25)
    np.testing.assert_array_equal(picture.pixels, voxels((5, 4, 1))[..., 0].T)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("dim", [4, 5, 4, 3, 2, 1, 1, 1], "is 4D"),
        ("dim", [3, 5, 0, 3, 1, 1, 1, 1], "its size is 5 x 0 x 3"),
        ("dim", [3, 5, -4, 3, 1, 1, 1, 1], "its size is 5 x -4 x 3"),
        (
            "dim",
            [3, 30000, 30000, 30000, 1, 1, 1, 1],
            "ends too early, with 120 bytes of voxels",
        ),
        ("datatype", 32, "type 32"),
        ("srow_x", [0, 0, 0, 1], "its spacing is 0 x 2 x 3"),
        ("srow_x", [np.nan, 0, 0, 1], "not finite"),
        ("srow_y", [3e38, 3e38, 0, 1], "its spacing is 3e+38"),
        ("srow_y", [0, 2, 1000, 1], "singular"),
        ("srow_z", [0, 0, 3, 1e30], "its origin is 1e+30 mm away"),
        ("vox_offset", 100, "within its header"),
        ("magic", b"ni1", "one of a pair"),
        ("xyzt_units", 5, "unit of length"),
    ],
)
def test_a_bad_nifti_header_is_refused(tmp_path, field, value, text):
    path = write_nifti(tmp_path / "scan.nii", voxels(), np.diag([1.0, 2, 3, 1]))
    data = path.read_bytes()
    header = np.frombuffer(data[:348], dtype=nibabel.nifti1.header_dtype).copy()
    header[field] = value
    path.write_bytes(header.tobytes() + data[348:])

    assert text in refusal(path)


@pytest.mark.parametrize("name", ["scan.mha", "scan.nrrd"])
def test_vector_volumes_are_refused_and_colour_pictures_are_grey(tmp_path, name):
    vectors = np.stack([voxels()] * 3, axis=-1)
    colours = np.zeros((4, 3, 1, 3), np.uint8) + np.array([10, 100, 200], np.uint8)
    write_itk(tmp_path / f"vector_{name}", vectors, vector=True)
    write_itk(tmp_path / f"colour_{name}", colours, vector=True)

    assert "3 channels per voxel" in refusal(tmp_path / f"vector_{name}")
    assert read_image(tmp_path / f"colour_{name}").pixels.tolist() == [[84] * 4] * 3  # 0.299 r + 0.587 g + 0.114 b


def test_one_slice_is_a_picture_as_stored(tmp_path):
    pixels = voxels((6, 5, 1), np.uint8)
    flipped = np.diag([-0.25, -0.5, 1, 1.0])
    flat = write_itk(tmp_path / "flat.mha", pixels[..., 0], np.diag([0.25, 0.5, 1.0]))
    no_number = write_itk(tmp_path / "one.mha", pixels)
    scans = [read_image(write_itk(tmp_path / f"x.{end}", pixels, flipped)) for end in ("mha", "nrrd")]
    scans += [read_image(write_nifti(tmp_path / "x.nii", pixels, flipped)), read_image(flat)]

    for scan in scans:
        assert isinstance(scan, Picture)
        assert scan.mm_per_px == (0.25, 0.5)
        np.testing.assert_array_equal(scan.pixels, pixels[..., 0].T)
    assert read_image(no_number).mm_per_px is None


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("1", bool), ("L", np.uint8), ("I;16", np.uint16), ("LA", np.uint8), ("P", np.uint8), ("RGBA", np.uint8)],
)
def test_png_is_one_channel(tmp_path, mode, dtype):
    grey = voxels((7, 6), np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 300) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "x.png")
    picture = read_image(tmp_path / "x.png")

    assert picture.pixels.dtype == dtype
    assert picture.mm_per_px is None
    expected = {"1": np.asarray(Image.fromarray(grey).convert("1")), "I;16": grey.astype(int) * 300}.get(mode, grey)
    np.testing.assert_array_equal(picture.pixels, expected)


def test_jpeg_is_what_pillow_decodes(tmp_path):
    Image.fromarray(voxels((16, 24), np.uint8)).save(tmp_path / "x.JPG", format="JPEG")

    np.testing.assert_array_equal(read_image(tmp_path / "x.JPG").pixels, np.asarray(Image.open(tmp_path / "x.JPG")))


def test_a_png_bomb_is_refused(tmp_path):
    Image.new("1", (20000, 20000)).save(tmp_path / "x.png")

    assert "pixels; scale it down" in refusal(tmp_path / "x.png")


@real_data
@pytest.mark.parametrize("name", ["example_ct.nii.gz", "example_mr_sm.nii.gz"])
def test_real_volumes_are_what_nibabel_reads(name):
    scan = read_image(REAL_DATA / "ct_table" / name)
    expected, affine = by_nibabel(REAL_DATA / "ct_table" / name)

    np.testing.assert_array_equal(scan.voxels, expected)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-12)


@real_data
def test_real_radiographs_are_what_itk_reads():
    paths = sorted((REAL_DATA / "hand_xray/images").glob("*.mha"))

    assert len(paths) == 9
    for path in paths:
        picture, image = read_image(path), sitk.ReadImage(str(path))
        np.testing.assert_array_equal(picture.pixels, sitk.GetArrayFromImage(image)[0])
        assert picture.mm_per_px == pytest.approx(image.GetSpacing()[:2])
