import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from synthgen.errors import SpecError, SynthgenError
from synthgen.training.experiments.tuning import tuning_config
from synthgen.training.loop.config import TrainingConfig, config_names, load_config
from synthgen.training.loop.device import Device
from synthgen.training.loop.optimizer import build_optimizer
from synthgen.training.loop.out_of_memory import is_out_of_memory, largest_batch
from synthgen.training.loop.train import train_step
from synthgen.training.networks.base import LandmarkNet, landmark_loss
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.paper_net import PaperNet, build_model, count_parameters
from synthgen.training.streaming.preparation import Batch

# Table 1


@pytest.mark.parametrize(
    ("size", "landmarks", "parameters"),
    [((96, 96), 5, 27_913_098), ((76, 160), 9, 36_383_634), ((96, 96), 21, 27_978_666)],
)
def test_the_papers_network_has_its_number_of_parameters(size, landmarks, parameters):
    with torch.device("meta"):
        model = PaperNet(*size, 2 * landmarks)

    assert count_parameters(model) == parameters


def test_the_layers_are_those_of_table_1():
    with torch.device("meta"):
        model = PaperNet(96, 96, 10)
    layers = [
        layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.Dropout)
    ]
    convolutions = [(c.in_channels, c.out_channels, c.kernel_size[0], c.padding[0], c.stride[0])
                    for c in layers if isinstance(c, nn.Conv2d)]  # fmt: skip

    assert [type(layer).__name__ for layer in layers] == (
        ["Conv2d", "MaxPool2d"] * 2 + ["Conv2d"] + ["Linear", "Dropout"] * 2 + ["Linear"]
    )
    assert convolutions == [(1, 32, 5, 0, 1), (32, 32, 5, 0, 1), (32, 32, 3, 0, 1)]
    assert [(c.in_features, c.out_features) for c in layers if isinstance(c, nn.Linear)] == [
        (11_552, 2048), (2048, 2048), (2048, 10)
    ]  # fmt: skip
    assert sum(isinstance(layer, nn.ReLU) for layer in model.modules()) == 5
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.5}


def test_a_relu_after_each_pool_is_a_relu_after_each_convolution():
    """Values and gradients are the same, bit for bit, as in the paper's order."""
    ours = build_model("paper", LabelSpace(28, 32), 5, 0.0, 3)
    convolutions = [layer for layer in ours.features if isinstance(layer, nn.Conv2d)]
    pooled = [(convolution, nn.ReLU(), nn.MaxPool2d(2)) for convolution in convolutions[:2]]
    as_printed = nn.Sequential(*pooled[0], *pooled[1], convolutions[2], nn.ReLU())
    images = torch.randn(6, 1, 32, 28, generator=torch.Generator().manual_seed(0)).round()  # with ties
    results = []
    for features in (ours.features, as_printed):
        ours.zero_grad()
        labels = ours.regressor(features(images))
        labels.square().sum().backward()
        results.append([labels.detach(), *(parameter.grad.clone() for parameter in ours.parameters())])

    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_patch_that_is_too_small_is_refused():
    assert PaperNet(24, 24, 2)(torch.zeros(1, 1, 24, 24)).shape == (1, 2)
    with pytest.raises(SynthgenError, match="image: 23x40 pixels are too small for this network; give at least 24x24"):
        PaperNet(23, 40, 2)


def test_weights_are_a_function_of_their_seed_and_leave_torch_alone():
    state = torch.get_rng_state()
    one, same, other = (build_model("paper", LabelSpace(24, 24), 1, 0.5, seed).state_dict() for seed in (0, 0, 1))

    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["regressor.7.weight"], other["regressor.7.weight"])
    assert torch.equal(state, torch.get_rng_state())


# The loss


def test_the_loss_is_half_the_squared_error_summed_and_averaged_over_the_batch():
    labels = torch.tensor([[1.0, 2.0], [0.0, -1.0]], requires_grad=True)
    loss = landmark_loss(labels, torch.tensor([[0.0, 0.0], [3.0, -1.0]]))
    loss.backward()

    assert loss.item() == (0.5 * (1 + 4) + 0.5 * 9) / 2
    assert labels.grad.tolist() == [[0.5, 1.0], [-1.5, 0.0]]


def test_what_is_not_known_counts_for_nothing():
    labels = torch.tensor([[1.0, 2.0], [7.0, 8.0]], requires_grad=True)
    loss = landmark_loss(labels, torch.tensor([[0.0, torch.nan], [torch.nan, torch.nan]]))
    loss.backward()

    assert loss.item() == 0.25
    assert labels.grad.tolist() == [[0.5, 0.0], [0.0, 0.0]]


def test_parts_of_a_batch_add_up_to_the_batch():
    labels, targets = torch.randn(10, 4), torch.randn(10, 4)
    parts = [landmark_loss(labels[rank::3], targets[rank::3], 10 / 3) for rank in range(3)]

    assert torch.isclose(sum(parts) / 3, landmark_loss(labels, targets))
    assert landmark_loss(labels[:0], targets[:0], 2).item() == 0


# The labels


@pytest.mark.parametrize("reach", [1.0, 0.5])
def test_labels_are_those_of_equation_1_in_either_range(reach):
    space = LabelSpace(76, 160, reach)
    corners = np.array([[[0.0, 0.0], [76.0, 160.0], [38.0, 80.0], [57.0, 20.0]]])
    w, h = 76, 160
    equation = [[(x - w / 2) / w, (y - h / 2) / h] for x, y in corners[0]]  # as printed, in [-0.5, 0.5]

    assert space.encode(corners).reshape(4, 2).tolist() == (2 * reach * np.array(equation)).tolist()
    assert space.encode(corners)[0, :6].tolist() == [-reach, -reach, reach, reach, 0, 0]


numbers = st.floats(-500, 500)


@given(st.sampled_from([1.0, 0.5]), st.booleans(), st.integers(16, 2048), st.integers(16, 2048), st.data())
def test_labels_and_landmarks_are_each_others_inverse(reach, depth, width, height, data):
    space = LabelSpace(width, height, reach, depth)
    rows = st.lists(numbers, min_size=space.coordinates, max_size=space.coordinates)
    points = np.array(data.draw(st.lists(st.lists(rows, min_size=3, max_size=3), min_size=1, max_size=4)))
    labels = space.encode(points)

    assert labels.shape == (len(points), 3 * space.coordinates)
    assert np.abs(space.decode(labels) - points).max() <= 1e-12 * max(1000, width, height)
    assert np.array_equal(space.encode(torch.from_numpy(points)).numpy(), labels)
    assert np.array_equal(space.decode(torch.from_numpy(labels)).numpy(), space.decode(labels))
    if depth:
        assert np.array_equal(labels.reshape(-1, 3, 3)[:, :, 2], points[:, :, 2])


# The learning rate, and a step


def test_the_papers_rate_falls_after_each_epoch():
    config = load_config("paper_hand")

    assert [config.lr_at(epoch, 0.7) for epoch in (0, 1, 2)] == pytest.approx([0.01, 0.007943, 0.0063091249])
    assert config.lr_at(29, 0.0) == pytest.approx(1.2576e-5, rel=1e-4)


def test_the_rate_of_fine_tuning_falls_once():
    config = tuning_config(load_config("paper_hand"))

    assert [config.lr_at(epoch, 0.5) for epoch in (0, 499, 500, 699)] == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_the_quick_rate_ends_at_the_papers_last():
    config = load_config("quick_hand")
    rates = [config.lr_at(epoch, part) for epoch in range(6) for part in (0, 0.5)]

    assert rates[0] == 0.0003
    assert config.lr_at(3, 0) == pytest.approx((0.0003 + 1.2576e-5) / 2)
    assert config.lr_at(5, 1) == pytest.approx(0.01 * 0.7943**29, rel=1e-4)
    assert rates == sorted(rates, reverse=True)


class Line(LandmarkNet):
    """A network of one number: its label is that number times the image's first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))

    def outputs(self, images):
        return images[:, 0, 0, :1] * self.weight


def test_steps_are_sgd_with_momentum_by_hand():
    model, rates, weight, speed = Line(), (0.1, 0.05, 0.02), 2.0, 0.0
    optimizer = build_optimizer(model, TrainingConfig())
    batch = Batch(torch.tensor([1, 3], dtype=torch.uint8).reshape(2, 1, 1, 1), torch.tensor([[1.0], [0.5]]),
                  torch.zeros(2), torch.zeros(2), 2, torch.ones(2, 1))  # fmt: skip
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        loss = train_step(model, optimizer, batch, Device(channels_last=False))
        errors = [weight - 1, 3 * weight - 0.5]
        gradient = (errors[0] + 3 * errors[1]) / 2
        assert math.isclose(float(loss), 0.25 * (errors[0] ** 2 + errors[1] ** 2), rel_tol=1e-6)
        speed = 0.9 * speed + gradient
        weight -= rate * speed
        assert math.isclose(model.weight.item(), weight, rel_tol=1e-5)


def test_steps_of_adam_by_hand():
    model, config = (
        Line(),
        TrainingConfig(optimizer="adam", lr=0.1, betas=(0.8, 0.9), weight_decay=0.5),
    )
    optimizer, weight, speed, squares = build_optimizer(model, config), 2.0, 0.0, 0.0
    batch = Batch(torch.ones(1, 1, 1, 1, dtype=torch.uint8), torch.tensor([[1.0]]), torch.zeros(1), torch.zeros(1), 1,
                  torch.ones(1, 1))  # fmt: skip
    for step in range(1, 5):
        gradient = weight - 1
        train_step(model, optimizer, batch, Device(channels_last=False))
        speed, squares = 0.8 * speed + 0.2 * gradient, 0.9 * squares + 0.1 * gradient**2
        move = speed / (1 - 0.8**step) / (math.sqrt(squares / (1 - 0.9**step)) + 1e-8)
        weight = weight * (1 - 0.1 * 0.5) - 0.1 * move
        assert math.isclose(model.weight.item(), weight, rel_tol=1e-5)


@pytest.mark.parametrize(("clip", "step"), [(None, 3.25), (100.0, 3.25), (0.5, 0.5)])
def test_a_long_gradient_is_shortened(clip, step):
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    batch = Batch(torch.tensor([1, 3], dtype=torch.uint8).reshape(2, 1, 1, 1), torch.tensor([[1.0], [4.1666667]]),
                  torch.zeros(2), torch.zeros(2), 2, torch.ones(2, 1))  # fmt: skip

    train_step(model, optimizer, batch, Device(channels_last=False), clip)

    assert math.isclose(model.weight.item(), 2 - step, rel_tol=1e-5)


# Training configs


@pytest.mark.parametrize(("inputs", "clip"), [("mask", None), ("depth", 1.0)])
def test_fine_tuning_is_the_papers_whatever_came_before(inputs, clip):
    tuning = tuning_config(load_config("quick_hand").changed(input=inputs, optimizer="adam"))

    assert (tuning.optimizer, tuning.epochs, tuning.batch_size, tuning.momentum) == ("sgd", 700, 100, 0.9)
    assert tuning.clip_grad_norm == clip
    assert [tuning.lr_at(epoch, 0.5) for epoch in (0, 499)] == [0.01, 0.01]
    assert math.isclose(tuning.lr_at(500, 0.0), 0.001)


def test_the_built_in_configs_are_those_of_the_paper():
    assert config_names() == ("paper_body", "paper_hand", "quick_body", "quick_hand", "quick_heatmap")
    for name in config_names():
        config = load_config(name)
        quick, heatmap = name.startswith("quick"), name.endswith("heatmap")
        adam = quick and not heatmap
        assert (config.arch, config.dropout) == (("heatmap", 0.0) if heatmap else ("paper", 0.5))
        assert (config.batch_size, config.label_range) == (100, 1.0)
        assert (config.momentum, config.betas) == ((None, (0.9, 0.99)) if adam else (0.9, None))
        assert (config.weight_decay, config.clip_grad_norm) == (0.0, None)
        assert (config.optimizer, config.lr) == (("adam", 0.0003) if adam else ("sgd", 0.01))
        assert (config.epochs, config.samples) == ((2 if heatmap else 6, 60_000) if quick else (30, None))
        assert config.lr_schedule.kind == ("cosine" if quick else "exponential")
        assert (config.augmentation is not None) == quick


def test_a_file_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "epochs: 2\nlabel_range: 0.5\naugmentation: {rotation_deg: 10}\n"
        "lr: 0.1\nlr_schedule: {kind: exponential, gamma: 0.5}\n"
    )
    config = load_config(path)

    assert config == TrainingConfig(name="mine", epochs=2, label_range=0.5, augmentation={"rotation_deg": 10.0},
                            lr=0.1, lr_schedule={"kind": "exponential", "gamma": 0.5})  # fmt: skip
    assert config.changed(input="depth", epochs=None) == config.model_copy(update={"input": "depth"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", 'mine.yaml:1: epoch: unknown key; did you mean "epochs"?'),
        ("batch_size: many", 'mine.yaml:1: batch_size: value "many"; give a whole number'),
        ("epochs: 3\nlabel_range: 2", "mine.yaml:2: label_range: value 2; give 1 or 0.5"),
        ("lr: 0", "mine.yaml:1: lr: value 0; give a number above 0"),
        ("lr_schedule: {kind: cosine, final: 0}", "mine.yaml:1: lr_schedule.final: value 0; give a number above 0"),
        ("lr_schedule: {kind: cos}", 'lr_schedule: unknown kind "cos"; did you mean "cosine"?'),
        ("optimizer: adam\nmomentum: 0.9", "yaml:2: momentum: optimizer adam does not have it; remove it, or"),
        ("betas: [0.9, 0.99]", "mine.yaml:1: betas: optimizer sgd does not have it; remove it, or give momentum"),
        ("seed: 1\nbatch: 100", "mine.yaml:2: batch: was renamed; use batch_size"),
        ("clip: 1.0", "mine.yaml:1: clip: was renamed; use clip_grad_norm"),
        ("optimizer: adam\nsquares: 0.99", "mine.yaml:2: squares: was renamed; use betas (momentum and squares)"),
        ("rate: {first: 0.1, last: 0.01}", "mine.yaml:1: rate: was renamed; use lr (rate.first) and lr_schedule"),
        ("momentum: 1", "momentum: value 1; give a number below 1"),
        ("input: both", 'input: value "both"; use one of: mask, depth'),
        ("augmentation: {mirror: 1}", 'augmentation.mirror: unknown key'),
    ],
)  # fmt: skip
def test_configs_are_checked(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)

    with pytest.raises(SpecError) as caught:
        load_config(tmp_path / "mine.yaml")
    assert message in str(caught.value)


def test_an_unknown_config_is_told_with_the_nearest():
    with pytest.raises(SpecError, match=r'quick_hands: no such file.*did you mean "quick_hand"'):
        load_config("quick_hands")


# Memory


def test_the_largest_batch_that_fits_is_found_by_halving():
    tried = []

    def attempt(samples):
        tried.append(samples)
        if samples > 13:
            raise torch.OutOfMemoryError

    assert largest_batch(attempt, 100) == 12
    assert tried == [100, 50, 25, 12]
    assert largest_batch(lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError), 100) == 0


def test_only_a_lack_of_memory_is_one():
    def attempt(_):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        largest_batch(attempt, 4)
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.float32)
    assert is_out_of_memory(caught.value)
