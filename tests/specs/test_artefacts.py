"""Laws of the artefacts: pure, independent of each other, where they belong, and as large as asked for."""

from importlib import resources

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synthgen.specs.artefacts import (
    Artefacts,
    Holes,
    NoisyBorder,
    RoughEdge,
    Speckle,
    TableRemains,
)
from synthgen.specs.artefacts import apply_artefacts as apply_to_batch

SECTIONS = {
    "table_remains": TableRemains(),
    "rough_edge": RoughEdge(),
    "holes": Holes(),
    "speckle": Speckle(),
    "noisy_border": NoisyBorder(),
}
seeds = st.integers(0, 2**31)


def apply_artefacts(mask: np.ndarray, artefacts: Artefacts, seed: int, epoch: int, index: int) -> np.ndarray:
    return apply_to_batch(mask[None], artefacts, seed, epoch, np.array([index]))[0]


def disc(height: int = 96, width: int = 96, radius: float = 25) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    return np.hypot(x - width / 2, y - height / 2) < radius


def preset(name: str) -> Artefacts:
    text = resources.files("synthgen.specs").joinpath(f"presets/artefacts/{name}.yaml").read_text(encoding="utf-8")
    return Artefacts.model_validate(yaml.safe_load(text))


def off(section):
    return section.model_copy(update={"probability": 0.0})


@given(seeds, seeds, st.integers(0, 100))
def test_all_off_is_the_identity_on_a_copy(seed, index, epoch):
    mask = disc()
    for artefacts in (preset("none"), Artefacts(**{name: off(section) for name, section in SECTIONS.items()})):
        result = apply_artefacts(mask, artefacts, seed, epoch, index)

        assert np.array_equal(result, mask)
        assert not np.shares_memory(result, mask)


@given(seeds, st.integers(0, 10**7), st.integers(0, 100), st.sampled_from(["mr", "ct"]))
def test_the_same_arguments_give_the_same_mask_and_leave_the_input_alone(seed, index, epoch, name):
    mask = disc(160, 76, 22)
    before = mask.copy()
    first = apply_artefacts(mask, preset(name), seed, epoch, index)

    assert np.array_equal(first, apply_artefacts(mask, preset(name), seed, epoch, index))
    assert np.array_equal(mask, before)
    assert first.dtype == np.bool_
    assert first.shape == mask.shape


def test_seed_epoch_and_index_each_draw_anew():
    base = apply_artefacts(disc(), preset("mr"), 0, 0, 0)

    for other in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not np.array_equal(base, apply_artefacts(disc(), preset("mr"), *other))


def test_an_artefact_moves_no_draw_of_another():
    mask = disc()
    speckle = apply_artefacts(mask, Artefacts(speckle=Speckle()), 0, 0, 5)
    both = apply_artefacts(mask, Artefacts(speckle=Speckle(), noisy_border=NoisyBorder()), 0, 0, 5)

    assert np.array_equal(speckle[:90], both[:90])
    assert not np.array_equal(speckle[90:], both[90:])


@given(seeds)
def test_a_rough_edge_stays_near_the_outline_and_is_about_a_pixel(index):
    radius = np.hypot(*(np.mgrid[:96, :96] + 0.5 - 48))
    changed = apply_artefacts(disc(), Artefacts(rough_edge=RoughEdge()), 0, 0, index) ^ disc()

    assert 5 < changed.sum() < 2 * np.pi * 25 * 2
    assert np.abs(radius[changed] - 25).max() < 6


def test_a_rough_edge_has_the_deviation_asked_for():
    # On a straight edge the outline's displacement is the noise itself, rounded to pixels.
    mask = np.zeros((400, 60), dtype=bool)
    mask[:, 30:] = True
    rough = RoughEdge(smooth_px=1.5, smooth_length_px=4, white_px=0)
    edges = [apply_artefacts(mask, Artefacts(rough_edge=rough), 0, 0, i).sum(axis=1) for i in range(20)]

    assert np.std(edges) == pytest.approx(1.5, rel=0.1)
    assert np.mean(edges) == pytest.approx(30, abs=0.2)


def test_without_noise_a_rough_edge_keeps_even_slits_of_one_pixel():
    mask = disc()
    mask[:, 48] = False

    assert np.array_equal(
        apply_artefacts(mask, Artefacts(rough_edge=RoughEdge(smooth_px=0, white_px=0)), 0, 0, 0), mask
    )


@given(seeds)
def test_speckle_only_adds_and_holes_only_remove(index):
    mask = disc()
    speckled = apply_artefacts(mask, Artefacts(speckle=Speckle(count=8)), 0, 0, index)
    holed = apply_artefacts(mask, Artefacts(holes=Holes(count=8)), 0, 0, index)

    assert (speckled & mask).sum() == mask.sum()
    assert 1 <= (speckled & ~mask).sum() <= 8 * np.pi * 3**2
    assert not (holed & ~mask).any()
    assert (mask & ~holed).any()


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_a_noisy_border_changes_its_rows_alone_and_most_the_outermost(side):
    rotations = {"bottom": 0, "left": 1, "top": 2, "right": 3}[side]
    border = Artefacts(noisy_border=NoisyBorder(sides=(side,), rows=4, add=0.5, remove=0.5))
    changed = sum(apply_artefacts(disc(60, 60, 29), border, 0, 0, i) ^ disc(60, 60, 29) for i in range(50))
    by_row = np.rot90(changed, rotations).sum(axis=1)

    assert not by_row[:56].any()
    assert list(by_row[56:]) == sorted(by_row[56:])
    assert by_row[59] / (50 * 60) == pytest.approx(0.5, abs=0.05)


@given(seeds)
def test_table_remains_only_add_beside_the_body_at_their_height(index):
    body = np.zeros((160, 76), dtype=bool)
    body[10:150, 25:50] = True
    remains = TableRemains(count=4, height=0.25, length=0.1, thickness=0.03, angle_deg=0, coverage=1)
    added = apply_artefacts(body, Artefacts(table_remains=remains), 0, 0, index) & ~body

    rows, columns = np.nonzero(added)
    assert rows.size > 0
    assert np.abs(rows - (10 + 0.25 * 140)).max() <= 0.03 * 140 / 2 + 1
    assert 10 < np.maximum(25 - columns, columns - 49).max() <= 0.1 * 140 + 1


def test_an_empty_mask_is_no_error():
    assert apply_artefacts(np.zeros((30, 20), dtype=bool), preset("ct"), 0, 0, 0).shape == (30, 20)
    full = Artefacts(**SECTIONS)
    assert apply_artefacts(np.ones((16, 16), dtype=bool), full, 0, 0, 0).shape == (16, 16)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("rough_edge", "white_px", 9),
        ("speckle", "probability", 1.2),
        ("speckle", "amount", 3),
        ("noisy_border", "sides", ["floor"]),
        ("noisy_border", "add", {"kind": "uniform", "low": 0.5, "high": 1.5}),
        ("table_remains", "angle_deg", 120),
    ],
)
def test_what_makes_no_sense_is_refused_by_field(section, field, value):
    with pytest.raises(ValidationError) as error:
        Artefacts.model_validate({section: {field: value}})

    assert error.value.errors()[0]["loc"][:2] == (section, field)
