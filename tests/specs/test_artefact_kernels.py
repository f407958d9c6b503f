import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from support.laws import examples
from support.slow_artefacts import NumpyDraws, apply_slowly

from synthgen.specs.artefacts import (
    Artefacts,
    Holes,
    NoisyBorder,
    RoughEdge,
    Speckle,
    TableRemains,
    apply_artefacts,
)
from synthgen.specs.distributions import Beta, Choice, Constant, Mixture, Normal, Uniform
from synthgen.specs.spec import load_part


def blobs(count: int, height: int, width: int) -> np.ndarray:
    """Silhouettes: some discs, some of which touch the border, an empty one and a full one."""
    masks = np.zeros((count, height, width), dtype=bool)
    y, x = np.mgrid[:height, :width]
    for n in range(2, count):
        rng = np.random.default_rng(n)
        for _ in range(4):
            row, column, radius = rng.random() * height, rng.random() * width, rng.uniform(1, 1 + height / 4)
            masks[n] |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    masks[1] = True
    return masks


def both(masks: np.ndarray, artefacts: Artefacts, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The artefacts by the definition, one by one, and by the batch."""
    indices = np.arange(len(masks)) * 37 + 5
    one_by_one = [apply_slowly(mask, artefacts, seed, epoch, int(i)) for mask, i in zip(masks, indices, strict=True)]
    return np.stack(one_by_one), apply_artefacts(masks, artefacts, seed, epoch, indices)


@pytest.mark.parametrize("name", ["mr", "ct", "none"])
@pytest.mark.parametrize("size", [(96, 96), (160, 76), (17, 23)])
def test_presets_give_the_same_pixels_as_the_definition(name, size):
    artefacts = load_part("artefacts", name)
    for epoch in range(3):
        expected, found = both(blobs(12, *size), artefacts, 11, epoch)

        assert np.array_equal(expected, found)
    assert name == "none" or not np.array_equal(found, blobs(12, *size))


ANGLES, COUNTS = Uniform(kind="uniform", low=-90, high=90), Uniform(kind="uniform", low=0, high=40)
RADII = Beta(kind="beta", alpha=2, beta=3, low=0.1, high=6)
EVERYTHING = Artefacts(
    table_remains=TableRemains(count=Choice(kind="choice", values=(0, 1, 16)), angle_deg=ANGLES),
    rough_edge=RoughEdge(smooth_px=Constant(value=4), white_px=Constant(value=2), smooth_length_px=Constant(value=1)),
    holes=Holes(count=Constant(value=30), radius_px=Normal(kind="normal", mean=1, sd=2, low=0.1, high=16)),
    speckle=Speckle(count=COUNTS, radius_px=RADII),
    noisy_border=NoisyBorder(sides=("left", "top", "right", "bottom"), rows=Uniform(kind="uniform", low=0, high=256)),
)


def test_the_largest_artefacts_of_every_distribution_are_the_same():
    expected, found = both(blobs(20, 40, 30), EVERYTHING, 0, 4)

    assert np.array_equal(expected, found)


numbers = st.floats(0, 1)


@examples(40)
@given(st.data(), st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(3, 50), st.integers(3, 70))
def test_any_artefacts_are_the_same(data, seed, epoch, height, width):
    def drawn(low: float, high: float):
        a, b = sorted((data.draw(st.floats(low, high)), data.draw(st.floats(low, high))))
        parts = (Uniform(kind="uniform", low=a, high=b), Constant(value=a))
        return Mixture(kind="mixture", parts=parts) if data.draw(st.booleans()) else parts[0]

    artefacts = Artefacts(
        rough_edge=RoughEdge(probability=data.draw(numbers), smooth_px=drawn(0, 4), white_px=drawn(0, 2)),
        table_remains=TableRemains(length=drawn(0, 1), thickness=drawn(0, 0.5), angle_deg=drawn(-90, 90)),
        speckle=Speckle(probability=data.draw(numbers), radius_px=drawn(0.1, 16)),
        noisy_border=NoisyBorder(rows=drawn(0, 256), add=drawn(0, 1), remove=drawn(0, 1)),
    )
    expected, found = both(blobs(5, height, width), artefacts, seed, epoch)

    assert np.array_equal(expected, found)


def test_a_batch_of_nothing_stays_nothing():
    nothing = np.zeros((0, 9, 9), np.uint8)

    assert apply_artefacts(nothing, load_part("artefacts", "mr"), 0, 0, np.zeros(0, np.int64)).shape == (0, 9, 9)


def test_booleans_and_bytes_change_alike_and_stay_what_they_are():
    masks, mr = blobs(6, 40, 30), load_part("artefacts", "mr")
    before = masks.copy()
    changed = apply_artefacts(masks, mr, 0, 0, np.arange(6))
    as_bytes = apply_artefacts(masks.astype(np.uint8), mr, 0, 0, np.arange(6))

    assert (changed.dtype, as_bytes.dtype) == (np.bool_, np.uint8)
    assert np.array_equal(changed, as_bytes)
    assert np.array_equal(masks, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mr", "ct"])
def test_artefacts_are_as_large_as_with_numpys_normal_numbers(name):
    """Mean and deviation of what is added and removed, over masks of which each has streams of its own."""
    artefacts, masks = load_part("artefacts", name), np.repeat(blobs(6, 64, 48)[3:5], 150, axis=0)
    changed = apply_artefacts(masks, artefacts, 3, 0, np.arange(300))
    others = np.stack([apply_slowly(mask, artefacts, 4, 0, i, NumpyDraws) for i, mask in enumerate(masks)])
    for before in (masks, ~masks):
        ours, numpys = ((before & (result != masks)).sum(axis=(1, 2)) for result in (changed, others))
        for n in (slice(0, 150), slice(150, 300)):
            assert ks_2samp(ours[n], numpys[n]).pvalue > 0.001
            error = np.hypot(ours[n].std(), numpys[n].std()) / np.sqrt(150)
            assert abs(ours[n].mean() - numpys[n].mean()) < 4 * error
