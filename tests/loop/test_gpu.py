"""Training on a GPU, where there is one: nearly the networks of a CPU. Without one, the CPU tries these tests."""

import pytest
import torch

from synthgen.training.experiments.tuning import predict_block
from synthgen.training.loop import train as train_module
from synthgen.training.loop.checkpoint import save_checkpoint
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device, find_device
from synthgen.training.loop.job import Keeping, dataset_job
from synthgen.training.loop.train import train
from synthgen.training.networks.paper_net import build_model
from synthgen.training.streaming.augmentation import Augmentation
from synthgen.training.streaming.shard_cache import ShardBlocks

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
PRECISIONS = ("float32", "bfloat16")
CONFIG = TrainingConfig(
    epochs=2, samples=140, batch_size=20, dropout=0.0, lr=0.01, augmentation=Augmentation(rotation_deg=5.0)
)
ROUNDING = 0.05
"""Part of the way from the first weights by which a rounded training may miss: bfloat16, or TF32 in a GPU's float32."""
pytestmark = pytest.mark.usefixtures("one_thread")


def device_of(device: str, precision: str = "auto") -> Device:
    return find_device(device, precision, threads=0)


def off(one, reference) -> float:
    """Return how far a network ended from where another did, as a part of the way that this one went."""
    domain, config = reference.domain, reference.config
    first = build_model(config.arch, reference.labels, len(domain.landmarks), config.dropout, config.seed).state_dict()
    return distance(one.weights, reference.weights) / distance(first, reference.weights)


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return sum(float((weights - other[name]).square().sum()) for name, weights in one.items()) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["paper", "heatmap"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_a_device_trains_nearly_what_the_cpu_trains(dataset, device, precision, arch):
    config = CONFIG.changed(arch=arch, epochs=1)
    reference = train(dataset_job(dataset, config), device_of("cpu", "float32"))
    trained = train(dataset_job(dataset, config), device_of(device, precision))

    assert {weights.dtype for weights in trained.weights.values()} == {torch.float32}
    assert {weights.device.type for weights in trained.weights.values()} == {"cpu"}
    assert off(trained, reference) <= (0 if (device, precision) == ("cpu", "float32") else ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_a_training_goes_on_with_its_dropout_and_momentum(dataset, tmp_path, monkeypatch, device, optimizer):
    config, found, kept = CONFIG.changed(dropout=0.5, optimizer=optimizer), device_of(device, "float32"), []
    monkeypatch.setattr(train_module, "save_checkpoint", lambda _, checkpoint: kept.append(checkpoint))
    whole = train(dataset_job(dataset, config), found, Keeping(tmp_path / "whole", save_every_s=0))
    monkeypatch.undo()
    save_checkpoint(tmp_path / "run", kept[8])

    resumed = train(dataset_job(dataset, config), found, Keeping(tmp_path / "run"))
    assert resumed.place == whole.place
    assert off(resumed, whole) <= (0 if device == "cpu" else ROUNDING)
    assert off(kept[8], whole) > 2 * ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["cpu", GPU])
def test_a_device_predicts_nearly_what_the_cpu_predicts(dataset, device, precision):
    network = train(dataset_job(dataset, CONFIG), device_of("cpu"))
    block = ShardBlocks(dataset, "test", "mask").block(0)
    there, here = (predict_block(network, block, one) for one in (device_of(device, precision), Device()))

    assert abs(there.points_px - here.points_px).max() <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("device", [GPU])
def test_a_compiled_network_trains_nearly_the_same(dataset, device):
    config = CONFIG.changed(epochs=1)
    plain, compiled = (
        train(dataset_job(dataset, config), find_device(device, compile_model=wanted)) for wanted in (False, True)
    )

    assert off(compiled, plain) <= ROUNDING
