"""Numbers in the dataset card."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.generator.dataset.card import percentages

whole = st.integers(0, 10**6)


@given(st.lists(whole, min_size=1, max_size=9).filter(any), st.integers(0, 3))
def test_percentages_sum_to_100_and_none_is_a_step_off(counts, decimals):
    told = [
        Decimal(text.removesuffix("%")) for text in percentages([count / sum(counts) for count in counts], decimals)
    ]
    step = Decimal(1).scaleb(-decimals)

    assert sum(told) == 100
    for count, value in zip(counts, told, strict=True):
        assert abs(value - 100 * Decimal(count) / sum(counts)) < step + Decimal("1e-9")


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((0.4915, 0.5085), ["49.2%", "50.8%"]),  # rounded apart they are 49.1 and 50.8
        ((0.49149, 0.50851), ["49.1%", "50.9%"]),
        ((1.0, 0.0), ["100.0%", "0.0%"]),
        ((1, 1, 1), ["33.4%", "33.3%", "33.3%"]),
    ],
)
def test_percentages_as_a_reader_expects_them(shares, told):
    assert percentages(shares) == told
