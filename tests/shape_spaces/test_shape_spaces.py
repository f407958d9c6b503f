"""Laws of drawing shapes, the built-in spaces, and the measures that hold them against real people."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import shape_coverage
from synthgen.blender_assets.model import BodyModel
from synthgen.errors import SpecError
from synthgen.generator.bodies import anthropometry
from synthgen.generator.bodies.draw import check_targets
from synthgen.generator.bodies.shape_and_skin import RestBody, rest_body
from synthgen.generator.bodies.vectors import about
from synthgen.randomness.seeding import Streams
from synthgen.shape_spaces.draw import DECIMALS, ShapeDrawer
from synthgen.specs.shape_space import ShapeGroup, ShapeSpace, Who
from synthgen.specs.spec import load_part

BUILT_IN = {"mr_hand": "hand", "hand_any": "hand", "ct_body": "body", "body_any": "body"}
PHENOTYPES = {"height": "height", "weight": "weight_phenotype", "muscle": "muscle", "proportions": "proportions"}
ADULT = {"gender": 0.0, "age": 0.8, "muscle": 0.5, "weight": 0.5, "height": 0.4, "proportions": 0.5}
ROUNDING = 0.5 * 10**-DECIMALS + 1e-12
seeds = st.integers(0, 2**32)
indices = st.integers(0, 10**6)


def uniform(low: float, high: float) -> dict[str, object]:
    return {"kind": "uniform", "low": low, "high": high}


def group(**fields: object) -> dict[str, object]:
    return {"sex": "female", "age_years": uniform(20, 60), **fields}


def space_of(*groups: dict[str, object], **fields: object) -> ShapeSpace:
    return ShapeSpace.model_validate({"groups": groups, **fields})


def draw(space: ShapeSpace, model: BodyModel, n: int, seed: int = 0) -> list[dict[str, float]]:
    drawer = ShapeDrawer(space, model.calibration)
    return drawer.draw(Streams(seed, tuple(range(n)), "shape"))


@st.composite
def bounded(draw, low: float = -1, high: float = 1):
    a, b = sorted((draw(st.floats(low, high)), draw(st.floats(low, high))))
    return draw(
        st.sampled_from([uniform(a, b), {"kind": "normal", "mean": (a + b) / 2, "sd": 0.2, "low": a, "high": b}])
    )


whos = st.builds(
    lambda shift, scale: {"kind": "who", "shift": shift, "scale": scale}, st.floats(-1, 1), st.floats(0, 5)
)
target_tables = st.dictionaries(
    st.sampled_from(["hand-scale-incr", "hand-fingers-length-incr", "l-hand-trans-out"]), bounded()
)
groups = st.fixed_dictionaries(
    {"sex": st.sampled_from(["male", "female"]), "age_years": bounded(0, 90), "weight": st.floats(0.1, 10)},
    optional={"targets": target_tables, **{field: whos | bounded(0, 1) for field in PHENOTYPES.values()}},
)
spaces = st.builds(lambda g, t: space_of(*g, targets=t), st.lists(groups, min_size=1, max_size=3), target_tables)


def holds(value: float, low: float, high: float) -> bool:
    return low - ROUNDING <= value <= high + ROUNDING


def could_be_of(shape: dict[str, float], space: ShapeSpace, one: ShapeGroup) -> bool:
    """Whether a drawn shape lies inside everything that one group of a space allows."""
    if shape["gender"] != (one.sex == "female"):
        return False
    allowed = {"age_years": one.age_years.support()}
    for name, field in PHENOTYPES.items():
        wanted = getattr(one, field)
        allowed[name] = (0.0, 1.0) if isinstance(wanted, Who) else wanted.support()
    table = {**space.targets, **one.targets}
    names = {name for each in space.groups for name in {**space.targets, **each.targets}}
    allowed |= {name: table[name].support() if name in table else (0.0, 0.0) for name in names}
    return all(holds(shape[name], *limits) for name, limits in allowed.items())


@given(space=spaces, seed=seeds, index=indices)
def test_a_shape_lies_within_a_groups_bounds_and_has_the_spaces_keys(hand, space, seed, index):
    drawer = ShapeDrawer(space, hand.calibration)
    other, shape = drawer.draw(Streams(seed, (index + 1, index), "shape"))

    assert any(could_be_of(shape, space, one) for one in space.groups)
    assert list(shape) == list(other)
    assert all(round(value, DECIMALS) == value for value in shape.values())
    assert shape == ShapeDrawer(space, hand.calibration).draw(Streams(seed, (index,), "shape"))[0]


@given(space=spaces, extra=bounded(), seed=seeds, index=indices)
def test_adding_a_target_changes_no_other_draw(hand, space, extra, seed, index):
    more = space_of(*[one.model_dump() for one in space.groups], targets={
        **{name: one.model_dump() for name, one in space.targets.items()}, "measure-wrist-circ-incr": extra,
    })  # fmt: skip
    before, after = (
        ShapeDrawer(one, hand.calibration).draw(Streams(seed, (index,), "shape"))[0] for one in (space, more)
    )

    assert {name: value for name, value in after.items() if name != "measure-wrist-circ-incr"} == before


def test_groups_are_as_frequent_as_their_weights(hand):
    weights = [1.0, 3.0, 6.0]
    space = space_of(*[group(weight=w, age_years=20.0 + i) for i, w in enumerate(weights)])
    n = 4000
    ages = [shape["age_years"] for shape in draw(space, hand, n)]
    counts = [ages.count(20.0 + i) for i in range(3)]

    assert stats.chisquare(counts, n * np.array(weights) / sum(weights)).pvalue > 1e-3


@pytest.mark.parametrize("years", [8.0, 30.0, 75.0])
@pytest.mark.parametrize("sex", ["male", "female"])
def test_plain_who_is_the_beta_of_the_age_and_sex(hand, sex, years):
    shapes = draw(space_of(group(sex=sex, age_years=years)), hand, 1500)
    for name in PHENOTYPES:
        ages, alphas, betas = hand.calibration[f"{sex}.{name}"].T
        expected = stats.beta(np.interp(shapes[0]["age"], ages, alphas), np.interp(shapes[0]["age"], ages, betas))

        places = np.linspace(0.01, 0.99, 99)  # inside, because values near 0 and 1 are rounded to them
        below = np.mean(np.array([shape[name] for shape in shapes])[:, None] <= places, axis=0)

        assert below == pytest.approx(expected.cdf(places), abs=np.sqrt(np.log(2 / 1e-3) / (2 * len(shapes)))), name


@pytest.mark.slow
@pytest.mark.parametrize("years", [6.0, 15.5, 17.0, 40.0, 90.0])
def test_the_calibration_is_annys(hand, years):
    import torch
    from anny.shape_distribution import SimpleShapeDistribution

    anny = SimpleShapeDistribution(SimpleNamespace(dtype=torch.float64, device="cpu", phenotype_labels=[]))
    age = anny.morphological_age_mapping.morphological_to_anny_age(torch.tensor([years], dtype=torch.float64))

    assert np.interp(years, *hand.calibration["age_map"].T) == pytest.approx(float(age), abs=1e-6)
    for sex, stem in (("male", "boys"), ("female", "girls")):
        for name in PHENOTYPES:
            ages, *columns = hand.calibration[f"{sex}.{name}"].T
            ours = [np.interp(float(age), ages, column) for column in columns]
            theirs = getattr(anny, f"{stem}_conditional_{name}_distribution").get_distribution_params(age)
            assert ours == pytest.approx([float(one) for one in theirs], rel=1e-5)


@given(shift=st.floats(-0.2, 0.2), scale=st.floats(0, 1))
def test_shift_and_scale_move_the_mean_and_stretch_the_deviation(hand, shift, scale):
    # Adult heights stay clear of 0 and 1, so nothing is cut off.
    moved = space_of(group(age_years=30.0, height={"kind": "who", "shift": shift, "scale": scale}))
    alpha, beta = hand.calibration["female.height"][-1, 1:]
    mean = alpha / (alpha + beta)
    for before, after in zip(draw(space_of(group(age_years=30.0)), hand, 5), draw(moved, hand, 5), strict=True):
        assert after["height"] == pytest.approx(mean + scale * (before["height"] - mean) + shift, abs=3 * ROUNDING)


def test_an_unknown_target_is_refused_with_the_nearest_name(hand):
    for space in (
        space_of(group(), targets={"hand-scale-inc": 0.1}),
        space_of(group(targets={"hand-scale-inc": 0.1})),
    ):
        with pytest.raises(SpecError, match=r"'hand-scale-inc'.*'hand-scale-incr'"):
            check_targets(space, hand)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_space_draws_what_it_says(name, hand, body):
    space = load_part("shape", name)
    check_targets(space, {"hand": hand, "body": body}[BUILT_IN[name]])
    shapes = draw(space, hand, 400)
    ages = [shape["age_years"] for shape in shapes]
    low, high = {"mr_hand": (13, 24), "hand_any": (6, 90), "ct_body": (20, 85), "body_any": (6, 90)}[name]

    assert all(any(could_be_of(shape, space, one) for one in space.groups) for shape in shapes)
    assert low <= min(ages) < low + 0.1 * (high - low)
    assert high >= max(ages) > high - 0.1 * (high - low)
    assert {shape["gender"] for shape in shapes} == ({0.0} if name == "mr_hand" else {0.0, 1.0})
    for one in space.groups:
        for target, distribution in {**space.targets, **one.targets}.items():
            assert -1 <= distribution.support()[0] < distribution.support()[1] <= 1, target


def moved(rest: RestBody, turn: np.ndarray, factor: float, shift: np.ndarray) -> RestBody:
    return RestBody(factor * rest.vertices_mm @ turn.T + shift, factor * rest.heads_mm @ turn.T + shift)


def test_lengths_scale_with_the_body_and_its_mass_with_the_cube(body):
    rest = rest_body(body, ADULT)
    larger = moved(rest, np.array(about((0.0, 0.0, 1.0), 0.7)), 1.1, np.array([10.0, -20, 30]))
    before, after = (anthropometry.body_measures(body, one) for one in (rest, larger))

    for name, value in before.items():
        assert after[name] == pytest.approx(value * (1.1**3 if name == "mass" else 1.1), rel=1e-9), name


def test_a_hand_measures_the_same_alone_and_on_the_body(hand, body):
    shape = ADULT | {"hand-scale-incr": 0.3, "hand-fingers-length-incr": -0.4, "hand-fingers-distance-incr": -0.5}
    alone, whole = (anthropometry.hand_measures(one, rest_body(one, shape)) for one in (hand, body))

    assert alone == pytest.approx(whole, abs=1e-3)


def test_the_landmarks_of_the_measures_lie_on_the_bones_they_stand_for(hand, body):
    rest = rest_body(body, ADULT)
    skin, head = (lambda v: rest.vertices_mm[body.vertex(v)]), (lambda name: rest.heads_mm[body.bone(name)])
    left, right = skin(anthropometry.ACROMION), skin(int(body.mirror[anthropometry.ACROMION]))
    above = left - head("upperarm01.L")

    assert right == pytest.approx(left * [-1, 1, 1], abs=0.5)
    assert 30 < above[2] < 70
    assert np.hypot(*above[:2]) < 35
    for vertex, bone in zip(anthropometry.METACARPAL_HEADS, ("finger2-1.L", "finger5-1.L"), strict=True):
        assert np.linalg.norm(skin(vertex) - head(bone)) < 20
    fingers = anthropometry.hand_length_mm(hand, rest_body(hand, ADULT | {"hand-fingers-length-incr": 0.5}))
    assert fingers > anthropometry.hand_length_mm(hand, rest_body(hand, ADULT)) + 10


def test_stature_and_volume_are_annys(body):
    import torch
    from anny.anthropometry import Anthropometry

    anny = Anthropometry(
        SimpleNamespace(base_mesh_vertex_indices=torch.tensor(body.base_vertices), faces=torch.tensor(body.triangles))
    )
    for shape in (ADULT, ADULT | {"weight": 0.9, "gender": 1.0, "height": 0.2}):
        rest = rest_body(body, shape)
        metres = torch.tensor(rest.vertices_mm / 1000)[None]
        assert anthropometry.stature_mm(rest) == pytest.approx(1000 * float(anny.height(metres)), rel=1e-9)
        assert anthropometry.volume_l(body, rest) == pytest.approx(1000 * float(anny.volume(metres)), rel=1e-9)
        assert anthropometry.mass_kg(body, rest) == pytest.approx(float(anny.mass(metres)), rel=0.01)


def test_coverage_wants_both_percentiles_and_the_mean():
    people = shape_coverage.Statistics(1750, 70, 1600, 1920)
    good = shape_coverage.Statistics(1760, 80, 1590, 1930)

    def passes(**fields: float) -> bool:
        return shape_coverage.Coverage("ct_body", "men", "stature", replace(good, **fields), people).passes

    assert passes()
    assert not passes(p1=1601)
    assert not passes(p99=1919)
    assert not passes(mean=1821)
    assert not passes(mean=1679)


def test_the_benchmark_names_the_expected_path_of_the_survey(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["shape_coverage", "--data", str(tmp_path)])

    assert shape_coverage.main() == 2
    assert str(tmp_path / "ansur2") in capsys.readouterr().out


@pytest.mark.slow
def test_drawn_adults_cover_real_ones():
    folder = shape_coverage.data_folder() / "ansur2"
    if not folder.is_dir():
        pytest.skip("ANSUR II is not here")
    rows = list(shape_coverage.coverage(folder, ["ct_body"], 500))

    assert len(rows) == 10
    assert [str(row) for row in rows if not row.passes] == []
