"""DICOM: in agreement with pydicom and SimpleITK; series in order, or refused."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from support.fake_scans import CT, RADIOGRAPH, dicom, itk_image, refusal, rotation, save, voxels, write_series
from support.paths import REAL_DATA

from synthgen.errors import ScanError
from synthgen.training.scans.child_reader import ChildReader
from synthgen.training.scans.formats.read_image import Picture, read_image


@pytest.fixture(scope="module")
def reader():
    with ChildReader() as child:
        yield child


real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="the real data are not here")


@given(st.integers(0, 99), st.permutations(range(5)), st.sampled_from(["i2", "u2"]))
def test_a_series_is_in_order_whatever_its_files_are_called(tmp_path_factory, seed, order, kind):
    folder = tmp_path_factory.mktemp("series")
    array = voxels((6, 4, 5), kind, seed)
    affine = write_series(folder, array, order=order, seed=seed)
    scan = read_image(folder)

    np.testing.assert_array_equal(scan.voxels, array)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-9)


def test_a_series_is_what_itk_reads(tmp_path):
    write_series(tmp_path, voxels((6, 4, 5)), order=[3, 1, 4, 0, 2])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    scan = read_image(tmp_path)

    np.testing.assert_array_equal(scan.voxels, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    np.testing.assert_allclose(scan.spacing_mm, image.GetSpacing(), rtol=1e-9)
    np.testing.assert_allclose(
        scan.affine[:3, :3] / scan.spacing_mm, np.reshape(image.GetDirection(), (3, 3)), atol=1e-9
    )
    np.testing.assert_allclose(scan.affine[:3, 3], image.GetOrigin(), atol=1e-9)


def test_a_tilted_gantry_stands_in_the_affine(tmp_path):
    array = voxels((6, 4, 5))
    for k in range(5):
        position = [0, 0.4 * k, 2.0 * k]
        save(tmp_path / f"{k}", dicom(array[:, :, k].T, position=position, orientation=[1, 0, 0, 0, 1, 0]))

    np.testing.assert_allclose(
        read_image(tmp_path).affine[:3], [[0.5, 0, 0, 0], [0, 1.5, 0.4, 0], [0, 0, 2, 0]], atol=1e-9
    )


def test_rescaled_slices_are_what_pydicom_says(tmp_path):
    array = voxels((6, 4, 3), "u2")
    affine = write_series(tmp_path / "whole", array, RescaleSlope="1", RescaleIntercept="-1024")
    write_series(tmp_path / "fraction", array, RescaleSlope="0.25", RescaleIntercept="3")
    whole, fraction = read_image(tmp_path / "whole"), read_image(tmp_path / "fraction")

    np.testing.assert_array_equal(whole.voxels, array.astype(int) - 1024)
    assert whole.voxels.dtype.kind == "i"
    np.testing.assert_array_equal(fraction.voxels, array * 0.25 + 3)
    assert fraction.voxels.dtype == np.float32
    np.testing.assert_allclose(fraction.affine, affine, atol=1e-9)


def test_slices_with_factors_of_their_own_are_scaled_each(tmp_path):
    array = voxels((6, 4, 3), "u2")
    axes = rotation()
    for k, slope in enumerate(("1", "0.5", "2")):
        data = dicom(array[:, :, k].T, position=axes[:, 2] * k, orientation=[*axes[:, 0], *axes[:, 1]])
        data.RescaleSlope, data.RescaleIntercept = slope, "0"
        save(tmp_path / f"{k}", data)

    np.testing.assert_array_equal(read_image(tmp_path).voxels, array * np.array([1, 0.5, 2]))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_transfer_syntaxes_are_read(tmp_path, syntax):
    pixels = voxels((6, 4), "u2").T
    data = dicom(pixels, sop_class=RADIOGRAPH)
    data.file_meta.TransferSyntaxUID = syntax
    if syntax is ExplicitVRBigEndian:
        data.PixelData = pixels.astype(">u2").tobytes()
    data.ReferencedImageSequence = [pydicom.Dataset(), pydicom.Dataset()]
    data.ReferencedImageSequence[1].ReferencedSOPClassUID = CT
    data.ReferencedImageSequence.is_undefined_length = True
    data.ReferencedImageSequence[1].is_undefined_length_sequence_item = True
    pydicom.dcmwrite(tmp_path / "x.dcm", data, enforce_file_format=True)
    picture = read_image(tmp_path / "x.dcm")

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.mm_per_px == (0.5, 1.5)


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_compressed_pixels_are_read(tmp_path, compressor):
    pixels = voxels((40, 32), "u2")
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "x.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(itk_image(pixels))

    assert pydicom.dcmread(tmp_path / "x.dcm").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_image(tmp_path / "x.dcm").pixels, pixels.T)


def test_run_lengths_are_read_as_pydicom_reads_them(tmp_path):
    data = dicom(voxels((40, 32), "u2"), sop_class=RADIOGRAPH)
    data.compress(RLELossless)
    save(tmp_path / "x.dcm", data)

    np.testing.assert_array_equal(
        read_image(tmp_path / "x.dcm").pixels, pydicom.dcmread(tmp_path / "x.dcm").pixel_array
    )


def test_small_values_that_mean_white_are_turned_upside_down(tmp_path):
    pixels = voxels((6, 4), "u2")
    turned = save(tmp_path / "x.dcm", dicom(pixels, sop_class=RADIOGRAPH, PhotometricInterpretation="MONOCHROME1"))

    np.testing.assert_array_equal(read_image(turned).pixels, 65535 - pixels)


def test_a_colour_radiograph_is_grey_and_a_detector_spacing_counts(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8) + np.array([10, 100, 200], np.uint8)
    data = dicom(pixels, sop_class=RADIOGRAPH, spacing=None, ImagerPixelSpacing=[0.2, 0.1])
    picture = read_image(save(tmp_path / "x.dcm", data))

    assert picture.pixels.tolist() == [[84] * 6] * 4
    assert picture.mm_per_px == (0.1, 0.2)
    assert read_image(save(tmp_path / "y.dcm", dicom(pixels, sop_class=RADIOGRAPH, spacing=None))).mm_per_px is None


def test_a_folder_with_one_radiograph_is_a_picture(tmp_path):
    save(tmp_path / "x", dicom(voxels((6, 4), "u2"), sop_class=RADIOGRAPH))
    for name in ("notes.txt", ".DS_Store", "landmarks.mrk.json", "DICOMDIR"):
        (tmp_path / name).write_text("not a slice")

    assert isinstance(read_image(tmp_path), Picture)


def other_slice(folder, name, pixels=None, **tags):
    """Write a slice that would be the fifth of `write_series`, but for its tags."""
    axes = rotation()
    place = {"position": axes[:, 2] * 10 + [-31.5, 12.25, 400.75], "orientation": axes[:, :2].T.ravel()}
    save(folder / name, dicom(voxels((6, 4)).T if pixels is None else pixels, **place | tags))


def without_pixels(path):
    data = pydicom.dcmread(path)
    del data.PixelData
    save(path, data)


def without_files(folder):
    for path in folder.iterdir():
        path.unlink()
    (folder / "inner").mkdir()


SPOILT = {
    "missing": lambda folder: (folder / "IM0002").unlink(),
    "alone": lambda folder: [(folder / f"IM000{k}").unlink() for k in range(4)],
    "double": lambda folder: other_slice(folder, "again"),
    "uneven": lambda folder: other_slice(folder, "IM0004", position=rotation()[:, 2] * 10.3 + [-31.5, 12.25, 400.75]),
    "two": lambda folder: other_slice(folder, "scout", series="9.9", SeriesDescription="Scout"),
    "size": lambda folder: other_slice(folder, "IM0002", voxels((6, 5)).T),
    "direction": lambda folder: other_slice(folder, "IM0002", orientation=[1, 0, 0, 0, 1, 0]),
    "no place": lambda folder: other_slice(folder, "IM0002", position=None),
    "frames": lambda folder: other_slice(folder, "IM0002", voxels((6, 8)).T, NumberOfFrames=2, Rows=4),
    "cut": lambda folder: (folder / "IM0002").write_bytes((folder / "IM0002").read_bytes()[:-3]),
    "empty": lambda folder: (folder / "IM0002").write_bytes(b""),
    "empty .dcm": lambda folder: (folder / "IM0002").rename(folder / "IM0002.dcm").write_bytes(b""),
    "pixels": lambda folder: without_pixels(folder / "IM0002"),
    "nothing": without_files,
}


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("missing", "the gap between IM0001 and IM0003 is 5 mm, elsewhere 2.5: slices are missing"),
        ("alone", "is one slice of a CT volume"),
        ("double", "IM0004 and again have the same position"),
        ("uneven", "its slices are unevenly spaced, 2.8 mm between IM0003 and IM0004, elsewhere 2.5"),
        ("two", "contains 2 series: CT (5 files, IM0000 …), Scout (1 files, scout …)"),
        ("size", "IM0002: differs from IM0000"),
        ("direction", "IM0002: differs from IM0000"),
        ("no place", "IM0002: has no position"),
        ("frames", "IM0002: has color or several frames"),
        ("cut", "IM0002: ends too early"),
        ("empty", "IM0002: is not a DICOM file"),
        ("empty .dcm", "IM0002.dcm: is not a DICOM file"),
        ("pixels", "IM0002: contains no image"),
        ("nothing", "contains no DICOM files; give the folder that contains them (inner)"),
    ],
)
def test_a_broken_series_is_refused(tmp_path, how, text):
    write_series(tmp_path, voxels((6, 4, 5)))
    SPOILT[how](tmp_path)

    assert text in refusal(tmp_path)


def test_positions_rounded_by_a_scanner_are_even(tmp_path):
    for k in range(9):
        position = [0, 0, round(k * 2 / 3, 2)]
        save(tmp_path / f"{k}", dicom(voxels((6, 4)), position=position, orientation=[1, 0, 0, 0, 1, 0]))

    assert read_image(tmp_path).spacing_mm[2] == pytest.approx(2 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ({"Rows": 60000}, "bytes of pixels where its header says"),
        ({"BitsAllocated": 64}, "64 bits"),
        ({"BitsAllocated": 1}, "1 bits"),
        ({"NumberOfFrames": 30}, "bytes of pixels where its header says"),
        ({"PixelSpacing": [0, 1]}, "its spacing is 1 x 0"),
        ({"SOPClassUID": CT}, "one slice of a CT volume"),
    ],
)
def test_a_bad_radiograph_is_refused(tmp_path, tags, text):
    path = save(tmp_path / "x.dcm", dicom(voxels((6, 4), "u2"), sop_class=RADIOGRAPH, **tags))

    assert text in refusal(path)


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_a_stream_that_says_something_else_than_its_header_costs_one_file(tmp_path, compressor, reader):
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "x.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    pixels = voxels((32, 40), "u2")
    writer.Execute(itk_image(pixels))
    data = (tmp_path / "x.dcm").read_bytes()
    start = data.index(b"\xff\x4f\xff\x51" if compressor == "JPEG2000" else b"\xff\xc3")
    for offset in (42, 11) if compressor == "JPEG2000" else (4, 6, 9):
        bad = bytearray(data)
        bad[start + offset] = 200  # 200 bits: here GDCM's JPEG decoder ends its process
        (tmp_path / f"{offset}.dcm").write_bytes(bad)
        with pytest.raises(ScanError) as caught:
            reader.call(tmp_path / f"{offset}.dcm", read_image, tmp_path / f"{offset}.dcm")
        assert f"{offset}.dcm: " in str(caught.value)
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(reader.call(tmp_path, read_image, tmp_path / "x.dcm").pixels, pixels.T)


def test_sequences_that_never_end_are_refused(tmp_path):
    path = save(tmp_path / "x.dcm", dicom(voxels((6, 4), "u2"), sop_class=RADIOGRAPH))
    sequence = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    path.write_bytes(path.read_bytes() + sequence * 50)

    assert "ends too early or is damaged" in refusal(path)
    path.write_bytes(path.read_bytes() + sequence * 20_000)  # deeper than Python's stack
    assert "ends too early or is damaged" in refusal(path)


@real_data
def test_the_real_series_is_what_its_files_say():
    folder = REAL_DATA / "ct_table/dicom_series"
    scan = read_image(folder)
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()}
    paths = sorted(headers, key=lambda path: headers[path].ImagePositionPatient[2])
    image = sitk.ReadImage([str(path) for path in paths])

    assert scan.shape == (512, 512, 20)
    np.testing.assert_array_equal(scan.voxels, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    for k, path in enumerate(paths):
        np.testing.assert_allclose(scan.affine @ [0, 0, k, 1], [*headers[path].ImagePositionPatient, 1], atol=1e-9)
    np.testing.assert_allclose(scan.spacing_mm[:2], [*headers[paths[0]].PixelSpacing][::-1])
    assert -1100 < scan.voxels.min() < -900
