"""The heatmap network: its coordinates are those of where its maps' mass lies."""

import math

import pytest
import torch
from torch import nn

from synthgen.errors import SynthgenError
from synthgen.specs.domain import Domain
from synthgen.training.loop.checkpoint import Checkpoint, Place, TrainedOn, load_checkpoint, save_checkpoint
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device
from synthgen.training.networks.base import landmark_loss
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.heatmap_net import HeatmapNet
from synthgen.training.networks.paper_net import build_model, count_parameters


class Maps(nn.Module):
    """Stands in for the last layer, and puts out given maps."""

    def __init__(self, maps):
        super().__init__()
        self.given = maps

    def forward(self, features):
        return self.given


def network(labels, maps):
    model = HeatmapNet(labels, maps.shape[1] // (2 if labels.depth else 1)).eval()
    model.maps = Maps(maps)
    return model


@pytest.mark.parametrize("reach", [0.5, 1.0])
@pytest.mark.parametrize(("column", "row"), [(0, 0), (5, 3), (23, 15)])
def test_all_mass_at_one_place_gives_the_centre_of_that_place(reach, column, row):
    labels = LabelSpace(48, 32, reach)
    maps = torch.zeros(1, 1, 16, 24)
    maps[0, 0, row, column] = 100
    found = labels.decode(network(labels, maps)(torch.zeros(1, 1, 32, 48)))

    assert torch.allclose(found, torch.tensor([[[2 * column + 1.0, 2 * row + 1.0]]]), atol=1e-4)


def test_mass_at_two_places_gives_the_point_between_them_and_the_mean_of_their_depths():
    labels = LabelSpace(32, 32, depth=True)
    maps = torch.zeros(1, 2, 16, 16)
    maps[0, 0, 4, 2] = maps[0, 0, 12, 10] = 50
    maps[0, 1, 4, 2], maps[0, 1, 12, 10] = 1.0, -3.0
    found = labels.decode(network(labels, maps)(torch.zeros(1, 1, 32, 32)))

    assert torch.allclose(found, torch.tensor([[[13.0, 17.0, -1.0]]]), atol=1e-4)


def test_flat_maps_give_the_middle():
    labels = LabelSpace(96, 96)

    assert network(labels, torch.zeros(2, 3, 48, 48))(torch.zeros(2, 1, 96, 96)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(96, 96), (76, 160), (33, 47), (16, 16)])
@pytest.mark.parametrize("depth", [False, True])
def test_any_patch_gives_one_label_for_each_coordinate(size, depth):
    labels = LabelSpace(*size, depth=depth)
    model = build_model("heatmap", labels, 5, 0.0, 0).eval()
    found = model(torch.zeros(2, 1, size[1], size[0]))

    assert found.shape == (2, 5 * labels.coordinates)
    assert found.isfinite().all()


def test_it_has_a_hundredth_of_the_papers_weights():
    labels = LabelSpace(96, 96)
    small, large = (count_parameters(build_model(arch, labels, 5, 0.0, 0)) for arch in ("heatmap", "paper"))

    assert small == 379_805
    assert small < large / 70


def test_every_place_sees_the_whole_patch():
    """The thumb is told from the little finger only by the hand around them."""
    model = build_model("heatmap", LabelSpace(96, 96), 1, 0.0, 0).double().eval()
    images = torch.rand(1, 1, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    heights = {}
    model.maps.register_forward_hook(lambda _module, _inputs, maps: heights.update(maps=maps))
    model(images)
    heights["maps"][0, 0, 24, 24].backward()

    assert (images.grad != 0).float().mean() > 0.99


@pytest.mark.slow
def test_it_learns_where_a_square_lies():
    labels = LabelSpace(32, 32)
    model = build_model("heatmap", labels, 1, 0.0, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(1)

    def batch(n=16):
        corners = torch.randint(2, 24, (n, 2), generator=generator)
        images = torch.zeros(n, 1, 32, 32)
        for image, (x, y) in zip(images, corners.tolist(), strict=True):
            image[0, y : y + 6, x : x + 6] = 1
        return images, (corners + 3.0)[:, None]

    for _ in range(60):
        images, points = batch()
        loss = model(images, labels.encode(points).flatten(1), len(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, points = batch()
    with torch.no_grad():
        errors = (labels.decode(model.eval()(images)) - points).norm(dim=2)

    assert errors.mean() < 1.5
    assert math.isfinite(float(loss.detach()))


def test_the_loss_is_that_of_the_coordinates_and_the_divergence_from_a_gaussian_by_hand():
    labels = LabelSpace(20, 16, reach=0.5)
    maps = torch.randn(2, 2, 8, 10, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[[3.0, 1.5], [6.2, 4.0]], [[torch.nan, torch.nan], [1.0, 5.9]]])
    model, targets = network(labels, maps), labels.encode(points)
    found = model(torch.zeros(2, 1, 16, 20), targets, 4.0)

    expected = landmark_loss(model(torch.zeros(2, 1, 16, 20)), targets, 4.0)
    for n, k in ((0, 0), (0, 1), (1, 1)):
        heat = maps[n, k].exp() / maps[n, k].exp().sum()
        x, y = points[n, k] / 2  # a map has half the patch's size
        rows, columns = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(10) + 0.5, indexing="ij")
        gaussian = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2)
        gaussian /= gaussian.sum()
        expected = expected + (gaussian * (gaussian / heat).log()).sum() / 4
    assert torch.isclose(found, expected)


def test_the_loss_of_maps_that_are_right_is_that_of_the_grid_alone():
    labels = LabelSpace(32, 32)
    points = torch.tensor([[[13.0, 17.0]]])
    columns = torch.arange(16) + 0.5
    maps = -0.5 * ((columns[None, :] - 6.5) ** 2 + (columns[:, None] - 8.5) ** 2)[None, None]

    assert abs(network(labels, maps)(torch.zeros(1, 1, 32, 32), labels.encode(points), 1.0)) < 1e-6


def test_landmarks_that_are_missing_or_far_outside_leave_gradients_finite():
    labels = LabelSpace(32, 32)
    model = build_model("heatmap", labels, 2, 0.0, 0)
    points = torch.tensor([[[torch.nan, torch.nan], [1000.0, -500.0]]])
    model(torch.rand(1, 1, 32, 32), labels.encode(points), 1.0).backward()

    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_patch_that_is_too_small_is_refused():
    with pytest.raises(SynthgenError, match="image: 15x40 pixels are too small for this network; give at least 16x16"):
        HeatmapNet(LabelSpace(15, 40), 2)


def test_a_checkpoint_brings_it_back(tmp_path):
    config = TrainingConfig(arch="heatmap", epochs=1, dropout=0.0)
    domain = Domain("hand", 32, 28, ("thumb", "index"), "{}")
    model = build_model("heatmap", LabelSpace(32, 28), 2, 0.0, 7).eval()
    history = (TrainedOn("dataset", "some hands", "0" * 64),)
    save_checkpoint(tmp_path, Checkpoint(domain, config, history, Place(1), dict(model.state_dict()), {}))
    images = torch.rand(3, 1, 28, 32, generator=torch.Generator().manual_seed(0))
    again = Device().place(load_checkpoint(tmp_path).model())

    with torch.no_grad():
        assert torch.allclose(again(images), model(images), atol=1e-5)
