"""Our samples in other people's training loops: the same tensors in the same order, however they are read."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.fake_balls import make_dataset, small_spec
from support.static_server import StaticServer
from torch.utils.data import DataLoader

import synthgen
from synthgen.datasets.opening import open_dataset
from synthgen.errors import SynthgenError
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.job import dataset_job

COUNT = 400
TRAINED = 384


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("torch") / "balls", small_spec(COUNT))


def loaded(dataset, workers=0, epoch=0, **options):
    dataset.set_epoch(epoch)
    return list(DataLoader(dataset, batch_size=None, num_workers=workers, **options))


def same(one, other) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("inputs", ["mask", "depth"])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_are_those_of_our_own_loop(folder, inputs, workers):
    moves = {"rotation_deg": 10.0, "scale": 0.1, "shift": 0.05}
    config = TrainingConfig(input=inputs, batch_size=50, seed=7, augmentation=moves)
    job = dataset_job(open_dataset(folder), config)
    dataset = synthgen.torch_dataset(folder, input=inputs, batch_size=50, seed=7, augmentation=moves)

    for epoch in (0, 3):
        own = job.data.epoch(epoch)
        batches = loaded(dataset, workers, epoch)
        assert len(batches) == len(dataset) == len(own) == 8
        for number, batch in enumerate(batches):
            assert torch.equal(batch["image"], own[number].images.float())
            assert torch.equal(batch["target"].flatten(1), own[number].targets)
            assert torch.equal(batch["index"], own[number].indices)


def test_tensors_are_what_the_documentation_says(folder):
    mask, depth = (next(iter(synthgen.torch_dataset(folder, input=kind, artefacts=False, shuffle=False)))
                   for kind in ("mask", "depth"))  # fmt: skip
    sample = open_dataset(folder).split("train")[0]
    height, width = sample.mask.shape
    k = len(sample.landmarks_px)

    assert mask["image"].shape == (1, height, width)
    assert mask["image"].dtype == depth["image"].dtype == torch.float32
    assert torch.equal(mask["image"][0].bool(), torch.from_numpy(sample.mask))
    assert torch.allclose(mask["landmarks_px"].double(), torch.from_numpy(sample.landmarks_px), atol=1e-4)
    size = torch.tensor([width, height])
    assert torch.allclose((mask["target"] + 1) / 2 * size, mask["landmarks_px"], atol=1e-4)
    assert torch.equal(mask["visible"], torch.from_numpy(sample.visible))
    assert int(mask["index"]) == sample.index
    assert depth["target"].shape == (k, 3)
    mean, deviation = depth["depth_scale"]
    z = torch.from_numpy(sample.landmarks_mm[:, 2])
    assert torch.allclose(depth["target"][:, 2] * deviation + mean, z.float(), atol=0.05)
    inside = depth["image"][0][torch.from_numpy(sample.mask)]
    assert abs(float(inside.mean())) < 1e-3


@pytest.mark.parametrize("workers", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))])
def test_every_sample_comes_once_and_another_epoch_has_another_order(folder, workers):
    dataset = synthgen.torch_dataset(folder, seed=3)
    epochs = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        loader = DataLoader(dataset, batch_size=32, num_workers=workers)
        epochs.append(torch.cat([batch["index"] for batch in loader]).tolist())

    assert all(sorted(indices) == [i for i in range(COUNT) if i % 50 < 48] for indices in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_that_live_on_hear_of_the_next_epoch(folder, context):
    dataset = synthgen.torch_dataset(folder, batch_size=50)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context=context
    )
    for epoch in (0, 1, 1, 2):
        dataset.set_epoch(epoch)
        assert same(list(loader), loaded(synthgen.torch_dataset(folder, batch_size=50), 0, epoch))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 17, 50])
@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_an_epoch_evenly(folder, world, batch_size):
    datasets = [
        synthgen.torch_dataset(folder, batch_size=batch_size, rank=rank, world_size=world) for rank in range(world)
    ]
    items = [loaded(dataset) for dataset in datasets]
    indices = [torch.cat([item["index"].reshape(-1) for item in rank]).tolist() for rank in items]

    assert {len(rank) for rank in items} == {len(datasets[0])}
    assert {len(rank) for rank in indices} == {TRAINED // world}
    assert len(set().union(*indices)) == world * (TRAINED // world)


def test_ranks_together_take_our_batches(folder):
    config = TrainingConfig(batch_size=40, seed=2)
    own = dataset_job(open_dataset(folder), config).data.epoch(0)
    parts = [loaded(synthgen.torch_dataset(folder, batch_size=20, seed=2, rank=rank, world_size=2)) for rank in (0, 1)]

    for number, pair in enumerate(zip(*parts, strict=True)):
        assert torch.equal(torch.stack([part["index"] for part in pair], 1).flatten(), own[number].indices)


@pytest.mark.parametrize("batch_size", [None, 50])
def test_resuming_gives_the_rest_of_the_epoch(folder, batch_size):
    dataset = synthgen.torch_dataset(folder, batch_size=batch_size, seed=1)
    whole = loaded(dataset, 0, 4)
    for taken in (0, 1, 5, len(whole)):
        dataset.set_epoch(4)
        items = iter(dataset)
        for _ in range(taken):
            next(items)
        state = pickle.loads(pickle.dumps(dataset.state_dict()))
        other = synthgen.torch_dataset(folder, batch_size=batch_size, seed=1)
        other.load_state_dict(state)
        assert state == other.state_dict() == dataset.state_dict(taken)
        assert same(list(other), whole[taken:])
        assert same(list(other), whole)  # the next pass is whole again


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_a_plain_loader_resumes_by_the_batches_that_the_loop_has_used(folder, workers):
    dataset = synthgen.torch_dataset(folder, batch_size=50, seed=1)
    whole = loaded(dataset, 0, 2)
    loader = iter(DataLoader(dataset, batch_size=None, num_workers=2))
    for _ in range(3):
        next(loader)
    other = synthgen.torch_dataset(folder, batch_size=50, seed=1)
    other.load_state_dict(dataset.state_dict(3))

    assert same(loaded(other, workers, 2), whole[3:])
    assert same(loaded(other, workers, 3), loaded(dataset, 0, 3))


class Stateful(torch.utils.data.IterableDataset):
    """Gives each item with the dataset's state, and each worker its own state, as torchdata's loader does."""

    def __init__(self, dataset, states=None):
        self.dataset, self.states = dataset, states

    def __iter__(self):
        if self.states:
            self.dataset.load_state_dict(self.states[torch.utils.data.get_worker_info().id])
        for item in self.dataset:
            yield item, self.dataset.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 50])
def test_each_worker_resumes_from_its_own_state(folder, batch_size):
    dataset = synthgen.torch_dataset(folder, batch_size=batch_size, seed=1)
    pairs = list(DataLoader(Stateful(dataset), batch_size=None, num_workers=2))
    states = {state["worker"]: state for _, state in pairs[:4]}
    other = synthgen.torch_dataset(folder, batch_size=batch_size, seed=1)
    rest = [item for item, _ in DataLoader(Stateful(other, states), batch_size=None, num_workers=2)]

    assert sorted(states) == [0, 1]
    assert same(rest, [item for item, _ in pairs[4:]])


@pytest.mark.slow
def test_persistent_workers_resume_once(folder):
    dataset = synthgen.torch_dataset(folder, batch_size=50, seed=1)
    whole = loaded(dataset)
    dataset.load_state_dict(dataset.state_dict(3))
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)

    assert same(list(loader), whole[3:])
    assert same(list(loader), whole)


@pytest.mark.slow
def test_a_state_of_another_number_of_workers_is_refused(folder):
    dataset = synthgen.torch_dataset(folder, batch_size=50)
    _, state = next(iter(DataLoader(Stateful(dataset), batch_size=None, num_workers=2)))
    dataset.load_state_dict(state)

    with pytest.raises(SynthgenError, match="num_workers: value 0; the state was saved with 2"):
        next(iter(dataset))


def test_a_state_of_other_data_or_options_is_refused(folder, tmp_path):
    state = synthgen.torch_dataset(folder, batch_size=50).state_dict()
    for other in (
        synthgen.torch_dataset(folder, batch_size=51),
        synthgen.torch_dataset(folder, batch_size=50, seed=1),
        synthgen.torch_dataset(folder, batch_size=50, rank=0, world_size=2),
        synthgen.torch_dataset(make_dataset(tmp_path / "other", small_spec(60)), batch_size=50),
    ):
        with pytest.raises(SynthgenError, match="resume with the same data and options"):
            other.load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size: value 0"),
        ({"rank": 2, "world_size": 2}, "rank: value 2"),
        ({"rank": 1}, "give rank and world_size together"),
        ({"augmentation": {"rotation": 3}}, "rotation"),
    ],
)
def test_options_that_are_wrong_are_refused(folder, options, text):
    with pytest.raises(SynthgenError, match=text):
        synthgen.torch_dataset(folder, **options)


@pytest.mark.slow
def test_a_dataset_on_a_web_server_gives_the_same(folder, tmp_path):
    server = StaticServer(folder)
    try:
        there = synthgen.torch_dataset(server.url, batch_size=50, cache=tmp_path / "cache")
        assert same(loaded(there, 2), loaded(synthgen.torch_dataset(folder, batch_size=50)))
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["mask", "depth"])
def test_a_spec_is_rendered_on_demand_to_what_would_be_stored(tmp_path, inputs):
    spec = synthgen.load_spec("hand", count=60, engine="raster")
    synthgen.render(spec, tmp_path / "hands", workers=1)
    stored = synthgen.torch_dataset(tmp_path / "hands", input=inputs, batch_size=20, seed=5)
    dataset = synthgen.torch_dataset(spec, input=inputs, batch_size=20, seed=5, workers=1)

    assert same(loaded(dataset, 0, 1), loaded(stored, 0, 1))
    dataset.load_state_dict(dataset.state_dict(1))
    assert same(list(dataset), loaded(stored, 0, 1)[1:])
    with pytest.raises(SynthgenError, match="num_workers: value 1; a spec is rendered by separate processes"):
        loaded(dataset, 1)


TWO = """
import sys
import torch
from torch.utils.data import DataLoader
import synthgen

torch.distributed.init_process_group("gloo")
dataset = synthgen.torch_dataset(sys.argv[1], batch_size=50)
batches = list(DataLoader(dataset, batch_size=None, num_workers=1))
rank = torch.distributed.get_rank()
torch.save(torch.cat([batch["index"] for batch in batches]), f"{sys.argv[2]}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_are_those_of_torch_distributed(folder, tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
               str(tmp_path / "two.py"), str(folder), str(tmp_path)]  # fmt: skip
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    zero, one = (torch.load(tmp_path / f"{rank}.pt").tolist() for rank in (0, 1))

    assert len(zero) == len(one) == TRAINED // 2
    assert set(zero).isdisjoint(one)
