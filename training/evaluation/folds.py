"""Folds of a cross-validation: no subject is on both sides."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from synthgen.errors import ScanError
from synthgen.randomness.seeding import stream

LEAVE_ONE_OUT: Final = "leave-one-out"
Folds = int | Literal["leave-one-out"]


@dataclass(frozen=True)
class Fold:
    """One part of a cross-validation: positions of scans in their set, ascending."""

    train: tuple[int, ...]
    test: tuple[int, ...]


def parse_folds(text: str) -> Folds:
    """Read the number of folds, at least 2, or ``leave-one-out``.

    Raises:
        ScanError: It is neither.

    """
    if text == LEAVE_ONE_OUT:
        return LEAVE_ONE_OUT
    if text.isascii() and text.isdecimal() and len(text) < 7 and int(text) >= 2:
        return int(text)
    raise ScanError(f"--folds: value {text[:40]!r}; use a whole number from 2, or {LEAVE_ONE_OUT}")


def cut_folds(subjects: Sequence[str], folds: Folds, seed: int = 0) -> tuple[Fold, ...]:
    """Cut scans into folds by subject.

    Subjects with the most scans are dealt out first, each to the fold that has the fewest scans, so folds differ by no
    more scans than one subject has. Among subjects with as many scans the order is drawn. The order of the scans does
    not count, and each scan is tested once.

    Args:
        subjects: (N,) of the scans.
        folds: How many, or ``leave-one-out``: as many as there are subjects.
        seed: Another seed cuts other folds.

    Raises:
        ScanError: There are fewer subjects than folds.

    """
    scans = Counter(subjects)
    count = max(len(scans), 2) if folds == LEAVE_ONE_OUT else int(folds)
    if len(scans) < count:
        have = f"{len(scans)} subject{'' if len(scans) == 1 else 's'}"
        fix = f"use at most {len(scans)}" if len(scans) >= 2 else "add scans of other people"
        raise ScanError(f"--folds: value {folds}, but the scan set has {have}; {fix}")
    names = sorted(scans)
    order = [names[n] for n in stream(seed, 0, "folds").permutation(len(names))]
    fold_of: dict[str, int] = {}
    size, people = np.zeros((2, count), dtype=np.int64)
    for name in sorted(order, key=lambda name: -scans[name]):
        fold = int(np.lexsort((people, size))[0])
        fold_of[name] = fold
        size[fold] += scans[name]
        people[fold] += 1
    places = [fold_of[subject] for subject in subjects]
    return tuple(
        Fold(
            train=tuple(n for n, place in enumerate(places) if place != fold),
            test=tuple(n for n, place in enumerate(places) if place == fold),
        )
        for fold in range(count)
    )
