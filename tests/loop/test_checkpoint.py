import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.weights import same_weights

from synthgen.specs.domain import Domain
from synthgen.training.loop import checkpoint as checkpoint_module
from synthgen.training.loop.checkpoint import (
    Checkpoint,
    CheckpointError,
    Place,
    TrainedOn,
    check_same_domain,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.networks.coordinates import LabelSpace
from synthgen.training.networks.paper_net import build_model

DOMAIN = Domain("hand", 28, 32, ("thumb", "little"), '{"aspect": "keep", "margin": 0.05}')
CONFIG = TrainingConfig(name="quick_hand", epochs=3, label_range=0.5)
DATA = TrainedOn("dataset", "synthgen-hand-v1", "ab" * 32)


def network(seed: int = 0, steps: int = 7, **changes) -> Checkpoint:
    weights = build_model("paper", LabelSpace(28, 32), 2, 0.5, seed).state_dict()
    state = {f"momentum_buffer/{name}": tensor * 0.5 for name, tensor in weights.items()}
    place = Place(epoch=1, position=200, steps=steps, loss_sum=0.1 + 0.2, loss_count=3)
    return Checkpoint(DOMAIN, CONFIG, (DATA,), place, weights, state, **changes)


def card(folder) -> dict:
    return json.loads((folder / "checkpoint.json").read_text())


def rewrite(folder, **changes) -> None:
    (folder / "checkpoint.json").write_text(json.dumps(card(folder) | changes))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "run"
    save_checkpoint(folder, network())
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def test_what_is_saved_comes_back_exactly(saved):
    was, found = network(), load_checkpoint(saved)

    assert replace(found, weights={}, optimizer_state={}) == replace(was, weights={}, optimizer_state={})
    assert same_weights(found.weights, was.weights)
    assert same_weights(found.optimizer_state, was.optimizer_state)
    assert not found.finished


def test_it_says_what_the_network_is_for(saved):
    told = card(saved)

    assert told["domain"] == {"model": "hand", "width": 28, "height": 32, "landmarks": ["thumb", "little"],
                              "framing": '{"aspect": "keep", "margin": 0.05}'}  # fmt: skip
    assert told["label_range"] == [-0.5, 0.5]
    assert told["history"] == [{"kind": "dataset", "name": "synthgen-hand-v1", "sha256": "ab" * 32}]
    assert told["config"]["arch"] == "paper"
    assert sorted(path.name for path in saved.iterdir()) == [
        "checkpoint.json", "optimizer-000000007.safetensors", "weights-000000007.safetensors"
    ]  # fmt: skip


def test_the_network_predicts_what_it_did(saved):
    images = torch.rand(3, 1, 32, 28)
    was = build_model("paper", LabelSpace(28, 32), 2, 0.5, 0).eval()
    found = load_checkpoint(saved).model()

    assert not found.training
    assert torch.equal(found(images), was(images))
    found.regressor[1].weight.data.zero_()
    assert not torch.equal(load_checkpoint(saved).model()(images), found(images))


def test_weights_in_another_order_of_memory_are_saved_as_they_are(tmp_path):
    was = network()
    moved = {n: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in was.weights.items()}
    save_checkpoint(tmp_path, replace(was, weights=moved))

    assert same_weights(load_checkpoint(tmp_path).weights, was.weights)


def test_a_checkpoint_replaces_the_one_before(folder):
    save_checkpoint(folder, replace(network(1, steps=9), optimizer_state={}))

    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.json", "weights-000000009.safetensors"]
    assert same_weights(load_checkpoint(folder).weights, network(1).weights)
    assert load_checkpoint(folder).optimizer_state == {}


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_save_that_is_cut_off_leaves_the_one_before(folder, monkeypatch, stop):
    written = []

    def write(path, data, old=checkpoint_module.write_file):
        if len(written) == stop:
            raise KeyboardInterrupt
        written.append(path)
        old(path, data)

    monkeypatch.setattr(checkpoint_module, "write_file", write)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, network(1, steps=9))
    monkeypatch.undo()

    assert same_weights(load_checkpoint(folder).weights, network().weights)
    save_checkpoint(folder, network(1, steps=9))
    assert len(list(folder.iterdir())) == 3


def test_a_folder_without_one_is_told(tmp_path):
    assert not has_checkpoint(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"checkpoint.json: is missing; give a folder that `synthgen train` wrote"
    ):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 4}, "version 4 is newer than 3, which this program knows; update synthgen"),
        ({"version": "1"}, "version '1' is newer"),
        ({"format": "other"}, "is not a synthgen checkpoint"),
        ({"domain": {"width": 3}}, "is damaged"),
        ({"config": {"arch": "other"}}, "is damaged"),
        ({"place": {"epoch": 1, "week": 2}}, "is damaged"),
        ({"files": {}}, "is damaged"),
        ({"history": 3}, "is damaged"),
    ],
)
def test_the_card_is_checked(folder, changes, message):
    rewrite(folder, **changes)

    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [1, 2])
def test_a_checkpoint_of_an_earlier_version_is_refused_with_the_new_keys(folder, version):
    rewrite(folder, version=version)

    with pytest.raises(
        CheckpointError,
        match=rf"checkpoint.json: version {version} is of synthgen 0.1.0 \(recipe is now config, .*\); train it again",
    ):
        load_checkpoint(folder)


def test_a_card_that_is_no_json_is_refused(folder):
    (folder / "checkpoint.json").write_text("{")

    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


def test_a_network_larger_than_its_file_is_refused_before_it_is_made(folder):
    rewrite(folder, domain=card(folder)["domain"] | {"width": 2000, "height": 2000})

    with pytest.raises(CheckpointError, match="its files do not match the network"):
        load_checkpoint(folder)


def test_files_outside_the_folder_are_refused(folder):
    files = card(folder)["files"]
    files["weights"]["file"] = "../weights.safetensors"
    rewrite(folder, files=files)

    with pytest.raises(CheckpointError, match="its files do not match the network"):
        load_checkpoint(folder)


@pytest.mark.parametrize("kind", ["weights", "optimizer"])
def test_a_flipped_byte_or_a_missing_file_is_found(folder, kind):
    path = folder / f"{kind}-000000007.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="has changed"):
        load_checkpoint(folder)
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match=r"is not [0-9]+ bytes long, as checkpoint.json says"):
        load_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


def retell(folder, kind="weights"):
    """Make the card tell of the file as it is."""
    from hashlib import sha256

    path = folder / f"{kind}-000000007.safetensors"
    files = card(folder)["files"]
    files[kind] |= {"bytes": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
    rewrite(folder, files=files)


def test_weights_of_another_kind_or_form_are_refused(folder):
    path = folder / "weights-000000007.safetensors"
    weights = load_file(path)
    save_file({name: tensor.double() for name, tensor in weights.items()}, path)
    retell(folder)
    with pytest.raises(CheckpointError, match="not float32"):
        load_checkpoint(folder)
    save_file({**weights, "more": torch.zeros(1)}, path)
    retell(folder)
    with pytest.raises(CheckpointError, match="do not match network paper"):
        load_checkpoint(folder).model()
    path.write_bytes(b"\xff" * path.stat().st_size)
    retell(folder)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_checkpoint(folder)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "run", network())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(DOMAIN, landmarks=("little", "thumb")), "landmarks: thumb, little here, little, thumb there"),
        (replace(DOMAIN, width=96), "width: 28 here, 96 there"),
        (replace(DOMAIN, framing='{"aspect": "stretch"}'), "framing: "),
        (replace(DOMAIN, model="body"), "model: hand here, body there"),
    ],
)
def test_data_of_another_domain_is_refused(tmp_path, other, message):
    with pytest.raises(CheckpointError, match=f"{message}.*use data and networks of one spec"):
        check_same_domain(network(), other, tmp_path / "net", "scans.h5")


def test_descriptions_and_the_order_of_keys_make_no_other_domain(tmp_path):
    other = replace(DOMAIN, framing='{"margin": 0.05, "description": "for MR", "aspect": "keep"}')

    check_same_domain(network(), other, tmp_path, "scans.h5")
    assert Domain.from_json(json.loads(json.dumps(other.to_json()))) == other == DOMAIN
