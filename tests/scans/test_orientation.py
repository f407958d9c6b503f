"""Which way a volume is looked at: the patient's directions count, never the order in which voxels are stored."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.scan_phantoms import STORAGES, TO_LPS, hand_parts, placed, scan_mr, stored_as

from synthgen.errors import ScanError
from synthgen.training.scans.formats.image_types import Volume
from synthgen.training.scans.orientation import (
    DIRECTIONS,
    View,
    orient,
    seen,
    side_of_hand,
    thumb_to_the_right,
    view_of,
)
from synthgen.training.scans.silhouette import choose_threshold, count_planes
from synthgen.training.scans.table import ScanSettings

PAIRS = [(up, frm) for up in DIRECTIONS for frm in DIRECTIONS if np.dot(DIRECTIONS[up], DIRECTIONS[frm]) == 0]
rotations = st.integers(0, 2**32 - 1).map(lambda seed: Rotation.random(random_state=seed).as_matrix())
small = st.integers(0, 2**32 - 1).map(
    lambda seed: Rotation.from_rotvec(np.random.default_rng(seed).uniform(-0.3, 0.3, 3)).as_matrix()
)
spacings = st.tuples(*[st.floats(0.2, 6)] * 3)


def volume_of(turn, spacing, shape=(4, 5, 6), seed=0):
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = (11.0, -70.5, 300.25)
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(voxels, affine)


def axes_of(affine, view):
    columns = affine[:3, list(view.axes)] * np.where(view.flips, -1, 1)
    return (columns / np.linalg.norm(columns, axis=0)).T


@pytest.mark.parametrize(("up", "viewed_from"), PAIRS)
def test_up_is_up_and_the_viewer_stands_where_he_should(up, viewed_from):
    for order, flips in STORAGES:
        stored = stored_as(volume_of(np.eye(3), (1.0, 2.0, 3.0)), order, flips)
        right, down, away = axes_of(stored.affine, view_of(stored.affine, up, viewed_from))

        assert np.array_equal(down, -np.array(DIRECTIONS[up]))
        assert np.array_equal(away, -np.array(DIRECTIONS[viewed_from]))
        assert np.array_equal(right, np.cross(down, away))


def test_a_body_seen_from_the_front_has_its_left_at_the_images_right():
    view = view_of(np.eye(4), "S", "A")

    assert view == View((0, 2, 1), (False, True, False))


@given(rotations, spacings, st.sampled_from(PAIRS))
def test_nothing_is_ever_mirrored_and_no_axis_points_the_wrong_way(turn, spacing, pair):
    affine = volume_of(turn, spacing).affine
    axes = axes_of(affine, view_of(affine, *pair))
    up, viewer = (np.array(DIRECTIONS[d]) for d in pair)
    wanted = np.array([np.cross(up, viewer), -up, -viewer])
    others = [
        np.diag(signs) @ turn.T[list(order)]
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
        if np.linalg.det(np.diag(signs) @ turn.T[list(order)]) > 0
    ]

    assert np.linalg.det(axes) == pytest.approx(1)
    assert len(others) == 24
    assert (axes * wanted).sum() == pytest.approx(max((other * wanted).sum() for other in others))


@given(small, spacings)
def test_the_nearest_axes_are_nibabels(turn, spacing):
    volume = volume_of(turn, spacing)
    to_ras = np.diag([-1.0, -1, 1, 1])
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.voxels, to_ras @ volume.affine))
    ras = np.asanyarray(canonical.dataobj)

    looked_at = seen(volume, view_of(volume.affine, "S", "A"))

    assert np.array_equal(looked_at.voxels, ras[::-1, ::-1, ::-1].transpose(2, 0, 1))


@given(rotations, spacings, st.sampled_from(PAIRS), st.integers(0, 100))
def test_every_voxel_is_seen_where_it_lies_in_the_patient(turn, spacing, pair, seed):
    volume = volume_of(turn, spacing, seed=seed)
    looked_at = seen(volume, view_of(volume.affine, *pair))
    rows, columns, depths = np.indices(looked_at.voxels.shape).reshape(3, -1)
    centres = np.stack([columns + 0.5, rows + 0.5, depths + 0.5, np.ones(rows.size)])
    index = np.linalg.inv(volume.affine) @ looked_at.affine @ centres

    assert index[:3] == pytest.approx(np.rint(index[:3]), abs=1e-9)
    i, j, k = np.rint(index[:3]).astype(int)
    assert np.array_equal(looked_at.voxels[rows, columns, depths], volume.voxels[i, j, k])
    assert np.shares_memory(looked_at.voxels, volume.voxels)
    assert looked_at.spacing_mm == pytest.approx(np.linalg.norm(looked_at.affine[:3, :3], axis=0))


@pytest.mark.parametrize("turn", [np.eye(3), Rotation.from_rotvec([0.2, -0.5, 0.4]).as_matrix()])
@pytest.mark.parametrize("eighth", [0.0, np.pi / 4])
def test_the_order_of_storage_changes_nothing_that_is_seen(turn, eighth):
    # At 45 degrees two axes are equally near, and still the storage must not decide.
    turn = turn @ Rotation.from_rotvec([0, 0, eighth]).as_matrix()
    volume = volume_of(turn, (1.0, 1.5, 0.5))
    first = seen(volume, view_of(volume.affine, "S", "A"))
    for order, flips in STORAGES:
        stored = stored_as(volume, order, flips)
        again = seen(stored, view_of(stored.affine, "S", "A"))

        assert np.array_equal(again.voxels, first.voxels)
        assert np.array_equal(again.spacing_mm, first.spacing_mm)
        assert again.affine == pytest.approx(first.affine, abs=1e-9)


@pytest.mark.parametrize(("up", "viewed_from"), [("S", "I"), ("L", "L"), ("A", "P")])
def test_directions_on_one_axis_are_refused(up, viewed_from):
    with pytest.raises(ScanError, match=r"^up, viewed_from: . and . lie on one axis; .*choose up from"):
        view_of(np.eye(4), up, viewed_from)


HAND_LOW, HAND_HIGH = (-70.0, -135.0, -60.0), (100.0, 110.0, 60.0)


def hand_scan(turn, side="left"):
    """A hand in a volume that the forearm leaves, and its landmarks in LPS mm."""
    parts, tips = hand_parts()
    values, low, step = scan_mr(parts, HAND_LOW, HAND_HIGH, (2.0, 2.5, 2.0))
    if side == "right":
        turn = turn * [-1, 1, 1]  # a right hand is the mirror image
    volume = placed(values, low, step, turn)
    return volume, {name: turn @ tip for name, tip in tips.items()}


def found(volume, tips, **settings):
    threshold = choose_threshold(volume.voxels, None)
    planes = lambda: count_planes(volume.voxels, threshold)  # noqa: E731
    return orient(volume, ScanSettings(**settings), tips, planes, hand=True)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("given_columns", [{}, {"up": "auto"}, {"up": "I"}, {"viewed_from": "A"}])
def test_auto_finds_how_a_hand_lies(side, given_columns):
    # Fingers to the feet, the back of the hand to the front, a few degrees askew.
    turn = Rotation.from_rotvec([0.1, 0.2, -0.1]).as_matrix() @ np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    volume, tips = hand_scan(turn, side)
    for order, flips in STORAGES[:: 7 if given_columns else 1]:
        way = found(stored_as(volume, order, flips), tips, side=side, **given_columns)

        assert (way.up, way.viewed_from, way.side) == ("I", "A", side)


def test_with_both_columns_the_thumb_tells_the_side():
    volume, tips = hand_scan(TO_LPS, "right")

    assert found(volume, tips, up="S", viewed_from="A").side == "right"
    assert found(volume, {}, up="S", viewed_from="A", side="left").side == "left"
    assert found(volume, tips, up="S", viewed_from="P").side == "left"  # seen from the other side it looks like one
    with pytest.raises(ScanError, match=r"^side: left, but the thumb lies at the image's left"):
        found(volume, tips, up="S", viewed_from="A", side="left")
    with pytest.raises(ScanError, match=r"^side: empty, and there are no landmarks .* set it to left or right"):
        found(volume, {"index": tips["index"]}, up="S", viewed_from="A")


def test_what_auto_cannot_tell_names_the_column_to_fill():
    volume, tips = hand_scan(TO_LPS)
    no_thumb = {name: tip for name, tip in tips.items() if name != "thumb"}

    with pytest.raises(ScanError, match=r"^viewed_from: .* side is empty; set side"):
        found(volume, tips)
    with pytest.raises(ScanError, match=r"^viewed_from: .*set viewed_from to L, R, A, P, S or I"):
        found(volume, no_thumb, side="left")
    with pytest.raises(ScanError, match=r"^viewed_from: .*set viewed_from to L, R, A, P, S or I"):
        found(volume, no_thumb)  # the side would not help
    whole = Volume(volume.voxels.copy(), volume.affine)
    whole.voxels[:, 88:] = 0  # the forearm's last slices are air
    with pytest.raises(ScanError, match=r"^up: .* leaves it at none; set up"):
        found(whole, tips, side="left")
    cut = Volume(volume.voxels[:, 50:], volume.affine)  # the fingers leave it too
    with pytest.raises(ScanError, match=r"^up: .* leaves it at more than one; set up"):
        found(cut, tips, side="left")
    round_thing = volume_of(np.eye(3), (1.0, 1.0, 1.0), (30, 30, 30))
    round_thing.voxels[...] = -1000
    round_thing.voxels[5:25, 5:25, :20] = 1000
    with pytest.raises(ScanError, match=r"^viewed_from: .* two are alike"):
        found(round_thing, tips, side="left")


def test_a_body_needs_neither_column_nor_landmarks():
    volume = volume_of(Rotation.from_rotvec([0.1, 0, 0.2]).as_matrix(), (1.0, 1.0, 1.0))

    def never():
        raise AssertionError

    for columns in ({}, {"up": "auto", "viewed_from": "auto"}, {"side": "left"}):
        way = orient(volume, ScanSettings(**columns), {}, never, hand=False)
        assert (way.up, way.viewed_from, way.side) == ("S", "A", None)
    assert orient(volume, ScanSettings(viewed_from="P"), {}, never, hand=False).viewed_from == "P"


def test_the_thumbs_place_in_the_image():
    tips = {"index": np.array([10.0, 0]), "little": np.array([30.0, 10])}

    assert thumb_to_the_right(tips) is None
    assert thumb_to_the_right({"thumb": np.array([0.0, 0])}) is None
    assert thumb_to_the_right(tips | {"thumb": np.array([60.0, 50])}) is True
    assert thumb_to_the_right(tips | {"thumb_tip": np.array([-60.0, 50])}) is False
    assert thumb_to_the_right(tips | {"thumb": np.array([21.0, 90])}) is None  # straight below
    bones = {f"{name}_bone": place for name, place in tips.items()}
    assert thumb_to_the_right(bones | {"thumb_bone": np.array([60.0, 50])}) is True
    assert side_of_hand(None, tips | {"thumb": np.array([60.0, 50])}) == "left"
