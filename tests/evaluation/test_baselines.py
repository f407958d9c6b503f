"""Nearest neighbours against brute force, the forest's laws, mean depths by hand."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_scansets import squares, volume_scan
from support.laws import examples

from synthgen.training.evaluation.baselines import (
    DEPTH,
    TREES,
    Neighbours,
    grow_forest,
    mean_annotation,
    mean_depths,
    nearest,
    pack_words,
)
from synthgen.training.evaluation.errors import landmark_depths_mm
from synthgen.training.evaluation.folds import cut_folds

sizes = st.tuples(st.integers(1, 20), st.integers(1, 30))


def random_masks(count, size, seed):
    return np.random.default_rng(seed).random((count, *size)) < 0.5


def brute_force(queries, masks, k):
    """Rows and distances (Q, k), the first of equally near ones first."""
    distances = (queries[:, None] != masks[None]).sum(axis=(2, 3))
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(distances, rows, axis=1)


@given(sizes, st.integers(1, 6), st.integers(0, 99))
def test_packing_keeps_every_pixel_and_adds_none(size, count, seed):
    masks = random_masks(count, size, seed)

    packed = pack_words(masks)
    bits = np.unpackbits(packed.view(np.uint8), axis=1)

    assert packed.shape == (count, -(-size[0] * size[1] // 64))
    assert (bits[:, : size[0] * size[1]] == masks.reshape(count, -1)).all()
    assert not bits[:, size[0] * size[1] :].any()


def test_a_hands_mask_takes_1152_bytes():
    assert pack_words(np.zeros((1, 96, 96), dtype=bool)).nbytes == 1152


@given(st.tuples(st.integers(1, 4), st.integers(1, 5)), st.integers(1, 60), st.integers(1, 5), st.integers(0, 99))
def test_neighbours_are_those_of_brute_force_with_all_ties(size, count, k, seed):
    masks, queries = random_masks(count, size, seed), random_masks(7, size, seed + 1)

    found = nearest(pack_words(queries), pack_words(masks), min(k, count))
    rows, distances = brute_force(queries, masks, min(k, count))

    assert np.array_equal(found.distances, distances)
    assert np.array_equal(found.rows, rows)


@given(st.integers(1, 40), st.lists(st.integers(0, 40), max_size=4), st.integers(0, 99))
def test_masks_that_come_in_parts_give_what_they_give_at_once(count, cuts, seed):
    masks, queries = pack_words(random_masks(count, (3, 4), seed)), pack_words(random_masks(5, (3, 4), seed + 1))
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]

    found = None
    for first, last in pairwise(edges):
        found = nearest(queries, masks[first:last], found=found, start=first)
    once = nearest(queries, masks)

    assert np.array_equal(found.rows, once.rows)
    assert np.array_equal(found.distances, once.distances)


def test_the_neighbour_of_a_mask_in_the_set_is_itself():
    masks = random_masks(200, (96, 96), 0)

    found = nearest(pack_words(masks), pack_words(masks))

    assert np.array_equal(found.rows[:, 0], np.arange(200))
    assert not found.distances[:, 0].any()
    assert (found.distances[:, 1] > 0).all()


def test_where_there_are_fewer_masks_than_neighbours_the_rest_is_empty():
    masks = random_masks(2, (8, 8), 0)

    found = nearest(pack_words(masks), pack_words(masks))

    assert found.rows.tolist() == [[0, 1, -1], [1, 0, -1]]
    points = np.arange(2.0).repeat(4).reshape(2, 2, 2)
    assert mean_annotation(found, points) == pytest.approx(np.full((2, 2, 2), 0.5))


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="not of one size"):
        nearest(pack_words(np.zeros((1, 96, 96), dtype=bool)), pack_words(np.zeros((1, 160, 76), dtype=bool)))


def test_the_estimate_is_the_mean_of_three_annotations():
    neighbours = Neighbours(np.array([[0, 2, 3]]), np.array([[1, 2, 3]]))
    points = np.array([[[0.0, 3]], [[100, 100]], [[6, 3]], [[3, 9]]])

    assert mean_annotation(neighbours, points).tolist() == [[[3.0, 5.0]]]


def test_missing_annotations_are_left_out_of_the_mean():
    none = [np.nan, np.nan]
    points = np.array([[[0.0, 0], none, none], [[2, 2], [4, 4], none], [[4, 4], none, none], [[9, 9], [8, 8], none]])
    neighbours = Neighbours(np.array([[0, 1, 2], [0, 2, 2]]), np.zeros((2, 3), dtype=int))

    found = mean_annotation(neighbours, points)

    assert found[0, :2].tolist() == [[2, 2], [4, 4]]
    assert found[1, 1].tolist() == [6, 6]  # no neighbour has it: the mean of all that do
    assert np.isnan(found[:, 2]).all()


def test_with_folds_no_neighbour_is_the_querys_own_subject():
    masks, _ = squares(24)
    masks = masks.repeat(2, axis=0)  # two scans of each subject that are the same
    subjects = [f"p{n // 2}" for n in range(48)]
    packed = pack_words(masks)
    for fold in cut_folds(subjects, 3):
        train = np.array(fold.train)
        found = nearest(packed[list(fold.test)], packed[train])
        for n, rows in zip(fold.test, train[found.rows], strict=True):
            assert subjects[n] not in {subjects[row] for row in rows}


def test_a_forest_learns_what_the_mean_cannot():
    masks, points = squares(300)
    test_masks, test_points = squares(50, seed=1)

    predicted = grow_forest(masks, points).predict(test_masks)
    usual = np.linalg.norm(points.mean(axis=0) - test_points, axis=2).mean()

    assert np.linalg.norm(predicted - test_points, axis=2).mean() < 0.35 * usual


def test_a_forest_has_the_papers_settings_and_its_leaves_hold_means():
    masks, points = squares(40)
    forest = grow_forest(masks, points)
    trees = forest.parts[0][1].estimators_

    assert len(trees) == TREES == 8
    assert all(tree.max_depth == DEPTH == 25 for tree in trees)
    assert forest.predict(masks) == pytest.approx(points)  # each patch has a leaf of its own


def test_a_forest_comes_again_from_its_seed():
    masks, points = squares(60)
    test_masks, _ = squares(9, seed=1)

    one, same, other = (grow_forest(masks, points, seed).predict(test_masks) for seed in (3, 3, 4))

    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@examples(5)
@given(st.integers(0, 99))
def test_a_forests_estimates_lie_among_the_annotations(seed):
    masks, points = squares(30, seed)

    predicted = grow_forest(masks, points, seed).predict(squares(20, seed + 1)[0])

    assert (predicted >= points.min(axis=0) - 1e-9).all()
    assert (predicted <= points.max(axis=0) + 1e-9).all()


def test_a_landmark_that_some_scans_lack_is_learnt_from_the_others():
    masks, points = squares(60)
    points[::3, 1] = np.nan
    points[:, 4] = np.nan
    test_masks, _ = squares(10, seed=1)

    predicted = grow_forest(masks, points).predict(test_masks)
    rest = np.flatnonzero(np.isfinite(points[:, 1, 0]))

    assert np.isfinite(predicted[:, :4]).all()
    assert np.isnan(predicted[:, 4]).all()
    assert np.array_equal(predicted[:, [1]], grow_forest(masks[rest], points[rest][:, [1]]).predict(test_masks))


def test_a_forest_of_a_single_scan_predicts_it():
    masks, points = squares(1)

    assert grow_forest(masks, points).predict(squares(3, seed=1)[0]) == pytest.approx(points.repeat(3, axis=0))


def test_the_mean_depth_is_that_of_the_training_scans():
    px = np.zeros((2, 2))
    train = [volume_scan(px=px, depths=(40, 100)), volume_scan(px=px, depths=(60, 110))]
    train.append(replace(train[0], landmarks_mm=np.full((2, 3), np.nan)))

    assert mean_depths(train, train[:1] * 3) == pytest.approx(np.array([[50, 105]] * 3))


def test_normalized_mean_depths_follow_the_scan_and_plain_ones_do_not():
    px = np.zeros((2, 2))
    train = [volume_scan(px=px, depths=(45, 50)), volume_scan(px=px, depths=(55, 54))]
    one = volume_scan(px=px, depths=(50, 52))
    moved = replace(one, depth_mm=3 * one.depth_mm + 100)

    plain = mean_depths(train, [one, moved])
    found = mean_depths(train, [one, moved], normalized=True)

    assert plain == pytest.approx(np.array([[50, 52], [50, 52]]))
    assert found[0] == pytest.approx([50, 52], abs=1e-4)
    assert found[1] == pytest.approx(3 * found[0] + 100, abs=1e-3)
    assert landmark_depths_mm(one) == pytest.approx([50, 52])
