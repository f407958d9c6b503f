"""Multi-frame (Enhanced) CT and MR: placed and scaled frame by frame, in agreement with SimpleITK and pydicom."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless
from support.fake_scans import CT, RADIOGRAPH, dicom, refusal, rotation, save, voxels

from synthgen.training.scans.formats.read_image import Volume, read_image

ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
ORIGIN = np.array([-31.5, 12.25, 400.75])
STEP = 2.5


def macro(**elements):
    """A functional group macro: a sequence of one item."""
    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return [item]


def groups(**macros):
    item = Dataset()
    for name, value in macros.items():
        setattr(item, name, value)
    return item


def enhanced(array, *, order=None, sop_class=ENHANCED_CT, own=(), places=None, rescale=None, content=None, **tags):
    """A multi-frame file of voxels (I, J, K), whose frames are stored in an order; its affine to LPS mm.

    Args:
        own: Macros that each frame states for itself, of those which are shared otherwise.
        places: Distance of each slice k from the first, mm.
        rescale: Slope and intercept of each slice k.
        content: What FrameContentSequence says of each slice k.
    """
    axes, count = rotation(), array.shape[2]
    order = list(range(count)) if order is None else list(order)
    places = STEP * np.arange(count) if places is None else places
    data = dicom(np.concatenate([array[:, :, k].T for k in order]), sop_class=sop_class, spacing=None)
    data.Rows, data.NumberOfFrames, data.ImageType = array.shape[1], count, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    common = {
        "PlaneOrientationSequence": macro(ImageOrientationPatient=[*axes[:, 0], *axes[:, 1]]),
        "PixelMeasuresSequence": macro(PixelSpacing=[1.5, 0.5], SliceThickness=STEP),
    }
    if rescale is None:
        common["PixelValueTransformationSequence"] = macro(RescaleSlope=1, RescaleIntercept=0, RescaleType="HU")
    data.SharedFunctionalGroupsSequence = [groups(**{name: value for name, value in common.items() if name not in own})]
    data.PerFrameFunctionalGroupsSequence = [
        groups(
            PlanePositionSequence=macro(ImagePositionPatient=(ORIGIN + places[k] * axes[:, 2]).tolist()),
            FrameContentSequence=macro(InStackPositionNumber=k + 1, **(content[k] if content else {"StackID": "1"})),
            **{name: common[name] for name in own},
            **(
                {"PixelValueTransformationSequence": macro(RescaleSlope=rescale[k][0], RescaleIntercept=rescale[k][1])}
                if rescale
                else {}
            ),
        )
        for k in order
    ]
    for name, value in tags.items():
        setattr(data, name, value)
    affine = np.eye(4)
    affine[:3] = np.column_stack([axes[:, 0] * 0.5, axes[:, 1] * 1.5, axes[:, 2] * STEP, ORIGIN])
    return data, affine


@given(
    st.permutations(range(5)),
    st.sampled_from(["i2", "u2"]),
    st.sampled_from([ENHANCED_CT, ENHANCED_MR]),
    st.sets(st.sampled_from(["PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"])),
)
def test_frames_are_placed_by_their_positions_whatever_their_order(tmp_path_factory, order, kind, sop_class, own):
    path = tmp_path_factory.mktemp("frames") / "x.dcm"
    array = voxels((6, 4, 5), kind)
    data, affine = enhanced(array, order=order, sop_class=sop_class, own=own)
    save(path, data)

    for scan in (read_image(path), read_image(path.parent)):
        assert isinstance(scan, Volume)
        np.testing.assert_array_equal(scan.voxels, array)
        np.testing.assert_allclose(scan.affine, affine, atol=1e-9)


@pytest.mark.parametrize("sop_class", [ENHANCED_CT, ENHANCED_MR])
def test_a_multi_frame_file_is_what_itk_reads(tmp_path, sop_class):
    path = save(tmp_path / "x.dcm", enhanced(voxels((6, 4, 5)), sop_class=sop_class)[0])
    scan, image = read_image(path), sitk.ReadImage(str(path))

    np.testing.assert_array_equal(scan.voxels, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    for place in ((0, 0, 0), (5, 0, 0), (0, 3, 0), (0, 0, 4), (2, 1, 3)):
        np.testing.assert_allclose(
            (scan.affine @ [*place, 1])[:3], image.TransformIndexToPhysicalPoint(place), atol=1e-6
        )


def test_frames_are_scaled_each_by_its_own_factors(tmp_path):
    array = voxels((6, 4, 3), "u2")
    rescale = [(1, -1024), (0.5, 0), (2, 10)]
    path = save(tmp_path / "x.dcm", enhanced(array, order=[2, 0, 1], rescale=rescale)[0])
    slopes, intercepts = np.array(rescale).T

    np.testing.assert_array_equal(read_image(path).voxels, array * slopes + intercepts)


def test_hounsfield_units_of_a_multi_frame_file_are_whole_numbers(tmp_path):
    array = voxels((6, 4, 3), "u2")
    scan = read_image(save(tmp_path / "x.dcm", enhanced(array, rescale=[(1, -1024)] * 3)[0]))

    np.testing.assert_array_equal(scan.voxels, array.astype(int) - 1024)
    assert scan.voxels.dtype == np.int16


@pytest.mark.parametrize("extended", [False, True])
def test_compressed_frames_are_what_pydicom_reads(tmp_path, extended):
    array = voxels((40, 32, 3), "u2")
    data, affine = enhanced(array, order=[1, 2, 0])
    data.compress(RLELossless)
    if extended:
        frames = list(generate_frames(data.PixelData, number_of_frames=3))
        data.PixelData = encapsulate(frames, has_bot=False)
        starts = np.cumsum([0, *(len(frame) + 8 for frame in frames[:-1])])
        data.ExtendedOffsetTable = starts.astype("<u8").tobytes()
        data.ExtendedOffsetTableLengths = np.array([len(frame) for frame in frames], "<u8").tobytes()
    scan = read_image(save(tmp_path / "x.dcm", data))

    np.testing.assert_array_equal(scan.voxels, array)
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "x.dcm").pixel_array[0], array[:, :, 1].T)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-9)


def test_a_series_of_several_multi_frame_files_is_one_volume(tmp_path):
    array = voxels((6, 4, 5))
    for name, part in (("a", [0, 2, 4]), ("b", [1, 3])):
        save(tmp_path / name, enhanced(array[:, :, part], places=STEP * np.array(part))[0])
    scan = read_image(tmp_path)

    np.testing.assert_array_equal(scan.voxels, array)
    np.testing.assert_allclose(scan.affine, enhanced(array)[1], atol=1e-9)


def stacks(*names):
    return [{"StackID": name} for name in names]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"places": [0, 2.5, 7.5, 10, 12.5]}, "the gap between x.dcm frame 2 and x.dcm frame 3 is 5 mm, elsewhere 2.5"),
        (
            {"places": [0, 2.5, 5, 7.5, 10.3]},
            "unevenly spaced, 2.8 mm between x.dcm frame 4 and x.dcm frame 5",
        ),
        ({"places": [0, 2.5, 5, 5, 7.5]}, "x.dcm frame 3 and x.dcm frame 4 have the same position"),
        ({"content": stacks("1", "1", "1", "2", "2")}, "contains 2 stacks of slices (stack 1 time -, stack 2 time -)"),
        (
            {"content": [{"StackID": "1", "TemporalPositionIndex": n} for n in (1, 1, 1, 2, 2)]},
            "contains 2 stacks of slices (stack 1 time 1, stack 1 time 2)",
        ),
        ({"NumberOfFrames": 4, "Rows": 5}, "describes 5 frames but declares 4"),
        ({"NumberOfFrames": 50}, "bytes of pixels where its header says"),
        ({"PerFrameFunctionalGroupsSequence": [Dataset()] * 5}, "has no position"),
        ({"SharedFunctionalGroupsSequence": [Dataset()]}, "has no orientation"),
        ({"rescale": [(np.nan, 0)] * 5}, "its RescaleSlope is"),
    ],
)
def test_frames_that_make_no_volume_are_refused(tmp_path, how, text):
    path = save(tmp_path / "x.dcm", enhanced(voxels((6, 4, 5)), **how)[0])

    assert text in refusal(path)


def test_one_frame_is_a_slice_and_a_film_is_refused(tmp_path):
    one = save(tmp_path / "one.dcm", enhanced(voxels((6, 4, 1)))[0])
    film = save(tmp_path / "film.dcm", dicom(voxels((6, 8)).T, sop_class=RADIOGRAPH, NumberOfFrames=2, Rows=4))
    old = save(tmp_path / "old.dcm", dicom(voxels((6, 8)).T, sop_class=CT, NumberOfFrames=2, Rows=4))

    assert "is one slice of a CT volume" in refusal(one)
    assert "has color or several frames without positions" in refusal(film)
    assert "has color or several frames without positions" in refusal(old)


@pytest.mark.parametrize("cut", [1, 20, 300, 700])
def test_a_multi_frame_file_that_is_cut_off_is_refused(tmp_path, cut):
    path = save(tmp_path / "x.dcm", enhanced(voxels((6, 4, 5)))[0])
    path.write_bytes(path.read_bytes()[:-cut])

    refusal(path)
