"""MetaImage and NRRD: in agreement with SimpleITK; headers that are wrong, or reach out of their folder, refused."""

import os

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from support.fake_scans import affine_of, content, refusal, voxels, write_itk

from synthgen.errors import ScanError
from synthgen.training.scans.formats.read_image import read_image

KINDS = ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]
SPACING = st.tuples(*[st.floats(0.125, 6)] * 3)
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(2, 6))


def by_itk(path):
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine


@given(
    st.integers(0, 999),
    SPACING,
    SHAPES,
    st.sampled_from(KINDS),
    st.sampled_from(["mha", "mhd", "nrrd", "nhdr"]),
    st.booleans(),
)
def test_metaimage_and_nrrd_are_what_itk_wrote(tmp_path_factory, seed, spacing, shape, kind, ending, packed):
    path = tmp_path_factory.mktemp("itk") / f"scan.{ending}"
    array, affine = voxels(shape, kind, seed), affine_of(seed, spacing)
    write_itk(path, array, affine, compress=packed)
    scan = read_image(path)
    expected, expected_affine = by_itk(path)

    np.testing.assert_array_equal(scan.voxels, array)
    np.testing.assert_array_equal(scan.voxels, expected)
    assert scan.voxels.dtype == np.dtype(kind)
    np.testing.assert_allclose(scan.affine, expected_affine, atol=1e-9, rtol=0)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-4, rtol=0)


def test_big_endian_metaimage_with_its_own_names_of_fields(tmp_path):
    array = voxels((4, 3, 2), "i2")
    head = (
        "NDims = 3\nBinaryDataByteOrderMSB = True\nOrientation = 0 1 0 0 0 1 1 0 0\nOrigin = 1 2 3\n"
        "ElementSize = 1 2 3\nDimSize = 4 3 2\nElementType = MET_SHORT\nHeaderSize = 7\nElementDataFile = x.raw\n"
    )
    (tmp_path / "x.mhd").write_text(head)
    (tmp_path / "x.raw").write_bytes(b"-header" + array.transpose(2, 1, 0).astype(">i2").tobytes())
    scan = read_image(tmp_path / "x.mhd")

    np.testing.assert_array_equal(scan.voxels, array)
    np.testing.assert_array_equal(scan.affine, [[0, 0, 3, 1], [1, 0, 0, 2], [0, 2, 0, 3], [0, 0, 0, 1]])
    (tmp_path / "x.mhd").write_text(head.replace("HeaderSize = 7", "HeaderSize = -1"))
    np.testing.assert_array_equal(read_image(tmp_path / "x.mhd").voxels, array)


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior"])
def test_nrrd_in_another_space_is_what_itk_reads(tmp_path, space):
    path = write_itk(tmp_path / "scan.nrrd", voxels(), affine_of())
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", space.encode()))
    expected, affine = by_itk(path)
    scan = read_image(path)

    np.testing.assert_array_equal(scan.voxels, expected)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-9)
    assert not np.allclose(affine, affine_of())


def test_detached_nrrd_skips_bytes(tmp_path):
    write_itk(tmp_path / "scan.nhdr", voxels(), affine_of())
    head, raw = tmp_path / "scan.nhdr", tmp_path / "scan.raw"
    whole = content(read_image(head))
    raw.write_bytes(b"12345" + raw.read_bytes())

    for skip in ("5", "-1"):
        text = head.read_text().replace("byte skip: ", "# ").replace("data file", f"byte skip: {skip}\ndata file")
        (tmp_path / "skip.nhdr").write_text(text)
        assert content(read_image(tmp_path / "skip.nhdr")) == whole


@pytest.mark.parametrize(
    "name", ["../scan.raw", "/etc/hostname", "a/../../scan.raw", "..\\scan.raw", "out.raw", "", "\0"]
)
@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
def test_a_header_cannot_reach_out_of_its_folder(tmp_path, name, ending):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "scan.raw").write_bytes(b"s" * 1000)
    (inner / "out.raw").symlink_to(tmp_path / "scan.raw")
    path = write_itk(inner / f"scan.{ending}", voxels(), affine_of())
    path.write_text(path.read_text().replace("scan.raw", name))

    assert "not in its folder" in refusal(path) or (name == "" and ending == "nhdr")


def test_a_data_file_that_is_no_plain_file_is_refused(tmp_path):
    path = write_itk(tmp_path / "scan.mhd", voxels(), affine_of())
    (tmp_path / "scan.raw").unlink()
    os.mkfifo(tmp_path / "scan.raw")

    with pytest.raises(ScanError, match="not a regular file"):
        read_image(path)


@pytest.mark.parametrize(
    ("ending", "old", "new", "text"),
    [
        ("mha", "NDims = 3", "NDims = 4", "NDims is 4"),
        ("mha", "DimSize = 5 4 3", "DimSize = 5 4 3 1", "NDims is 3"),
        ("mha", "DimSize = 5 4 3", "DimSize = 5 0 3", "its size is 5 x 0 x 3"),
        ("mha", "DimSize = 5 4 3", "DimSize = 90000 90000 90000", "ends too early"),
        ("mha", "ElementSpacing = 1 2 3", "ElementSpacing = 1 -2 3", None),
        ("mha", "ElementSpacing = 1 2 3", "ElementSpacing = 1 0 3", "its spacing is 1 x 0 x 3"),
        ("mha", "ElementSpacing = 1 2 3", "ElementSpacing = 1 inf 3", "not finite"),
        ("mha", "TransformMatrix = 1 0 0 0 1 0", "TransformMatrix = 1 0 0 1 0 0", "singular"),
        ("mha", "MET_SHORT", "MET_OTHER", "ElementType is 'MET_OTHER'"),
        ("mha", "BinaryData = True", "BinaryData = False", "as text"),
        ("mha", "ElementDataFile = LOCAL", "ElementDataFile = slice%03d.raw 1 3 1", "several files"),
        ("mha", "ElementDataFile = LOCAL", "ElementDataFile = LIST", "several files"),
        ("nrrd", "sizes: 5 4 3", "sizes: 5 4", "dimension is 3"),
        ("nrrd", "sizes: 5 4 3", "sizes: 5 4 0", "sizes has '0'"),
        ("nrrd", "sizes: 5 4 3", "sizes: 90000 90000 90000", "ends too early"),
        ("nrrd", "kinds: domain domain domain", "kinds: vector domain domain", "3 vectors for 2 axes"),
        ("nrrd", "(1,0,0)", "(0,0,0)", "its spacing is 0 x"),
        ("nrrd", "(1,0,0)", "(1,a,0)", "is not a number"),
        ("nrrd", "(1,0,0)", "none", "5 channels per pixel"),
        ("nrrd", "left-posterior-superior", "scanner-xyz", "orientation is unknown"),
        ("nrrd", "type: short", "type: block", "its type is 'block'"),
        ("nrrd", "encoding: raw", "encoding: bzip2", "raw or gzip"),
        ("nrrd", "endian: little", "# endian", "endian is ''"),
    ],
)
def test_a_bad_text_header_is_refused(tmp_path, ending, old, new, text):
    path = write_itk(tmp_path / f"scan.{ending}", voxels(), np.diag([1.0, 2, 3, 1]))
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode()))

    if text is None:
        assert read_image(path).affine[1, 1] == -2  # as far as the file goes, a flip
    else:
        assert text in refusal(path)
