"""The public Python interface: loaded when it is used, and what it returns."""

import subprocess
import sys

import numpy as np
import pytest
from support.fake_dataset import make_dataset, small_spec

import synthgen

HEAVY = {"torch", "bpy", "numba", "pydantic", "numpy", "typer", "pyarrow"}


def loads(program: str) -> set[str]:
    """Which large packages a program has loaded when it ends."""
    code = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return HEAVY & set(done.stdout.split())


def test_the_package_loads_nothing_before_a_name_is_used():
    assert loads("import synthgen; synthgen.__version__; dir(synthgen); synthgen.SynthgenError") == set()


def test_what_a_name_needs_is_loaded_with_it():
    assert "pydantic" in loads("import synthgen; synthgen.load_spec('hand')")
    assert "torch" not in loads("import synthgen; synthgen.draw; synthgen.open_dataset; synthgen.load_network")


def test_every_public_name_is_there_and_no_other():
    assert set(synthgen.__all__) <= set(dir(synthgen))
    assert all(getattr(synthgen, name).__doc__ for name in synthgen.__all__)
    with pytest.raises(AttributeError, match="no attribute 'renderer'"):
        synthgen.renderer  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(synthgen.__all__) - {"SynthgenError", "__version__"}))
def test_functions_say_what_they_return_raise_and_an_example(name):
    text = getattr(synthgen, name).__doc__

    assert [part for part in ("Args:", "Raises:", "Example:") if part not in text] == []
    assert "Returns:" in text or text.startswith("Return")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("api") / "hands", small_spec(120))


def test_a_dataset_is_a_sequence_of_samples_by_their_indices(folder):
    dataset = synthgen.open_dataset(folder)

    assert len(dataset) == 120
    assert [sample.index for sample in dataset] == list(range(120))
    assert [sample.index for sample in dataset[45:52:3]] == [45, 48, 51]
    assert dataset[-1].index == 119
    for position in (120, -121):
        with pytest.raises(IndexError, match="120 samples here"):
            dataset[position]


def test_a_split_is_a_sequence_too(folder):
    dataset = synthgen.open_dataset(folder)
    splits = {name: dataset.split(name) for name in ("train", "validation", "test")}

    assert [sample.index for sample in splits["validation"]] == [48, 98]
    assert splits["test"][-1].index == 99
    assert sum(map(len, splits.values())) == len(dataset)
    with pytest.raises(synthgen.SynthgenError, match="no samples in split test"):
        splits["train"].split("test")


def test_a_shard_that_has_changed_is_refused_before_a_sample_is_read(folder, tmp_path):
    root = make_dataset(tmp_path / "hands", small_spec(60))
    shard = next(root.glob("test/*.tar"))
    data = bytearray(shard.read_bytes())
    data[-600] ^= 1
    shard.write_bytes(data)

    dataset = synthgen.open_dataset(root)
    assert dataset[0].index == 0
    with pytest.raises(synthgen.SynthgenError, match="checksum"):
        dataset[49]


def test_drawing_is_the_same_alone_and_among_others():
    spec = synthgen.load_spec("hand", seed=3)
    alone = synthgen.draw(spec, 5)
    among = list(synthgen.draw(spec, range(4, 7)))[1]

    assert np.array_equal(alone.depth_mm, among.depth_mm)
    assert np.array_equal(alone.mask, np.isfinite(alone.depth_mm))
    assert alone.recipe == among.recipe
    assert alone.landmarks_px.shape == (5, 2)
    assert alone.landmarks_mm.shape == (5, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: synthgen.load_spec("hnd"), "hnd: no such file"),
        (lambda: synthgen.load_spec("hand", count=0), "count: value 0"),
        (lambda: synthgen.load_spec(synthgen.load_spec("hand"), count=0), "count: value 0"),
        (lambda: synthgen.draw("hand", -1), "index: value -1"),
        (lambda: synthgen.draw("hand", 0, engine="cycles"), "cycles"),
        (lambda: synthgen.open_dataset("/nonexistent"), "not a dataset folder"),
        (lambda: synthgen.load_network("/nonexistent", device="cpu"), "/nonexistent"),
    ],
)
def test_mistakes_are_one_line(call, text):
    with pytest.raises(synthgen.SynthgenError, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)
