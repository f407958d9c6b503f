"""Training from a spec with nothing stored: the samples, the order and the network are those of the stored dataset."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.fake_balls import small_spec
from support.fake_dataset import make_dataset as make_rendered
from support.fake_live import HereAndNow, live_data, open_balls, split
from support.paths import import_paths
from support.processes import alive, until
from support.weights import same_network

from synthgen.cli import main as cli
from synthgen.datasets.opening import open_dataset
from synthgen.datasets.plan import split_of
from synthgen.errors import DatasetError, EngineError, SpecError, SynthgenError
from synthgen.generator.runs.on_demand import live_renderer, live_workers
from synthgen.generator.runs.resources import Resources
from synthgen.generator.runs.worker import PipelineSetup
from synthgen.specs.domain import Domain
from synthgen.specs.files import load_spec
from synthgen.training.experiments.tuning import tuning_config
from synthgen.training.loop.checkpoint import CheckpointError, load_checkpoint
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device
from synthgen.training.loop.job import Keeping, dataset_job
from synthgen.training.loop.on_demand import live_job
from synthgen.training.loop.train import train
from synthgen.training.streaming.augmentation import Augmentation
from synthgen.training.streaming.batches import Ranks, epoch_order
from synthgen.training.streaming.on_demand_order import LiveSplit, Pace, RoundOrder

CONFIG = TrainingConfig(
    epochs=2,
    samples=140,
    batch_size=20,
    lr=0.01,
    lr_schedule={"kind": "cosine", "final": 1e-3},
    augmentation=Augmentation(rotation_deg=5.0, shift=0.05),
)
DEVICE = Device(threads=0)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def spec():
    return small_spec()


@pytest.fixture(scope="module")
def from_steps(spec):
    """A training of 30 steps: 600 samples, more than two rounds through the 222 of the spec."""
    return train(live_job(live_data(spec, HereAndNow()), CONFIG, 30), DEVICE)


def batches_of(batches):
    return [batches[number] for number in range(len(batches))]


def assert_same_batches(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(batches_of(ours), batches_of(theirs), strict=True):
        assert one.total == other.total
        for field in ("images", "targets", "indices", "depth_scale"):
            assert torch.equal(torch.nan_to_num(getattr(one, field)), torch.nan_to_num(getattr(other, field))), field


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    """Right hands by the raster engine, stored and sealed."""
    from synthgen.generator.pipeline import open_pipeline

    spec = load_spec("hand", {"count": 180, "engine": "raster"}).model_copy(update={"side": "right"})
    pipeline = open_pipeline(spec, "raster")
    folder = tmp_path_factory.mktemp("live") / "hands"
    return spec, open_dataset(make_rendered(folder, spec, pipeline.sample, lambda *_: b"no picture"))


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["mask", "depth"])
def test_batches_made_on_the_way_are_those_of_the_stored_dataset(hands, inputs):
    spec, stored = hands
    config = CONFIG.changed(input=inputs, batch_size=50, samples=160)
    theirs = dataset_job(stored, config)
    with live_renderer(PipelineSetup(spec.model_dump_json()), 2, depth=inputs == "depth") as renderer:
        ours = live_job(live_data(spec, renderer), config)
        for epoch in range(2):
            assert_same_batches(ours.data.epoch(epoch), theirs.data.epoch(epoch))
        assert_same_batches(ours.validation, theirs.validation)

    assert ours.domain == theirs.domain == Domain.of_spec(spec)
    assert ours.history[0].sha256 == stored.spec_sha256
    assert ours.history[0].name == "synthgen-hand-v1 (180 samples, seed 0)"


@pytest.mark.slow
def test_the_network_is_that_of_the_stored_dataset(dataset, spec):
    stored = train(dataset_job(dataset, CONFIG), DEVICE)
    made = train(live_job(live_data(spec, HereAndNow()), CONFIG), DEVICE)

    assert same_network(stored, made)
    assert made.history[0].kind == "spec"
    assert tuning_config(made.config) == tuning_config(stored.config)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "threads", "ahead"), [(1, 0, 0), (3, 2, 300)])
def test_workers_threads_and_how_far_they_are_ahead_change_nothing(spec, from_steps, workers, threads, ahead):
    with live_renderer(PipelineSetup(spec.model_dump_json(), open_balls), workers, depth=False) as renderer:
        job = live_job(live_data(spec, renderer, ahead), CONFIG, 30)

        assert same_network(train(job, replace(DEVICE, threads=threads)), from_steps)


@pytest.mark.slow
def test_steps_take_fresh_samples_first_and_fall_with_the_recipes_rate(spec, tmp_path):
    job = live_job(live_data(spec, HereAndNow()), CONFIG, 30)
    indices = torch.cat([batch.indices for e in range(2) for batch in batches_of(job.data.epoch(e))]).tolist()
    trained = train(job, DEVICE, Keeping(tmp_path / "run", log_every=1))
    rows = [line.split(",") for line in (tmp_path / "run" / "log.csv").read_text().splitlines()[1:]]

    assert len(indices) == 600
    assert sorted(indices[:222]) == sorted(indices[222:444]) == [i for i in range(230) if i % 50 < 48]
    assert indices[:222] != indices[222:444]
    assert [float(row[2]) for row in rows] == pytest.approx(
        [CONFIG.changed(epochs=1).lr_at(0, n / 30) for n in range(30)]
    )
    assert trained.config.samples is None
    assert trained.history[0].name.endswith("(230 samples, seed 0, 30 steps)")


def test_the_same_sample_comes_with_other_artefacts_in_another_round(spec):
    job = live_job(live_data(spec, HereAndNow()), CONFIG.changed(batch_size=111), 4)
    rounds = [[job.data.epoch(e)[n] for n in range(2)] for e in range(2)]
    seen = [{int(i): image for batch in pair for i, image in zip(batch.indices, batch.images, strict=True)}
            for pair in rounds]  # fmt: skip

    assert seen[0].keys() == seen[1].keys()
    assert any(not torch.equal(seen[0][i], seen[1][i]) for i in seen[0])


CHILD = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import torch
from support.fake_balls import small_spec
from support.fake_live import live_data, open_balls
from test_on_demand import DEVICE, CONFIG
from synthgen.generator.runs.on_demand import live_renderer
from synthgen.generator.runs.worker import PipelineSetup
from synthgen.training.loop import train as t
from synthgen.training.loop.job import Keeping
from synthgen.training.loop.on_demand import live_job

if __name__ == "__main__":
    torch.set_num_threads(1)
    old = t.save_checkpoint
    def save(folder, checkpoint):
        old(folder, checkpoint)
        print(checkpoint.place.steps, flush=True)
    t.save_checkpoint = save
    spec = small_spec()
    with live_renderer(PipelineSetup(spec.model_dump_json(), open_balls), {workers}, depth=False) as renderer:
        t.train(live_job(live_data(spec, renderer), CONFIG, 30), DEVICE, Keeping(Path({run!r}), save_every_s=0))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    monkeypatch.setenv("FAKE_FOLDER", str(tmp_path / "fake"))
    return tmp_path / "fake"


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights_and_leaves_no_worker(spec, from_steps, tmp_path, folder):
    run, script = tmp_path / "run", tmp_path / "child.py"
    script.write_text(CHILD.format(paths=import_paths(__file__), workers=2, run=str(run)))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) >= 17:  # in the second round of the data, and of the training config
                os.kill(child.pid, signal.SIGKILL)
                break
        assert child.wait() == -signal.SIGKILL
    workers = [int(path.name.removeprefix("worker-")) for path in folder.glob("worker-*")]
    stopped = load_checkpoint(run)
    with live_renderer(PipelineSetup(spec.model_dump_json(), open_balls), 1, depth=False) as renderer:
        resumed = train(live_job(live_data(spec, renderer), CONFIG, 30), DEVICE, Keeping(run))
    until(lambda: not any(map(alive, workers)))

    assert 17 <= stopped.place.steps < 30
    assert stopped.place.position % CONFIG.batch_size == 0
    assert same_network(resumed, from_steps)
    assert len(workers) >= 1


@pytest.mark.slow
def test_a_training_of_other_steps_in_the_same_folder_is_refused(spec, tmp_path):
    keeping = Keeping(tmp_path / "run")
    train(live_job(live_data(spec, HereAndNow()), CONFIG, 2), DEVICE, keeping)

    with pytest.raises(
        CheckpointError, match=r"contains another training .trained on synthgen-hand-v1 .*, 2 steps. there"
    ):
        train(live_job(live_data(spec, HereAndNow()), CONFIG, 3), DEVICE, keeping)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "error", "message"),
    [
        ("wrong-0", EngineError, r"^samples 0 to \d+: ValueError: ball 0 is square; run `synthgen doctor`"),
        ("refused-0", SpecError, r"^pose: sample 0 has no possible pose$"),
        ("kill-0", EngineError, r"^a rendering process was killed, .*; run the same command again to resume from the"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_one_clear_line(spec, folder, file, error, message):
    (folder / file).touch()
    with live_renderer(PipelineSetup(spec.model_dump_json(), open_balls), 2, depth=False) as renderer:
        job = live_job(live_data(spec, renderer), CONFIG.changed(epochs=1))
        with pytest.raises(error, match=message) as caught:
            train(job, DEVICE)

    assert "\n" not in str(caught.value)


@pytest.mark.slow
@given(st.integers(1, 50), st.integers(1, 30), st.integers(1, 6), st.none() | st.integers(6, 40))
def test_steps_take_every_sample_once_a_round(samples, batch, epochs, steps):
    pace = Pace(samples, batch, epochs, steps)
    taken = [part for step in range(pace.all_steps) for part in pace.parts(step)]
    singles = [(number, place) for number, start, end in taken for place in range(start, end)]
    starts = [pace.start(epoch) for epoch in range(epochs + 1)]

    assert singles == [divmod(n, samples) for n in range(len(singles))]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert starts[-1] == pace.all_steps
    if steps is None:
        assert len(singles) == samples * epochs
    else:
        assert len(singles) == steps * batch
        assert max(np.diff(starts)) - min(np.diff(starts)) <= 1


@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.integers(0, 9), st.data())
def test_an_order_of_windows_is_the_order_of_all(sizes, seed, data):
    whole = LiveSplit(tuple(sizes), lambda shard: np.arange(sizes[shard]) + sum(sizes[:shard]))
    expected = np.concatenate(epoch_order(sizes, seed, 3))
    flat = [sum(sizes[:shard]) + row for shard, row in expected.tolist()]
    order = RoundOrder(whole, seed, 3)
    for _ in range(5):
        start = data.draw(st.integers(0, len(flat) - 1))
        end = data.draw(st.integers(start + 1, len(flat)))
        assert order.indices(start, end).tolist() == flat[start:end]


def test_a_split_is_the_one_of_the_shards(spec):
    for name in ("train", "validation"):
        whole = split(spec, name)
        indices = np.concatenate([whole.indices(shard) for shard in range(len(whole.sizes))]).tolist()
        assert indices == [i for i in range(230) if split_of(i) == name]
    assert split(spec, "train").first(30).sizes == (13, 14, 3)


def test_no_more_samples_are_under_way_than_asked_for(spec):
    renderer = HereAndNow()
    batches = live_job(live_data(spec, renderer, ahead=60), CONFIG, 30).data.epoch(0)
    for number in range(len(batches)):
        taken = batches[number]
        assert sum(map(len, renderer.asked)) <= (number + 1) * 20 + 60
        assert len(taken) == 20
    asked = sum(map(len, renderer.asked))
    assert torch.equal(batches[2].indices, live_job(live_data(spec, HereAndNow()), CONFIG, 30).data.epoch(0)[2].indices)
    assert sum(map(len, renderer.asked)) <= asked + 80  # made again, because it is gone


def test_processes_that_train_together_share_each_batch(spec):
    whole = live_job(live_data(spec, HereAndNow()), CONFIG.changed(batch_size=37), 9).data
    parts = [
        live_job(live_data(spec, HereAndNow()), CONFIG.changed(batch_size=37), 9, Ranks(r, 3)).data for r in range(3)
    ]
    for epoch in range(2):
        for number in range(len(whole.epoch(epoch))):
            expected = whole.epoch(epoch)[number]
            found = [part.epoch(epoch)[number] for part in parts]
            assert sorted(expected.indices.tolist()) == sorted(i for part in found for i in part.indices.tolist())
            assert {part.total for part in found} == {expected.total}


def test_a_rank_without_a_sample_has_an_empty_batch(spec):
    for inputs in ("mask", "depth"):
        config = CONFIG.changed(batch_size=1, samples=3, input=inputs)
        batch = live_job(live_data(spec, HereAndNow(depth=inputs == "depth")), config, None, Ranks(1, 2)).data.epoch(0)[
            0
        ]
        assert batch.images.shape == (0, 1, 32, 28)
        assert batch.total == 1


def test_fewer_steps_than_epochs_are_refused(spec):
    with pytest.raises(SynthgenError, match=r"^--steps: value 1; give at least 2, one for each epoch"):
        live_job(live_data(spec, HereAndNow()), CONFIG, 1)


def test_workers_are_lowered_to_what_the_machine_carries():
    assert live_workers(None, 1, Resources(8, 64 * 10**9)) == (8, None)
    assert live_workers(None, 4, Resources(8, 64 * 10**9)) == (2, None)
    assert live_workers(2, 1, Resources(8, 64 * 10**9)) == (2, None)
    assert live_workers(9, 1, Resources(2, 64 * 10**9))[0] == 2
    assert live_workers(9, 1, Resources(2, 64 * 10**9))[1].startswith("workers: 2 instead of 9: 2 cores")
    assert live_workers(4, 1, Resources(8, 7 * 10**8))[0] == 2
    with pytest.raises(DatasetError, match="--workers: value 0; give 1 or more"):
        live_workers(0, 1, Resources(8, 64 * 10**9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "x", "--spec", "hand"], "--data, --spec: cannot be combined"),
        ([], "--data: missing; give a dataset, or with --spec a spec"),
        (["--data", "x", "--steps", "5"], "--steps: value 5; only applies to --spec"),
        (["--data", "x", "--workers", "2"], "--workers: value 2; only applies to --spec"),
        (["--spec", "hand", "--workers", "0"], "--workers: value 0; give 1 or more"),
        (["--spec", "hand", "--steps", "3"], "--steps: value 3; give at least 30"),
        (["--spec", "foot"], "foot: no such file and no built-in spec with that name"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["synthgen", "train", *arguments, "--out", str(tmp_path / "run")])
    monkeypatch.setattr(cli, "_leave", sys.exit)
    with pytest.raises(SystemExit) as end:
        cli.main()

    assert end.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err
