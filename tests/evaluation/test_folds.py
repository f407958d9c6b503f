"""Folds: no subject on both sides, every scan tested once, as even as subjects allow."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import ScanError
from synthgen.training.evaluation.folds import LEAVE_ONE_OUT, cut_folds, parse_folds

people = st.lists(st.sampled_from([f"p{n}" for n in range(12)]), min_size=2, max_size=60)
seeds = st.integers(0, 50)


@st.composite
def cases(draw):
    subjects = draw(people.filter(lambda found: len(set(found)) > 1))
    return subjects, draw(st.integers(2, len(set(subjects)))), draw(seeds)


@given(cases())
def test_every_scan_is_tested_once_and_no_subject_is_on_both_sides(case):
    subjects, count, seed = case

    folds = cut_folds(subjects, count, seed)

    assert len(folds) == count
    assert sorted(n for fold in folds for n in fold.test) == list(range(len(subjects)))
    for fold in folds:
        assert sorted(fold.train + fold.test) == list(range(len(subjects)))
        assert fold.test
        assert not {subjects[n] for n in fold.train} & {subjects[n] for n in fold.test}


@given(cases())
def test_folds_differ_by_no_more_scans_than_one_subject_has(case):
    subjects, count, seed = case

    sizes = [len(fold.test) for fold in cut_folds(subjects, count, seed)]

    assert max(sizes) - min(sizes) <= max(Counter(subjects).values())


@given(st.integers(2, 40), st.integers(1, 4), seeds, st.data())
def test_subjects_with_as_many_scans_are_spread_to_within_one(subjects, scans, seed, data):
    count = data.draw(st.integers(2, subjects))
    names = [f"p{n}" for n in range(subjects) for _ in range(scans)]

    sizes = [len(fold.test) // scans for fold in cut_folds(names, count, seed)]

    assert max(sizes) - min(sizes) <= 1


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_scans_does_not_count(case, shuffle):
    subjects, count, seed = case
    order = list(range(len(subjects)))
    shuffle.shuffle(order)

    usual = [{subjects[n] for n in fold.test} for fold in cut_folds(subjects, count, seed)]
    moved = [subjects[n] for n in order]

    assert [{moved[n] for n in fold.test} for fold in cut_folds(moved, count, seed)] == usual


@pytest.mark.parametrize("scans", [(2, 1, 1), (6, 1, 1, 1, 1, 1, 1), (5, 4, 3, 2)])
def test_people_with_many_scans_are_dealt_out_first(scans):
    subjects = [f"p{n}" for n, count in enumerate(scans) for _ in range(count)]

    for seed in range(5):
        assert {len(fold.test) for fold in cut_folds(subjects, 2, seed)} == {sum(scans) // 2}


def test_a_seed_cuts_the_same_folds_again_and_another_seed_others():
    subjects = [f"p{n}" for n in range(30)]

    assert cut_folds(subjects, 3, 1) == cut_folds(subjects, 3, 1)
    assert cut_folds(subjects, 3, 1) != cut_folds(subjects, 3, 2)
    assert cut_folds(subjects, 3, 0) != cut_folds(subjects, 3, 1)


def test_leave_one_out_leaves_out_one_subject_with_all_its_scans():
    folds = cut_folds(["b", "a", "b", "c"], LEAVE_ONE_OUT)

    assert sorted(fold.test for fold in folds) == [(0, 2), (1,), (3,)]


@pytest.mark.parametrize(
    ("subjects", "folds", "text"),
    [
        (["a", "b"], 3, "--folds: value 3, but the scan set has 2 subjects; use at most 2"),
        (["a", "a", "a"], 2, "--folds: value 2, but the scan set has 1 subject; add scans of other people"),
        (["a", "a"], LEAVE_ONE_OUT, "--folds: value leave-one-out, but the scan set has 1 subject; "
                                    "add scans of other people"),
        ([], 3, "--folds: value 3, but the scan set has 0 subjects; add scans of other people"),
    ],
)  # fmt: skip
def test_fewer_subjects_than_folds_are_told_in_one_line(subjects, folds, text):
    with pytest.raises(ScanError) as caught:
        cut_folds(subjects, folds)

    assert str(caught.value) == text


def test_the_option_is_read():
    assert parse_folds("3") == 3
    assert parse_folds("leave-one-out") == LEAVE_ONE_OUT


@pytest.mark.parametrize("text", ["1", "0", "-3", "3.0", "three", "", "²", "9" * 5000, "LEAVE-ONE-OUT"])
def test_what_is_no_number_of_folds_is_refused(text):
    with pytest.raises(ScanError, match=r"^--folds: value .*; use a whole number from 2, or leave-one-out$"):
        parse_folds(text)
