"""From a scan to its patch and back: exact ways, whatever the storage; and what is done with flat pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.laws import examples
from support.scan_phantoms import (
    STORAGES,
    TO_LPS,
    Table,
    as_volume,
    dice,
    hand_parts,
    placed,
    radiograph,
    scan_ct,
    scan_mr,
    stored_as,
    whole_body,
)

from synthgen.errors import ScanError
from synthgen.framing import FrameDraw, frame_box, silhouette_box
from synthgen.specs.files import load_spec
from synthgen.training.scans.formats.image_types import Picture, Volume
from synthgen.training.scans.formats.landmark_files import Points
from synthgen.training.scans.patch import scan_patch
from synthgen.training.scans.table import ScanSettings

HAND = load_spec("paper_hand")
BODY = load_spec("paper_body")
NAMES = HAND.landmarks.names
BACK_UP = ScanSettings(up="S", viewed_from="A")


def with_framing(spec, **changes):
    return spec.model_copy(update={"framing": spec.framing.model_copy(update=changes)})


@pytest.fixture(scope="module")
def hand():
    """An oblique, anisotropic scan of a left hand with its tips."""
    parts, tips = hand_parts()
    values, low, step = scan_mr(parts, (-70, -135, -40), (100, 110, 40), (1.7, 2.3, 1.9))
    turn = Rotation.from_rotvec([0.15, -0.2, 0.1]).as_matrix() @ TO_LPS
    return placed(values, low, step, turn), Points("lps_mm", {name: tuple(turn @ tip) for name, tip in tips.items()})


@pytest.fixture(scope="module")
def body():
    values, low, step = scan_ct(whole_body(table=Table()), (3.0, 4.0, 3.5))
    return as_volume(values, low, step)


def apply(matrix, points):
    return (matrix @ np.concatenate([points, np.ones((len(points), 1))], axis=1).T).T[:, :3]


def same(one, other):
    return np.array_equal(one.mask, other.mask) and np.array_equal(one.depth_mm, other.depth_mm, equal_nan=True)


@pytest.mark.parametrize("way", [{}, {"up": "S", "viewed_from": "A"}], ids=["auto", "given"])
def test_a_hand_gives_the_same_patch_in_all_48_orders_of_storage(hand, way):
    volume, points = hand
    asked = ScanSettings(side="left", **way)
    first = scan_patch(volume, points, asked, HAND)
    for storage in STORAGES:
        again = scan_patch(stored_as(volume, *storage), points, asked, HAND)

        assert same(again, first)
        assert again.patch_to_source == pytest.approx(first.patch_to_source, abs=1e-9)
        assert again.landmarks_px == pytest.approx(first.landmarks_px, abs=1e-9)
        assert again.settings == first.settings


@pytest.mark.slow
def test_a_body_on_a_table_gives_the_same_patch_in_all_48_orders_of_storage(body):
    first = scan_patch(body, None, ScanSettings(), BODY)
    assert first.settings["table_removed"]
    for storage in STORAGES:
        assert same(scan_patch(stored_as(body, *storage), None, ScanSettings(), BODY), first)


affines = st.builds(
    lambda seed, spacing, flips: np.block(
        [
            [Rotation.random(random_state=seed).as_matrix() * spacing * flips, np.array([[70.0], [-300], [900]])],
            [np.zeros((1, 3)), np.ones((1, 1))],
        ]
    ),
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.floats(0.3, 6)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
)


@examples(20)
@given(affines, st.sampled_from(["left", "right"]), st.integers(0, 1000), st.sampled_from(["keep", "stretch"]))
def test_from_the_patch_to_the_patient_and_back_is_exact(affine, side, seed, aspect):
    rng = np.random.default_rng(seed)
    voxels = np.zeros((14, 17, 12), dtype=np.int16)
    voxels[3:9, 4:15, 2:10] = 100
    scan = scan_patch(Volume(voxels, affine), None, BACK_UP.model_copy(update={"side": side}),
                      with_framing(HAND, aspect=aspect))  # fmt: skip
    places = rng.uniform([-20, -20, 0], [120, 120, 300], (50, 3))
    there = apply(scan.patch_to_source, places)
    back = apply(np.linalg.inv(scan.patch_to_source), there)

    assert back == pytest.approx(places, abs=1e-6)


@examples(20)
@given(affines, st.sampled_from(["left", "right"]), st.integers(0, 1000))
def test_a_pixel_and_its_depth_lead_to_the_tissue_that_is_seen_there(affine, side, seed):
    # Independent of how the patch was made: at the place in the patient, the volume itself holds tissue, and the
    # ray to it holds none before.
    rng = np.random.default_rng(seed)
    voxels = np.zeros((14, 17, 12), dtype=np.int16)
    voxels[3:9, 4:15, 2:10] = 100
    voxels[4:7, 5:9, 1] = rng.integers(0, 2, (3, 4)) * 100
    scan = scan_patch(Volume(voxels, affine), None, BACK_UP.model_copy(update={"side": side}), HAND)
    rows, columns = np.nonzero(scan.mask)
    chosen = rng.integers(0, len(rows), 40)
    seen_at = np.stack([columns + 0.5, rows + 0.5, scan.depth_mm[rows, columns]], axis=1)[chosen]
    index = apply(np.linalg.inv(affine) @ scan.patch_to_source, seen_at)
    near = [np.clip(np.rint(index + d), 0, np.array(voxels.shape) - 1).astype(int)
            for d in np.stack(np.meshgrid(*[[-0.5, 0, 0.5]] * 3), -1).reshape(-1, 3)]  # fmt: skip

    assert (np.max([voxels[tuple(n.T)] for n in near], axis=0) == 100).all()


def test_landmarks_follow_in_every_frame(hand):
    volume, points = hand
    voxel = {
        name: tuple(apply(np.linalg.inv(volume.affine), np.array([place]))[0]) for name, place in points.points.items()
    }
    by_mm = scan_patch(volume, points, BACK_UP, HAND)
    by_voxel = scan_patch(volume, Points("voxel", voxel), BACK_UP, HAND)
    some = Points("lps_mm", {name: place for name, place in points.points.items() if name != "ring"})
    missing = scan_patch(volume, some, BACK_UP, HAND)

    assert by_mm.landmarks_mm == pytest.approx(np.array([points.points[name] for name in NAMES]))
    assert by_voxel.landmarks_mm == pytest.approx(by_mm.landmarks_mm, abs=1e-9)
    assert by_voxel.landmarks_px == pytest.approx(by_mm.landmarks_px, abs=1e-9)
    assert np.array_equal(np.isnan(missing.landmarks_px).all(axis=1), [name == "ring" for name in NAMES])
    assert np.array_equal(np.isnan(missing.landmarks_mm).all(axis=1), [name == "ring" for name in NAMES])
    for x, y in by_mm.landmarks_px:  # a fingertip's middle is inside
        assert by_mm.mask[int(y), int(x)]
    assert np.isnan(scan_patch(volume, None, BACK_UP.model_copy(update={"side": "left"}), HAND).landmarks_px).all()


def test_a_right_hand_becomes_the_left_one_that_mirrors_it(hand):
    volume, points = hand
    across = np.diag([-1.0, 1, 1, 1])  # the patient's other side
    mirrored = Volume(volume.voxels, across @ volume.affine)
    other = Points("lps_mm", {name: (-x, y, z) for name, (x, y, z) in points.points.items()})
    left, right = scan_patch(volume, points, BACK_UP, HAND), scan_patch(mirrored, other, BACK_UP, HAND)

    assert (left.side, right.side) == ("left", "right")
    assert same(left, right)
    assert right.landmarks_px == pytest.approx(left.landmarks_px, abs=1e-9)
    assert right.patch_to_source == pytest.approx(across @ left.patch_to_source, abs=1e-9)
    assert right.settings["mirrored"]
    with pytest.raises(ScanError, match=r"^side: left, but the thumb"):
        scan_patch(mirrored, other, BACK_UP.model_copy(update={"side": "left"}), HAND)


def test_the_forearm_lies_on_the_lower_border_and_margins_are_the_framings(hand):
    volume, points = hand
    patch = scan_patch(volume, points, BACK_UP, HAND)
    low, high = HAND.framing.margin.support()
    rows, columns = np.nonzero(patch.mask)

    assert patch.settings["cut_by"] == ["bottom"]
    assert not patch.touches_border
    assert rows.max() == HAND.image.height - 1
    # The free space of a tall hand is at its sides, half at each.
    assert abs(columns.min() - (HAND.image.width - 1 - columns.max())) <= 1
    tall = HAND.image.height / (1 + (low + high) / 2)
    assert rows.max() + 1 - rows.min() == pytest.approx(tall, abs=1)
    cut = Volume(volume.voxels[30:], volume.affine)
    assert scan_patch(cut, points, BACK_UP, HAND).touches_border


@pytest.mark.slow
def test_a_body_that_leaves_the_scan_is_flagged(body):
    whole = scan_patch(body, None, ScanSettings(), BODY)
    part = scan_patch(Volume(body.voxels[:, :, 100:], body.affine), None, ScanSettings(), BODY)

    assert not whole.touches_border
    assert part.touches_border
    assert part.settings["cut_by"] == ["bottom"]
    assert (whole.side, whole.settings["up"], whole.settings["viewed_from"]) == (None, "S", "A")
    assert whole.mask.shape == (BODY.image.height, BODY.image.width)
    assert np.array_equal(np.isnan(whole.depth_mm), ~whole.mask)


@pytest.mark.slow
def test_depth_grows_away_from_the_viewer(body):
    front, back = (scan_patch(body, None, ScanSettings(viewed_from=v), BODY) for v in "AP")
    deep = body.voxels.shape[1] * 3.5
    middle = (slice(40, 70), slice(32, 44))  # the trunk

    assert dice(front.mask, back.mask[:, ::-1]) > 0.99
    thick = deep - front.depth_mm[middle] - back.depth_mm[:, ::-1][middle]
    assert (thick > 120).all()
    assert (thick < 260).all()


def test_landmarks_of_another_kind_of_scan_are_refused(hand):
    with pytest.raises(ScanError, match=r"^landmarks: pixels x, y belong to a 2D image, and the scan is a volume"):
        scan_patch(hand[0], Points("pixel", {"thumb": (3.0, 4.0)}), BACK_UP, HAND)
    flat = Picture(np.eye(30) > 0, None)
    for volume_frame in ("lps_mm", "voxel"):
        with pytest.raises(ScanError, match=r"^landmarks: the scan is a 2D image, and they are 3D points"):
            scan_patch(flat, Points(volume_frame, {"thumb": (1.0, 2.0, 3.0)}), BACK_UP, HAND)


# Flat pictures


def drawn_mask(spread=10.0):
    _, mask, tips = radiograph(spread)
    return mask, Points("pixel", {name: tuple(place) for name, place in tips.items()})


def test_a_drawn_mask_is_taken_as_it_is():
    mask, points = drawn_mask()
    patches = [
        scan_patch(Picture(pixels, (0.5, 0.5)), points, ScanSettings(), HAND)
        for pixels in (mask, mask.astype(np.uint8), np.where(mask, 255, 0), np.where(mask, 7.5, -3))
    ]

    for patch in patches:
        assert np.array_equal(patch.mask, patches[0].mask)
        assert (patch.settings["method"], patch.side, patch.depth_mm) == ("mask", "left", None)
        assert np.isnan(patch.landmarks_mm).all()
    box, touches = silhouette_box(mask)
    frame = frame_box(box.scaled(0.5, 0.5), touches, (96, 96), FrameDraw(0.07))
    assert patches[0].mm_per_px == pytest.approx(frame.mm_per_px_x)
    # Each pixel's centre, looked up in the source.
    rows, columns = np.indices(patches[0].mask.shape).reshape(2, -1)
    source = apply(patches[0].patch_to_source, np.stack([columns + 0.5, rows + 0.5, np.zeros(rows.size)], axis=1))
    inside = ((source[:, :2] >= 0) & (source[:, :2] < mask.shape[::-1])).all(axis=1)
    x, y = np.clip(source[:, :2].astype(int), 0, np.array(mask.shape[::-1]) - 1).T
    assert ((mask[y, x] & inside) != patches[0].mask.ravel()).mean() < 0.01


@pytest.mark.parametrize("aspect", ["keep", "stretch"])
@pytest.mark.parametrize("mm", [None, (0.5, 0.5), (0.4, 0.8)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pictures_have_an_exact_way_back_to_their_pixels(aspect, mm, side):
    mask, points = drawn_mask()
    if side == "right":
        mask = mask[:, ::-1]
        points = Points("pixel", {name: (mask.shape[1] - x, y) for name, (x, y) in points.points.items()})
    patch = scan_patch(Picture(mask, mm), points, ScanSettings(), with_framing(HAND, aspect=aspect))
    order = np.array([points.points[name] for name in NAMES])
    back = apply(patch.patch_to_source, np.concatenate([patch.landmarks_px, np.zeros((5, 1))], axis=1))

    assert patch.side == side
    assert back[:, :2] == pytest.approx(order, abs=1e-6)
    assert back[:, 2] == pytest.approx(0)
    assert np.isnan(patch.mm_per_px) == (mm is None)
    for x, y in patch.landmarks_px:
        assert patch.mask[int(y), int(x)]
    assert patch.landmarks_px[0, 0] > patch.landmarks_px[1:, 0].max()  # the thumb, as on a left hand


def test_a_spacing_in_the_table_counts_more_than_the_files():
    mask, points = drawn_mask()
    stated = scan_patch(Picture(mask, (0.3, 0.3)), points, ScanSettings(mm_per_px=0.5), HAND)

    assert stated.mm_per_px == scan_patch(Picture(mask, (0.5, 0.5)), points, ScanSettings(), HAND).mm_per_px
    assert stated.settings["mm_per_px"] == (0.5, 0.5)


def test_a_radiograph_is_known_by_its_many_values_and_thresholds_are_obeyed():
    image, mask, tips = radiograph()
    points = Points("pixel", {name: tuple(place) for name, place in tips.items()})
    as_mask = scan_patch(Picture(mask, (0.5, 0.5)), points, ScanSettings(), HAND)
    patch = scan_patch(Picture(image, (0.5, 0.5)), points, ScanSettings(), HAND)

    assert (patch.settings["method"], patch.settings["threshold"]) == ("radiograph", None)
    assert dice(patch.mask, as_mask.mask) > 0.97
    low = scan_patch(Picture(image, (0.5, 0.5)), points, ScanSettings(threshold=150.0), HAND)
    assert low.settings["threshold"] == 150
    assert low.mask.sum() < patch.mask.sum()
    otsu = scan_patch(Picture(image, (0.5, 0.5)), points, ScanSettings(threshold="otsu"), HAND)
    assert 80 < otsu.settings["threshold"] < 200
    with pytest.raises(ScanError, match=r"^threshold: no pixel lies above 9000"):
        scan_patch(Picture(image, None), points, ScanSettings(threshold=9000.0), HAND)


def test_methods_that_do_not_fit_the_scan_are_refused(hand):
    mask, points = drawn_mask()
    for image, landmarks, columns, text in (
        (Picture(mask, None), points, {"method": "volume"}, "^method: volume, but the scan is a 2D image"),
        (Picture(mask, None), points, {"threshold": "hounsfield"}, "^threshold: hounsfield is for CT volumes"),
        (Picture(mask, None), None, {}, "^side: empty, and there are no landmarks"),
        (*hand, {"method": "radiograph"}, "^method: radiograph, but the scan is a volume"),
    ):
        with pytest.raises(ScanError, match=text):
            scan_patch(image, landmarks, ScanSettings(**columns), HAND)


def test_a_label_map_is_a_mask_too(hand):
    volume, points = hand
    labels = Volume((volume.voxels > 300).astype(np.uint8) * 3, volume.affine)
    patch = scan_patch(labels, points, BACK_UP.model_copy(update={"method": "mask"}), HAND)

    assert (patch.settings["method"], patch.settings["threshold"]) == ("mask", 0)
    assert dice(patch.mask, scan_patch(volume, points, BACK_UP, HAND).mask) > 0.98
