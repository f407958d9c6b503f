import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from support.fake_balls import make_dataset, small_spec
from support.paths import import_paths
from support.weights import same_network

from synthgen.datasets.opening import open_dataset
from synthgen.errors import SynthgenError
from synthgen.training.loop import train as train_module
from synthgen.training.loop.checkpoint import CheckpointError, has_checkpoint, load_checkpoint, save_checkpoint
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device, find_device
from synthgen.training.loop.job import Keeping, dataset_job
from synthgen.training.loop.train import evaluate, train
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.paper_net import PaperNet, build_model
from synthgen.training.streaming.augmentation import Augmentation

CONFIG = TrainingConfig(
    epochs=2,
    samples=140,
    batch_size=20,
    lr=0.01,
    lr_schedule={"kind": "exponential", "gamma": 0.5},
    augmentation=Augmentation(rotation_deg=5.0, shift=0.05),
)
DEVICE = Device(threads=0)
pytestmark = pytest.mark.usefixtures("one_thread")
"""The children of these tests train with one thread, and so do they."""


@pytest.fixture(scope="module")
def uninterrupted_run(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "whole"
    train(dataset_job(dataset, CONFIG), DEVICE, Keeping(run, log_every=4))
    return run


@pytest.fixture(scope="module")
def uninterrupted(uninterrupted_run):
    return load_checkpoint(uninterrupted_run)


def lines(run) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in {"samples_per_s", "seconds"}} for row in csv.DictReader(file)]


class Listener:
    def __init__(self):
        self.said, self.shown = [], []

    def say(self, line):
        self.said.append(line)

    def show(self, progress):
        self.shown.append(progress)


@pytest.mark.slow
def test_a_network_learns_where_the_landmarks_are(dataset):
    config = TrainingConfig(
        epochs=10, batch_size=20, dropout=0.0, lr=0.02, lr_schedule={"kind": "cosine", "final": 1e-3}, artefacts=False
    )
    job = dataset_job(dataset, config)
    trained = train(job, DEVICE)
    before = evaluate(build_model("paper", LabelSpace(28, 32), 5, 0.5, 0), job.validation, trained.labels, DEVICE)
    after = evaluate(trained.model(), job.validation, trained.labels, DEVICE)

    assert trained.finished
    assert before > 4
    assert after < 0.45 * before


@pytest.mark.slow
def test_the_result_is_a_function_of_the_config(dataset, uninterrupted):
    assert same_network(uninterrupted, train(dataset_job(dataset, CONFIG), DEVICE))
    assert not same_network(uninterrupted, train(dataset_job(dataset, CONFIG.changed(seed=1)), DEVICE))
    assert not same_network(uninterrupted, train(dataset_job(dataset, CONFIG.changed(artefacts=False)), DEVICE))


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2])
def test_threads_and_what_is_kept_change_nothing(dataset, uninterrupted, tmp_path, threads):
    keeping = Keeping(tmp_path / "run", save_every_s=0, log_every=3)

    assert same_network(uninterrupted, train(dataset_job(dataset, CONFIG), replace(DEVICE, threads=threads), keeping))


def test_training_leaves_torchs_generators_alone(dataset):
    state = torch.get_rng_state()
    train(dataset_job(dataset, CONFIG.changed(epochs=1, samples=20)), DEVICE)

    assert torch.equal(state, torch.get_rng_state())


CHILD = """
import sys, time, torch
sys.path[:0] = {paths!r}
from test_train import DEVICE, CONFIG
from synthgen.training.loop import train as t
from synthgen.training.loop.job import Keeping, dataset_job
from synthgen.datasets.opening import open_dataset
torch.set_num_threads(1)
old = t.save_checkpoint
def save(folder, checkpoint):
    old(folder, checkpoint)
    print(checkpoint.place.steps, flush=True)
t.save_checkpoint = save
step = t.train_step
t.train_step = lambda *arguments: time.sleep(0.1) or step(*arguments)
job = dataset_job(open_dataset({folder!r}), CONFIG)
t.train(job, DEVICE, Keeping(__import__("pathlib").Path({run!r}), save_every_s={every}, log_every=4))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("every", "kill_after"), [(0, 3), (0.25, 8)])
def test_a_training_that_was_killed_goes_on_to_the_same_weights(
    balls, dataset, uninterrupted, uninterrupted_run, tmp_path, every, kill_after
):
    run = tmp_path / "run"
    script = CHILD.format(paths=import_paths(__file__), folder=str(balls), run=str(run), every=every)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) >= kill_after:
                time.sleep(0.13)  # into the next update
                os.kill(child.pid, signal.SIGKILL)
                break
        assert child.wait() == -signal.SIGKILL
    stopped, listener = load_checkpoint(run), Listener()
    resumed = train(dataset_job(dataset, CONFIG), DEVICE, Keeping(run, log_every=4), listener)

    assert kill_after <= stopped.place.steps < 14
    assert listener.said == [f"{run}: resumes in epoch {stopped.place.epoch + 1} after {stopped.place.steps} steps"]
    assert same_network(resumed, uninterrupted)
    assert same_network(load_checkpoint(run), uninterrupted)
    assert lines(run) == lines(uninterrupted_run)


@pytest.mark.slow
def test_any_place_can_be_gone_on_from(dataset, uninterrupted, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(train_module, "save_checkpoint", lambda _, checkpoint: kept.append(checkpoint))
    train(dataset_job(dataset, CONFIG), DEVICE, Keeping(tmp_path / "run", save_every_s=0))
    monkeypatch.undo()

    assert [c.place.steps for c in kept] == list(range(1, 15))
    assert [c.place.position for c in kept[:7]] == [20 * n for n in range(1, 7)] + [0]
    for checkpoint in kept[2:-1:4]:
        run = tmp_path / f"from-{checkpoint.place.steps}"
        save_checkpoint(run, checkpoint)
        assert same_network(train(dataset_job(dataset, CONFIG), DEVICE, Keeping(run)), uninterrupted)


@pytest.mark.slow
def test_adam_goes_on_from_any_place_with_what_it_remembers(dataset, tmp_path, monkeypatch):
    config, kept = CONFIG.changed(optimizer="adam", lr=0.001), []
    monkeypatch.setattr(train_module, "save_checkpoint", lambda _, checkpoint: kept.append(checkpoint))
    whole = train(dataset_job(dataset, config), DEVICE, Keeping(tmp_path / "run", save_every_s=0))
    monkeypatch.undo()

    assert not whole.optimizer_state
    for number in (1, 8):
        halfway = kept[number]
        save_checkpoint(tmp_path / f"{number}", halfway)
        save_checkpoint(tmp_path / f"{number}-forgetful", replace(halfway, optimizer_state={}))
        keys = {f"{key}/{name}" for key in ("exp_avg", "exp_avg_sq") for name in halfway.weights}
        assert set(halfway.optimizer_state) == keys
        assert same_network(train(dataset_job(dataset, config), DEVICE, Keeping(tmp_path / f"{number}")), whole)
        forgetful = train(dataset_job(dataset, config), DEVICE, Keeping(tmp_path / f"{number}-forgetful"))
        assert not same_network(forgetful, whole)


NAME = "regressor.7.weight"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "change", "message"),
    [
        ("sgd", {f"momentum_buffer/{NAME}": torch.zeros(10, 1)}, f"momentum_buffer/{NAME} is 10x1, not "),
        ("adam", {f"exp_avg/{NAME}": torch.zeros(10, 1)}, f"exp_avg/{NAME} is 10x1, not "),
        ("adam", {f"exp_avg/{NAME}": None}, f"exp_avg/{NAME} is missing"),
        ("adam", {f"exp_avg_sq/{NAME}": None}, f"exp_avg_sq/{NAME} is missing"),
    ],
)
def test_an_optimizer_state_that_does_not_fit_is_refused(dataset, tmp_path, monkeypatch, optimizer, change, message):
    config, kept = CONFIG.changed(optimizer=optimizer, epochs=1), []
    monkeypatch.setattr(train_module, "save_checkpoint", lambda _, checkpoint: kept.append(checkpoint))
    train(dataset_job(dataset, config), DEVICE, Keeping(tmp_path / "run", save_every_s=0))
    monkeypatch.undo()
    state = {name: tensor for name, tensor in (kept[0].optimizer_state | change).items() if tensor is not None}
    save_checkpoint(tmp_path / "run", replace(kept[0], optimizer_state=state))

    with pytest.raises(SynthgenError, match=f"optimizer: {message}.*; restore the checkpoint"):
        train(dataset_job(dataset, config), DEVICE, Keeping(tmp_path / "run"))


@pytest.mark.slow
def test_short_epochs_are_not_all_saved(dataset, uninterrupted, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(train_module, "save_checkpoint", lambda _, checkpoint: kept.append(checkpoint))
    train(dataset_job(dataset, CONFIG), DEVICE, Keeping(tmp_path / "run"))

    assert CONFIG.epochs > 1
    assert [same_network(checkpoint, uninterrupted) for checkpoint in kept] == [True]


def test_a_training_that_has_ended_is_not_done_again(dataset, tmp_path, monkeypatch):
    keeping, config = Keeping(tmp_path / "run"), CONFIG.changed(epochs=1, samples=40)
    first = train(dataset_job(dataset, config), DEVICE, keeping)
    monkeypatch.setattr(train_module, "train_step", None)

    assert same_network(first, train(dataset_job(dataset, config), DEVICE, keeping))
    assert first.optimizer_state == {}


@pytest.mark.parametrize(
    ("changes", "message"), [({"epochs": 9}, "config.epochs: 1 there, 9 here"), ({"seed": 5}, "config.seed: 0 there")]
)
def test_another_training_in_the_same_folder_is_refused(dataset, tmp_path, changes, message):
    keeping, config = Keeping(tmp_path / "run"), CONFIG.changed(epochs=1, samples=20)
    train(dataset_job(dataset, config), DEVICE, keeping)

    with pytest.raises(CheckpointError, match=rf"run: contains another training .{message}.*; choose another --out"):
        train(dataset_job(dataset, config.changed(**changes)), DEVICE, keeping)


def test_the_same_config_on_other_data_is_refused(dataset, tmp_path):
    other = open_dataset(make_dataset(tmp_path / "other", small_spec(60)))
    keeping, config = Keeping(tmp_path / "run"), CONFIG.changed(epochs=1, samples=20)
    train(dataset_job(dataset, config), DEVICE, keeping)

    with pytest.raises(CheckpointError, match=r"trained on synthgen-hand-v1 there, .* with other content here"):
        train(dataset_job(other, config), DEVICE, keeping)


@pytest.mark.slow
def test_weights_of_a_network_are_what_is_begun_with(dataset, uninterrupted):
    config = CONFIG.changed(epochs=1, samples=20, lr=1e-12)
    tuned = train(dataset_job(dataset, config, weights=uninterrupted.weights), DEVICE)
    wrong = {name: tensor[:1] for name, tensor in uninterrupted.weights.items()}

    assert all(torch.allclose(tuned.weights[n], uninterrupted.weights[n], atol=1e-6) for n in tuned.weights)
    with pytest.raises(CheckpointError, match="weights: do not match network paper for this data"):
        train(dataset_job(dataset, config, weights=wrong), DEVICE)


@pytest.mark.slow
def test_the_log_and_the_listener_are_told(dataset, tmp_path):
    listener, run = Listener(), tmp_path / "run"
    train(dataset_job(dataset, CONFIG), DEVICE, Keeping(run, log_every=5, tensorboard=True), listener)
    rows = lines(run)

    assert [int(row["step"]) for row in rows] == [5, 7, 10, 14]
    assert [row["epoch"] for row in rows] == ["1"] * 2 + ["2"] * 2
    assert [float(row["lr"]) for row in rows] == [0.01] * 2 + [0.005] * 2
    assert [row["validation_px"] != "" for row in rows] == [False, True, False, True]
    assert [(p.steps, p.all_steps, p.epoch, p.epochs) for p in listener.shown] == [
        (int(row["step"]), 14, int(row["epoch"]), 2) for row in rows
    ]
    assert all(p.samples_per_s > 0 and p.seconds_left >= 0 for p in listener.shown)
    assert any((run / "tensorboard").iterdir())


def test_depth_networks_are_trained_on_three_numbers_a_landmark(dataset):
    trained = train(dataset_job(dataset, CONFIG.changed(input="depth", epochs=1)), DEVICE)

    assert trained.labels.depth
    assert trained.model()(torch.zeros(2, 1, 32, 28)).shape == (2, 15)


@pytest.mark.slow
def test_half_precision_and_plain_layouts_train_nearly_the_same(dataset):
    config = CONFIG.changed(epochs=1, dropout=0.0)
    plain, last, half = (
        train(dataset_job(dataset, config), replace(DEVICE, **changes))
        for changes in ({"channels_last": False}, {}, {"bf16": True})
    )
    name = "regressor.7.weight"

    assert torch.allclose(plain.weights[name], last.weights[name], atol=1e-5)
    assert torch.allclose(plain.weights[name], half.weights[name], atol=3e-3)
    assert half.weights[name].dtype == torch.float32


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="nothing to compile with")
def test_a_compiled_network_trains_nearly_the_same(dataset):
    config = CONFIG.changed(epochs=1, dropout=0.0)
    plain, compiled = (train(dataset_job(dataset, config), replace(DEVICE, compile=wanted)) for wanted in (False, True))

    assert compiled.weights.keys() == plain.weights.keys()
    for name, weights in plain.weights.items():
        assert torch.allclose(weights, compiled.weights[name], atol=1e-4), name


def test_nothing_to_compile_with_is_known_before_the_training(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert find_device("cpu", compile_model=True).compile

    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SynthgenError, match=r"--compile: needs a C\+\+ compiler"):
        find_device("cpu", compile_model=True)


RANK = """
import os, sys, torch
sys.path[:0] = {paths!r}
from pathlib import Path
from test_train import CONFIG
from synthgen.training.loop.job import Keeping, dataset_job
from synthgen.training.loop.device import find_device, processes
from synthgen.datasets.opening import open_dataset
from synthgen.training.loop.train import train
torch.set_num_threads(1)
device = find_device("cpu", threads=1)
with processes(device):
    config = CONFIG.changed(dropout=0.0, batch_size={batch}, samples=137, epochs=1)
    train(dataset_job(open_dataset({folder!r}), config, device.ranks), device, Keeping(Path({run!r})))
    assert device.same_everywhere("one") and not device.same_everywhere(os.environ["RANK"])
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_does(balls, dataset, tmp_path):
    batch, run = 17, tmp_path / "run"  # of 137 samples: the last batch has one, so one process has none
    script = RANK.format(paths=import_paths(__file__), folder=str(balls), run=str(run), batch=batch)
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29617"}
    children = [
        subprocess.Popen([sys.executable, "-c", script], env={**common, "RANK": str(r), "LOCAL_RANK": str(r)})
        for r in range(2)
    ]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    alone = tmp_path / "alone"
    config = CONFIG.changed(dropout=0.0, batch_size=batch, samples=137, epochs=1)
    one = train(dataset_job(dataset, config), DEVICE, Keeping(alone))
    two = load_checkpoint(run)

    assert all(torch.allclose(one.weights[name], two.weights[name], atol=2e-6) for name in one.weights)
    for row, other in zip(lines(run), lines(alone), strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-4)
        assert float(row["validation_px"]) == pytest.approx(float(other["validation_px"]), rel=1e-3)


def test_a_lack_of_memory_says_which_batch_fits(dataset, monkeypatch):
    old = PaperNet.outputs

    def outputs(self, images):
        if len(images) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return old(self, images)

    monkeypatch.setattr(PaperNet, "outputs", outputs)
    with pytest.raises(
        SynthgenError, match="batch_size: value 20 does not fit into the memory of cpu; 5 fits, set batch_size to it"
    ):
        train(dataset_job(dataset, CONFIG), DEVICE)


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory(dataset, monkeypatch):
    def step(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(train_module, "train_step", step)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(dataset_job(dataset, CONFIG), DEVICE)


@pytest.mark.parametrize(("clip", "fix"), [(None, "set clip_grad_norm to 1"), (1e30, "lower clip_grad_norm")])
def test_a_loss_that_is_no_number_ends_the_training(dataset, tmp_path, clip, fix):
    config = CONFIG.changed(lr=1e9, clip_grad_norm=clip, samples=100)
    with pytest.raises(
        SynthgenError,
        match=rf"^lr: value 1e\+09; the loss is (nan|inf) after .* lower lr or {fix} in the training config$",
    ):
        train(dataset_job(dataset, config), DEVICE, Keeping(tmp_path / "run"))

    assert not has_checkpoint(tmp_path / "run")


def test_weights_that_are_no_numbers_are_never_kept(dataset, tmp_path):
    config = CONFIG.changed(lr=1e42, samples=CONFIG.batch_size, epochs=1)  # its only loss is a number
    with pytest.raises(
        SynthgenError, match=r"^lr: value 1e\+42; the weights contain NaN or infinity after 1 steps, lower"
    ):
        train(dataset_job(dataset, config), DEVICE, Keeping(tmp_path / "run"))

    assert not has_checkpoint(tmp_path / "run")


@pytest.mark.parametrize(
    ("device", "fault"), [("gpu", "give auto, cpu, cuda"), ("cuda:99", "torch finds"), ("cpu:1", "give")]
)
def test_a_device_that_is_not_there_is_refused(device, fault):
    with pytest.raises(SynthgenError, match=f"--device: value {device}; {fault}"):
        find_device(device)


@pytest.mark.parametrize(("precision", "bf16"), [("auto", False), ("float32", False), ("bfloat16", True)])
def test_the_precision_is_float32_on_a_cpu_unless_asked_otherwise(precision, bf16):
    device = find_device("cpu", precision)

    with device.precision():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert device.bf16 == bf16
    assert product.dtype == (torch.bfloat16 if bf16 else torch.float32)


def test_the_machine_of_torchrun_is_its_process(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    device = find_device("cpu")

    assert (device.ranks.rank, device.ranks.count) == (2, 4)
    assert not device.bf16
