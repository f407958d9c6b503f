"""Silhouettes and depth of volumes: thresholds, cleaning, and above all the scanner's table, which must go alone."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from support.laws import examples
from support.paths import REAL_DATA
from support.scan_phantoms import STORAGES, Scene, Table, as_volume, dice, scan_ct, stored_as, truth, whole_body

from synthgen.errors import ScanError
from synthgen.training.scans.formats.image_types import Volume
from synthgen.training.scans.formats.read_image import read_image
from synthgen.training.scans.orientation import Seen, seen, view_of
from synthgen.training.scans.silhouette import Steps, Threshold, binarize, choose_threshold, clean, count_planes

REAL = REAL_DATA / "ct_table"
HU = Threshold(-400.0, "hounsfield", is_hu=True)
RAW = Steps(remove_table=False, fill_holes=False, largest=False, min_speckle_mm2=0)
seeds = st.integers(0, 2**31)


def looked_at(voxels, spacing=(1.0, 1.0, 1.0)):
    return Seen(voxels, np.diag([*spacing, 1.0]), np.array(spacing))


# Thresholds


def tissue_in_air(seed, dtype=np.int16, air=20, bright=400):
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(0, air, (12, 13, 14)))
    values[3:9, 4:10, 5:11] = rng.normal(bright, bright / 8, (6, 6, 6))
    return np.clip(values, 0, 2 * bright).astype(dtype)


@given(seeds, st.sampled_from([np.uint8, np.int16, np.int32, np.float32]))
def test_otsu_splits_as_itk_does(seed, dtype):
    voxels = tissue_in_air(seed, dtype, 5, 100)
    threshold = choose_threshold(voxels, None)
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetNumberOfHistogramBins(256)
    theirs = sitk.GetArrayFromImage(otsu.Execute(sitk.GetImageFromArray(voxels))) == 0

    assert threshold.how == "otsu"
    assert not threshold.is_hu
    assert np.array_equal(voxels > threshold.value, theirs)


@given(seeds, st.sampled_from([1e-6, 0.01, 1.0, 30.0]), st.floats(-500, 500))
def test_otsu_moves_with_the_values(seed, gain, shift):
    voxels = tissue_in_air(seed, np.float64)
    moved = voxels * gain + shift

    assert np.array_equal(moved > choose_threshold(moved, None).value, voxels > choose_threshold(voxels, None).value)


def test_outliers_and_what_is_not_finite_do_not_move_the_threshold():
    voxels = tissue_in_air(0, np.float32)
    threshold = choose_threshold(voxels, None).value
    spoilt = voxels.copy()
    spoilt[0, 0, :5] = [np.nan, np.inf, -np.inf, 1e30, -1e30]

    assert choose_threshold(spoilt, None).value == pytest.approx(threshold, abs=15)
    whole = tissue_in_air(0, np.int32)
    outlying = whole.copy()
    outlying[0, 0, :2] = [2**31 - 1, -(2**31)]
    assert choose_threshold(outlying, None).value == pytest.approx(choose_threshold(whole, None).value, abs=15)
    assert choose_threshold(np.full((4, 4, 4), 7) + np.eye(4, dtype=int), "otsu").value == 7.5


@given(seeds)
def test_the_threshold_does_not_depend_on_the_order_of_storage(seed):
    for dtype in (np.int16, np.float32):
        volume = Volume(tissue_in_air(seed, dtype), np.eye(4))
        stored = [stored_as(volume, *storage).voxels for storage in STORAGES[::5]]

        assert len({choose_threshold(voxels, None) for voxels in (volume.voxels, *stored)}) == 1


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_hounsfield_units_are_recognized(kind):
    values, _, _ = scan_ct(whole_body(), 12.0)

    assert choose_threshold(values.astype(kind), None) == HU
    assert choose_threshold(values.astype(kind), "hounsfield") == HU
    assert choose_threshold(values.astype(kind), -500.0) == Threshold(-500.0, "given", is_hu=True)
    assert choose_threshold(values.astype(kind), "otsu").how == "otsu"
    assert choose_threshold((values + 1024).astype(kind), None).how == "otsu"  # stored numbers without their offset


def test_a_volume_without_tissue_is_refused():
    rng = np.random.default_rng(0)
    air = np.rint(rng.normal(-1000, 10, (20, 20, 20))).astype(np.int16)
    with pytest.raises(ScanError, match=r"^threshold: no voxel lies above -400 \(hounsfield\); the volume is all air"):
        binarize(looked_at(air), choose_threshold(air, None), Steps())
    with pytest.raises(ScanError, match=r"^image: all its values are 3"):
        choose_threshold(np.full((3, 3, 3), 3), None)
    with pytest.raises(ScanError, match=r"^image: all its values are 0"):
        choose_threshold(np.full((3, 3, 3), np.nan), None)
    for noise in (rng.rayleigh(20, (40, 40, 40)), rng.normal(0, 5, (40, 40, 40))):
        with pytest.raises(ScanError, match=r"^threshold: otsu finds no tissue that stands out"):
            choose_threshold(noise, None)


def test_planes_are_counted():
    voxels = tissue_in_air(1)
    counts = count_planes(voxels, Threshold(100.0, "given", is_hu=False))

    for axis, count in enumerate(counts):
        assert np.array_equal(count, (voxels > 100).sum(axis=tuple(a for a in range(3) if a != axis)))


# Projection and depth


@given(seeds, st.tuples(*[st.floats(0.3, 5)] * 3))
def test_a_pixel_is_on_where_any_voxel_of_its_column_is_tissue(seed, spacing):
    voxels = np.random.default_rng(seed).normal(0, 1, (70, 5, 6))
    found = binarize(looked_at(voxels, spacing), Threshold(1.0, "given", is_hu=False), RAW)

    assert np.array_equal(found.mask, (voxels > 1).any(axis=2))
    assert np.array_equal(np.isnan(found.depth_mm), ~found.mask)
    assert not found.table_removed


def test_depth_is_that_of_the_first_tissue_and_noise_before_it_does_not_count():
    voxels = np.zeros((3, 4, 10))
    voxels[..., 6:] = 1
    voxels[0, 0, 2] = 1  # a single voxel in the air
    voxels[1, 1, :] = 0
    voxels[1, 1, 9] = 1  # thin, but all there is
    depth = binarize(looked_at(voxels, (1.0, 1.0, 2.5)), Threshold(0.5, "given", is_hu=False), RAW).depth_mm

    assert depth.dtype == np.float32
    assert depth[0, 0] == depth[2, 2] == 6.5 * 2.5
    assert depth[1, 1] == 9.5 * 2.5


def test_a_filled_hole_takes_the_depth_beside_it():
    voxels = np.zeros((9, 9, 8))
    voxels[1:8, 1:8, 3:] = 1
    voxels[4, 4] = 0
    found = binarize(looked_at(voxels), Threshold(0.5, "given", is_hu=False), Steps(remove_table=False))

    assert found.mask[4, 4]
    assert found.depth_mm[4, 4] == 3.5
    assert not binarize(looked_at(voxels), Threshold(0.5, "given", is_hu=False), RAW).mask[4, 4]


# Cleaning


@given(seeds, st.booleans(), st.booleans(), st.sampled_from([None, (1.0, 1.0), (0.5, 2.0)]))
def test_cleaning_twice_is_cleaning_once_and_each_step_does_its_own(seed, holes, largest, spacing):
    mask = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 50)), 1.5) > 0.02
    steps = Steps(fill_holes=holes, largest=largest, min_speckle_mm2=8.0)
    once = clean(mask, spacing, steps)

    assert np.array_equal(clean(once, spacing, steps), once)
    if not holes:
        assert not (once & ~mask).any()
    if largest:
        assert ndimage.label(once, np.ones((3, 3)))[1] <= 1
    assert np.array_equal(clean(mask, spacing, RAW), mask)


def test_small_holes_are_filled_and_the_gap_beside_an_arm_is_not():
    mask = np.zeros((60, 60), dtype=bool)
    mask[5:55, 5:55] = True
    mask[10:13, 10:13] = False  # 9 pixels
    mask[20:50, 30:34] = False  # 120 pixels
    mask[54, 54] = mask[58, 58] = False
    mask[58, 57] = True

    cleaned = clean(mask, (1.0, 1.0), Steps())

    assert cleaned[10:13, 10:13].all()
    assert not cleaned[20:50, 30:34].any()
    assert not cleaned[58, 57]
    assert clean(mask, (3.0, 3.0), Steps())[11, 11] == np.False_  # 81 mm2 is no small hole
    assert clean(mask, None, Steps(largest=False))[58, 57] == np.False_
    assert clean(mask, (1.0, 1.0), Steps(largest=False, min_speckle_mm2=1.0))[58, 57]
    assert not clean(np.zeros((4, 4), dtype=bool), None, Steps()).any()


# The table


def both(scene, step, viewed_from="A", noise=15.0):
    """The silhouette with a table, taken off, and that of the same body in air; and how well it is the body's own."""
    values, low, spacing = scan_ct(scene, step, noise)
    bare, _, _ = scan_ct(Scene(**{**scene.__dict__, "table": None}), step, noise)
    found, alone = (
        binarize(seen(volume, view_of(volume.affine, "S", viewed_from)), choose_threshold(volume.voxels, None), steps)
        for volume, steps in (
            (as_volume(values, low, spacing), Steps()),
            (as_volume(bare, low, spacing), Steps(remove_table=False)),
        )
    )
    real = truth(scene, low, spacing, (values.shape[1], values.shape[0], values.shape[2]))
    return found, alone, dice(found.mask, real if viewed_from == "A" else real[:, ::-1])


TABLES = {
    "two plates": {},
    "with a gap": {"top": 12.0},
    "thick": {"plates": ((0, 15), (40, 55))},
    "one upon the other": {"plates": ((0, 15), (15, 30))},
    "thin": {"plates": ((0, 2), (20, 22))},
    "thin and faint": {"plates": ((0, 2), (15, 17)), "hu": -200.0},
    "one plate": {"plates": ((0, 5),)},
    "tilted": {"tilt": 0.02, "top": 18.0},
    "sagging": {"sag": 12.0},
    "curved": {"curve": 25.0, "top": 12.0},
    "narrow": {"sides": (-200, 200)},
    "wider than the scan": {"sides": (-600, 600)},
    "askew": {"skew": 0.05},
    "ends at the shoulders": {"ends": (-560, 900)},
    "under the hands": {"top": -14.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_the_table_goes_and_the_body_stays(name):
    found, alone, agreement = both(whole_body(table=Table(**TABLES[name])), 4.0)

    assert found.table_removed
    assert np.array_equal(found.mask, alone.mask)
    assert np.array_equal(found.depth_mm, alone.depth_mm, equal_nan=True)
    assert agreement > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("step", [1.5, 2.0, (2.0, 4.0, 1.0), (1.5, 3.0, 3.5)])
def test_the_table_goes_at_any_spacing(step):
    part = {"low": (-290, -420, -260), "high": (290, 100, 60)}
    found, alone, agreement = both(whole_body(table=Table(top=2.0), **part), step)

    assert found.table_removed
    assert np.array_equal(found.mask, alone.mask)
    assert agreement > 0.99


@pytest.mark.slow
@examples(12)
@given(
    st.lists(st.floats(2, 15), min_size=2, max_size=2),
    st.floats(0, 50),
    st.floats(-12, 15),
    st.floats(200, 270),
    st.floats(-250, 200),
    st.floats(5, 40),
)
def test_drawn_tables_go(plates, gap, top, half_width, hu, noise):
    first, second = plates
    table = Table(((0, first), (first + gap, first + gap + second)), top, (-half_width, half_width - 15), hu)
    found, alone, agreement = both(whole_body(table=table, high=(290, 850, 100)), 4.0, noise=noise)

    assert not (found.mask & ~alone.mask).any()
    assert (alone.mask & ~found.mask).sum() <= 3
    assert agreement > 0.99


PARTS = {
    "all": (-900, 850),
    "head": (-900, -640),
    "chest": (-600, -350),
    "abdomen": (-420, -120),
    "thighs and hands": (-100, 200),
    "legs": (100, 850),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("bed", [60, -30], ids=["round back", "flat back"])
@pytest.mark.parametrize("half", [290, 235], ids=["whole", "hands cut off"])
def test_without_a_table_nothing_is_removed(part, bed, half):
    start, stop = PARTS[part]
    values, low, spacing = scan_ct(whole_body(low=(-half, start, -260), high=(half, stop, bed)), 4.0)
    volume = as_volume(values, low, spacing)
    for viewed_from in "AP":
        view = seen(volume, view_of(volume.affine, "S", viewed_from))
        found = binarize(view, HU, Steps())

        assert not found.table_removed
        assert np.array_equal(found.mask, binarize(view, HU, Steps(remove_table=False)).mask)


@pytest.mark.parametrize("part", ["abdomen", "thighs and hands", "all"])
def test_a_table_between_the_viewer_and_the_body_goes_too(part):
    start, stop = PARTS[part]
    scene = whole_body(low=(-290, start, -260), high=(290, stop, 60), table=Table(top=8.0))
    found, alone, _ = both(scene, 4.0, viewed_from="P")

    assert found.table_removed
    assert np.array_equal(found.mask, alone.mask)
    if part == "all":
        assert np.array_equal(found.depth_mm, alone.depth_mm, equal_nan=True)


@pytest.mark.parametrize("part", ["chest", "abdomen", "thighs and hands"])
def test_the_table_goes_from_a_part_of_the_body(part):
    start, stop = PARTS[part]
    for table in (Table(), Table(curve=25.0, top=12.0)):
        found, alone, _ = both(whole_body(low=(-290, start, -260), high=(290, stop, 60), table=table), 3.0)

        assert found.table_removed
        assert not (found.mask & ~alone.mask).any()
        assert dice(found.mask, alone.mask) > 0.9995


def test_a_table_stays_where_it_was_not_asked_to_go():
    values, low, spacing = scan_ct(whole_body(table=Table()), 4.0)
    volume = as_volume(values, low, spacing)
    found = binarize(seen(volume, view_of(volume.affine, "S", "A")), HU, Steps(remove_table=False))

    assert not found.table_removed
    assert found.mask[:, 40].all()


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the shared data")
def test_the_real_table_goes_and_the_trunk_is_whole():
    volume = read_image(REAL / "example_ct.nii.gz")
    view = seen(volume, view_of(volume.affine, "S", "A"))
    before, after = (binarize(view, HU, steps) for steps in (Steps(remove_table=False), Steps()))

    assert before.mask.mean() > 0.99  # the table fills what the trunk leaves
    assert after.table_removed
    assert not (after.mask & ~before.mask).any()
    # The trunk: tissue in front of the table's shell, by the eye at slices 0, 40 and 100 from above.
    trunk = (view.voxels[:, :, :78] > -400).sum(axis=2) * 3 > 30
    assert (trunk & ~after.mask).sum() == 0
    assert (after.mask & ~ndimage.binary_dilation(trunk, iterations=2)).sum() == 0
    assert ndimage.label(after.mask)[1] == 1


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the shared data")
def test_the_real_mr_has_no_table_and_no_hounsfield_units():
    volume = read_image(REAL / "example_mr_sm.nii.gz")
    threshold = choose_threshold(volume.voxels, None)
    found = binarize(seen(volume, view_of(volume.affine, "S", "A")), threshold, Steps())

    assert (threshold.how, found.table_removed) == ("otsu", False)
    assert 150 < threshold.value < 350
