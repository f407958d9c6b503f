import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, kurtosis, norm, skew
from support.slow_artefacts import Draws

from synthgen.randomness.philox import Sequences, fill_normals, next_double
from synthgen.randomness.seeding import Streams, stream


def sequences(seed: int, indices: list[int], name: str) -> Sequences:
    return Sequences(Streams(seed, tuple(indices), name).keys)


def normals(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.empty(count, dtype=np.float32)
    fill_normals(sequences(seed, [1], "normal").states[0], drawn)
    return drawn


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.text(max_size=12))
def test_sequences_give_numpys_numbers(seed, indices, name):
    streams = sequences(seed, indices, name)
    counts = np.arange(len(indices)) + 1
    drawn = streams.each(counts).random(int(counts.sum()))
    generators = [stream(seed, index, name) for index in indices]

    assert drawn.tolist() == [number for g, n in zip(generators, counts, strict=True) for number in g.random(n)]
    for state, generator in zip(streams.states, generators, strict=True):
        found = np.empty(301, dtype=np.float32)  # an odd number leaves half a word
        fill_normals(state, found)
        assert np.array_equal(found, Draws(generator).normals((301,)))
        assert next_double(state) == generator.random()


def test_normal_numbers_and_their_tails_are_those_of_the_plain_version():
    found = normals(200_000)

    assert (np.abs(found) > norm.isf(1 / 2048)).sum() > 150
    assert np.array_equal(found, Draws(stream(0, 1, "normal")).normals((200_000,)))


def test_normal_numbers_are_normal():
    drawn = normals(3_000_000).astype(np.float64)

    assert kstest(drawn, "norm").pvalue > 0.001
    assert drawn.mean() == pytest.approx(0, abs=4 / np.sqrt(3e6))
    assert drawn.std() == pytest.approx(1, abs=4 / np.sqrt(6e6))
    assert skew(drawn) == pytest.approx(0, abs=4 * np.sqrt(6 / 3e6))
    assert kurtosis(drawn) == pytest.approx(0, abs=4 * np.sqrt(24 / 3e6))
    for bound in (3.0, 3.3, 3.6, 4.0):  # on both sides of where the tails begin
        for beyond in ((drawn > bound).sum(), (drawn < -bound).sum()):
            expected = 3e6 * norm.sf(bound)
            assert beyond == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_normal_numbers_that_follow_each_other_are_independent():
    drawn = normals(1_000_000, seed=5).astype(np.float64)
    for step in (1, 2, 7, 8):
        assert abs(np.corrcoef(drawn[:-step], drawn[step:])[0, 1]) < 4e-3


def test_sequences_refuse_a_wrong_count():
    with pytest.raises(ValueError, match=r"n: value 5 .*; use 6"):
        sequences(0, [0, 1, 2], "x").each(2).random(5)
