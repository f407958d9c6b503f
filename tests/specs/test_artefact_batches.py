import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.randomness.random_streams import Streams, fill_normals, next_double, next_single
from synthgen.randomness.seeding import stream
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
from synthgen.training.streaming.artefact_batches import apply_artefacts as apply_to_batch


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
    one_by_one = [apply_artefacts(mask, artefacts, seed, epoch, int(i)) for mask, i in zip(masks, indices, strict=True)]
    batch = masks.astype(np.uint8)
    apply_to_batch(batch, artefacts, seed, epoch, indices)
    return np.stack(one_by_one), batch


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


@settings(max_examples=40)
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
    apply_to_batch(nothing, load_part("artefacts", "mr"), 0, 0, np.zeros(0, np.int64))

    assert nothing.shape == (0, 9, 9)


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**40), min_size=1, max_size=4), st.text(max_size=12))
def test_streams_give_numpys_numbers(seed, indices, name):
    streams = Streams(seed, np.array(indices), name)
    counts = np.arange(len(indices)) + 1
    drawn = streams.each(counts).random(int(counts.sum()))
    generators = [stream(seed, index, name) for index in indices]

    assert drawn.tolist() == [number for g, n in zip(generators, counts, strict=True) for number in g.random(n)]
    for state, generator in zip(streams.states, generators, strict=True):
        normals = np.empty(3001, dtype=np.float32)  # an odd number leaves half a word
        fill_normals(state, normals)
        assert np.array_equal(normals, generator.standard_normal(3001, dtype=np.float32))
        assert next_double(state) == generator.random()
        assert next_single(state) == generator.random(dtype=np.float32)


def test_the_tails_of_normal_numbers_are_numpys():
    normals = np.empty(3_000_000, dtype=np.float32)
    fill_normals(Streams(0, np.array([1]), "tail").states[0], normals)

    assert np.abs(normals).max() > 4.5
    assert np.array_equal(normals, stream(0, 1, "tail").standard_normal(3_000_000, dtype=np.float32))


def test_streams_that_are_asked_for_another_number_complain():
    with pytest.raises(ValueError, match="5 numbers of streams that stand for 6"):
        Streams(0, np.arange(3), "x").each(2).random(5)
