"""Laws of the distributions: inside the support, deterministic, aligned streams, and the law they are named after."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from scipy import stats
from support.laws import examples

from synthgen.specs.distributions import Beta, Choice, Constant, Distribution, Mixture, Normal, Uniform, Within

ANY = TypeAdapter(Distribution)
numbers = st.floats(-1e6, 1e6)
positive = st.floats(0.05, 50)
seeds = st.integers(0, 2**32)


@st.composite
def bounds(draw):
    return dict(zip(("low", "high"), sorted([draw(numbers), draw(numbers)]), strict=True))


@st.composite
def weighted(draw, items, key):
    values = draw(st.lists(items, min_size=1, max_size=4))
    weights = draw(st.none() | st.lists(st.floats(0, 10), min_size=len(values), max_size=len(values)))
    assume(weights is None or sum(weights) > 0)
    return {key: values, "weights": weights}


simple = st.one_of(
    st.builds(Constant, value=numbers),
    bounds().map(lambda b: Uniform(kind="uniform", **b)),
    st.tuples(bounds(), numbers, positive).map(lambda t: Normal(kind="normal", mean=t[1], sd=t[2], **t[0])),
    st.tuples(bounds(), positive, positive).map(lambda t: Beta(kind="beta", alpha=t[1], beta=t[2], **t[0])),
    weighted(numbers, "values").map(lambda w: Choice(kind="choice", **w)),
)
distributions = st.recursive(
    simple, lambda inner: weighted(inner, "parts").map(lambda w: Mixture(kind="mixture", **w)), max_leaves=6
)


class Quantiles:
    """Stands in for a generator: its uniforms are given."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def random(self, n):
        assert n == self.values.size
        return self.values


@given(distributions, seeds, st.integers(0, 40))
def test_draws_lie_within_the_support_and_depend_on_the_generator_alone(distribution, seed, n):
    drawn = distribution.draw(np.random.default_rng(seed), n)
    low, high = distribution.support()

    assert drawn.shape == (n,)
    assert drawn.dtype == np.float64
    assert np.all((low <= drawn) & (drawn <= high))
    assert np.array_equal(drawn, distribution.draw(np.random.default_rng(seed), n))


@given(distributions)
def test_writing_and_reading_a_distribution_gives_it_back(distribution):
    assert ANY.validate_python(distribution.model_dump(mode="json")) == distribution
    assert ANY.validate_json(distribution.model_dump_json()) == distribution


@given(bounds(), bounds(), seeds)
def test_other_parameters_leave_the_rest_of_the_stream_where_it_was(one, other, seed):
    def rest(*parts):
        rng = np.random.default_rng(seed)
        Mixture(kind="mixture", parts=parts).draw(rng, 3)
        return rng.random()

    a = (Normal(kind="normal", mean=0, sd=1, **one), Beta(kind="beta", alpha=2, beta=3, **one))
    b = (Normal(kind="normal", mean=5, sd=9, **other), Beta(kind="beta", alpha=9, beta=0.5, **other))

    assert rest(*a) == rest(*b)


@given(st.floats(-30, 30), st.floats(0.01, 10), st.floats(-5, 5), positive)
def test_a_truncated_normal_is_the_inverse_of_its_distribution_function(z, width, mean, sd):
    fractions = np.linspace(0.001, 0.999, 101)
    low, high = mean + sd * z, mean + sd * (z + width)
    drawn = Normal(kind="normal", mean=mean, sd=sd, low=low, high=high).draw(Quantiles(fractions), 101)
    expected = stats.truncnorm.ppf(fractions, (low - mean) / sd, (high - mean) / sd, loc=mean, scale=sd)

    assert np.allclose(drawn, expected, rtol=0, atol=1e-6 * (high - low))


@examples(30)
@given(st.floats(-6, 6), st.floats(0.1, 8), seeds)
def test_a_truncated_normal_has_the_moments_of_one(z, width, seed):
    drawn = Normal(kind="normal", mean=0, sd=1, low=z, high=z + width).draw(np.random.default_rng(seed), 4000)
    mean, variance = stats.truncnorm.stats(z, z + width)

    assert abs(drawn.mean() - mean) < 6 * np.sqrt(variance / 4000)
    assert 0.8 < drawn.var() / variance < 1.25


def test_far_out_in_a_tail_draws_still_differ():
    for low, high in ((40, 41), (-41, -40), (1000, 1001)):
        drawn = Normal(kind="normal", mean=0, sd=1, low=low, high=high).draw(np.random.default_rng(0), 100)

        assert np.unique(drawn).size == 100


@given(st.floats(0.3, 20), st.floats(0.3, 20), bounds())
def test_a_beta_is_the_inverse_of_its_distribution_function(alpha, beta, limits):
    fractions = np.linspace(0.01, 0.99, 41)
    drawn = Beta(kind="beta", alpha=alpha, beta=beta, **limits).draw(Quantiles(fractions), 41)
    width = limits["high"] - limits["low"]

    assert np.allclose(drawn, limits["low"] + width * stats.beta.ppf(fractions, alpha, beta), atol=1e-7 * width + 1e-9)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), seeds)
def test_choices_and_mixtures_follow_their_weights(weights, seed):
    assume(sum(weights) > 0)
    values = tuple(float(i) for i in range(len(weights)))
    parts = tuple(Constant(value=value) for value in values)
    share = np.array(weights) / sum(weights)
    for distribution in (
        Choice(kind="choice", values=values, weights=weights),
        Mixture(kind="mixture", parts=parts, weights=weights),
    ):
        drawn = distribution.draw(np.random.default_rng(seed), 4000)
        found = np.array([np.mean(drawn == value) for value in values])

        assert np.all(np.abs(found - share) <= 6 * np.sqrt(share * (1 - share) / 4000))
        assert distribution.support() == (drawn.min(), drawn.max())


def test_a_weight_of_nothing_is_never_chosen_not_even_by_the_smallest_or_largest_uniform():
    ends = Quantiles([0.0, np.nextafter(1, 0)])

    assert np.all(Choice(kind="choice", values=(1, 2, 3), weights=(0, 1, 0)).draw(ends, 2) == 2)


def test_a_bare_number_is_a_constant():
    assert ANY.validate_python(3) == Constant(value=3.0)
    assert {"type": "number"} in ANY.json_schema()["anyOf"]


@pytest.mark.parametrize(
    "wrong",
    [
        True,
        "3",
        None,
        float("nan"),
        float("inf"),
        {"low": 0, "high": 1},
        {"kind": "gauss", "mean": 0, "sd": 1},
        {"kind": "uniform", "low": 1, "high": 0},
        {"kind": "uniform", "low": 0, "high": 1, "mean": 0.5},
        {"kind": "normal", "mean": 0, "sd": 0, "low": 0, "high": 1},
        {"kind": "normal", "mean": 0, "sd": -1, "low": 0, "high": 1},
        {"kind": "normal", "mean": 0, "sd": 1},
        {"kind": "beta", "alpha": 0, "beta": 1},
        {"kind": "choice", "values": []},
        {"kind": "choice", "values": ["a"]},
        {"kind": "choice", "values": [1, 2], "weights": [1]},
        {"kind": "choice", "values": [1, 2], "weights": [0, 0]},
        {"kind": "choice", "values": [1, 2], "weights": [-1, 2]},
        {"kind": "mixture", "parts": []},
        {"kind": "mixture", "parts": [1, {"kind": "uniform", "low": 1, "high": 0}]},
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(ValidationError):
        ANY.validate_python(wrong)


def test_within_refuses_what_can_be_drawn_outside():
    class Bounded(BaseModel):
        share: Distribution

    from typing import Annotated

    class Share(BaseModel):
        share: Annotated[Distribution, Within(0, 1)]

    wide = {"kind": "mixture", "parts": [0.5, {"kind": "uniform", "low": 0, "high": 2}], "weights": [1, 0]}

    assert Share(share=wide).share == Bounded(share=wide).share  # the wide part is never drawn
    with pytest.raises(ValidationError, match="draws from 0 to 2; keep it from 0 to 1"):
        Share(share={**wide, "weights": [1, 1]})
