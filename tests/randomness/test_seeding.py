import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from support.paths import ROOT

from synthgen.randomness.seeding import Stream, Streams, stream, substream
from synthgen.specs.distributions import Distribution
from synthgen.specs.draw_table import DrawTable

FOLDERS = ("synthgen", "generator", "pose_spaces", "shape_spaces", "blender_assets", "training")
GLOBAL_STATE = {
    r"\bimport random\b|\bfrom random\b": "the standard library's generator is global",
    r"np\.random\.(seed|rand|randn|randint|random|choice|normal|uniform|shuffle|permutation)\b": "global",
    r"default_rng\(": "only synthgen/randomness/seeding.py makes generators",
}
distribution = TypeAdapter(Distribution).validate_python
seeds, indices, names = st.integers(0, 2**63 - 1), st.integers(0, 10**9), st.text(min_size=1, max_size=12)


@given(seeds, indices, names)
def test_a_stream_is_a_function_of_seed_index_and_name(seed, index, name):
    first, again = stream(seed, index, name).random(4), stream(seed, index, name).random(4)
    others = [stream(seed, index + 1, name), stream(seed, index, name + "x"), stream(seed ^ 1, index, name)]

    assert (first == again).all()
    assert all((first != other.random(4)).all() for other in others)


@given(seeds, indices, st.lists(names, min_size=2, max_size=6, unique=True))
def test_a_substream_does_not_depend_on_the_others(seed, index, parameters):
    one, other = Stream(seed, index, "pose"), Stream(seed, index, "pose")
    forward = {name: one.at(name).random() for name in parameters}
    backward = {name: other.at(name).random(3)[0] for name in reversed(parameters)}

    assert forward == backward
    assert len(set(forward.values())) == len(parameters)


@given(
    seeds, st.lists(indices, min_size=1, max_size=5), names, st.lists(names, min_size=1, max_size=9), st.integers(0, 9)
)
def test_compiled_uniforms_are_those_of_numpys_generators(seed, many, name, parameters, place):
    streams = Streams(seed, tuple(many), name)
    codes = np.array([substream(parameter) for parameter in parameters], dtype=np.uint64)

    expected = [[Stream(seed, i, name).at(one).random(place + 1)[place] for one in parameters] for i in many]

    assert streams.uniforms(codes, place).tolist() == expected
    assert [one.at("x").random() for one in streams.each()] == [Stream(seed, i, name).at("x").random() for i in many]
    assert streams.select([0]).uniforms(codes, place).tolist() == expected[:1]


def test_substreams_are_uniform_and_independent():
    draws = np.array([[Stream(0, i, "s").at(name).random() for name in ("a", "b")] for i in range(4000)])

    assert np.abs(draws.mean(axis=0) - 0.5).max() < 0.02
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.05


KINDS = [
    {"kind": "constant", "value": 3},
    {"kind": "uniform", "low": -2, "high": 5},
    {"kind": "normal", "mean": 1, "sd": 2, "low": -1, "high": 2},
    {"kind": "normal", "mean": -4, "sd": 1, "low": 0, "high": 2},
    {"kind": "beta", "alpha": 2, "beta": 3},
    {"kind": "choice", "values": [1, 2, 7]},
    {"kind": "mixture", "parts": [{"kind": "constant", "value": 1}, {"kind": "uniform", "low": 2, "high": 3}]},
    {"kind": "mixture", "parts": [{"kind": "normal", "mean": 1, "sd": 2, "low": -1, "high": 2}] * 5},
]


@given(seeds, indices)
def test_a_table_draws_what_each_distribution_draws_alone(seed, index):
    parts = {f"p{i}": distribution(kind) for i, kind in enumerate(KINDS)}
    alone = [part.draw(Stream(seed, index, "s").at(name), 1)[0] for name, part in parts.items()]

    assert DrawTable(parts).draw(Streams(seed, (index,), "s"))[0] == pytest.approx(alone, abs=1e-12)


@given(seeds, st.lists(indices, min_size=1, max_size=40))
def test_a_draw_does_not_depend_on_what_is_drawn_with_it(seed, many):
    table = DrawTable({f"p{i}": distribution(kind) for i, kind in enumerate(KINDS)})

    together = table.draw(Streams(seed, tuple(many), "s"))

    assert together.tolist() == [table.draw(Streams(seed, (index,), "s"))[0].tolist() for index in many]


def test_draws_across_samples_refuse_a_wrong_count():
    with pytest.raises(ValueError, match=r"n: value 3 .*; use 2"):
        Streams(0, (1, 2), "s").at(5).random(3)


@given(seeds, indices)
def test_an_additional_parameter_changes_no_other_draw(seed, index):
    parts = {f"p{i}": distribution(kind) for i, kind in enumerate(KINDS)}
    more = {"first": distribution(KINDS[1]), **parts, "last": distribution(KINDS[2])}

    drawn, without = (DrawTable(table).draw(Streams(seed, (index,), "s"))[0] for table in (more, parts))

    assert (drawn[1:-1] == without).all()


def found_in(text: str) -> list[str]:
    return [reason for pattern, reason in GLOBAL_STATE.items() if re.search(pattern, text)]


def test_nothing_draws_from_global_state():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]

    assert len(files) > 30
    assert {path.name: found_in(path.read_text()) for path in files if found_in(path.read_text())} == {}
    assert found_in("x = np.random.rand(3)")
    assert found_in("import random")
