"""Models on the Hub, between the real clients and the test Hub: push, card, and predictions from an address."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from support.command_line import call
from support.fake_dataset import flip_bit, tree
from support.fake_scans import write_nifti
from support.fake_scansets import scan_set, volume_scan
from support.hub_process import client, once, own_address, point_client, point_endpoint, sent_bytes

from synthgen.errors import RemoteError, SynthgenError
from synthgen.progress import Silent
from synthgen.remote.address import parse_address
from synthgen.remote.hub import Hub
from synthgen.remote.hub_files import Change
from synthgen.remote.progress import Meter
from synthgen.remote.publish import PushOptions
from synthgen.specs.domain import Domain
from synthgen.specs.files import load_spec
from synthgen.training.experiments.cross_validation import Request, finetune
from synthgen.training.experiments.predict import find_landmarks, load_networks
from synthgen.training.experiments.tuning import Tuning
from synthgen.training.hub.fetch import fetch_model
from synthgen.training.hub.push import push_model
from synthgen.training.loop.checkpoint import (
    Checkpoint,
    Place,
    TrainedOn,
    label_space,
    load_checkpoint,
    save_checkpoint,
)
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device
from synthgen.training.networks.paper_net import build_model
from synthgen.training.scans.table import settings_of

DOMAIN = Domain.of_spec(load_spec("hand"))
CONFIG = TrainingConfig(name="tiny", arch="heatmap", epochs=1, dropout=0.0, artefacts=False)
RENDERINGS = TrainedOn("dataset", "synthgen-hand-v1", "ab" * 32)
DEVICE = Device(threads=0)
VIEW = {"side": "left", "up": "S", "viewed_from": "P"}
OPTIONS = ["--side", "left", "--up", "S", "--viewed-from", "P"]


@pytest.fixture
def address(request):
    return own_address(request, "model")


def network(seed=0, epoch=1, config=CONFIG) -> Checkpoint:
    labels = label_space(DOMAIN, config)
    weights = build_model(config.arch, labels, len(DOMAIN.landmarks), config.dropout, seed).state_dict()
    return Checkpoint(DOMAIN, config, (RENDERINGS,), Place(epoch, steps=7 + seed), dict(weights), {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as `synthgen train` leaves it; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "hand-syn"
    save_checkpoint(folder, network())
    (folder / "log.csv").write_text("epoch\n1\n")
    return folder


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    """A folder as `synthgen finetune` leaves it; not to be changed."""
    rng = np.random.default_rng(0)
    scans = [volume_scan(f"Erika Mustermann {n}", f"Erika {n}", rng.uniform(20, 70, (5, 2))) for n in range(4)]
    out = tmp_path_factory.mktemp("tuned") / "hand-ft"
    tuning = Tuning(scan_set(*scans), "cd" * 32, "Mustermann.h5", CONFIG.model_copy(update={"epochs": 2}), DEVICE)
    finetune(Request(tuning, 2, out, trained), Silent())
    return out


@pytest.fixture
def folder(tmp_path, tuned):
    """A copy of it, which may be changed."""
    return Path(shutil.copytree(tuned, tmp_path / "hand-ft"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A hand that is an ellipsoid."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 20, 48)), indexing="ij")
    voxels = np.where((x / 0.7) ** 2 + (y / 0.7) ** 2 + (z / 0.8) ** 2 < 1, 900, 0).astype(np.int16)
    return write_nifti(tmp_path_factory.mktemp("scan") / "scan.nii", voxels, np.diag([3.0, 3.0, 4.0, 1.0]))


def put(address, folder, paths=None) -> None:
    """Upload files as anybody could."""
    client().create(address, private=False)
    client().upload(address, folder, Change("put", paths or tuple(tree(folder))), Meter("", 0, 0, Silent()))


def landmarks(model, scan, depth_model=None):
    found = find_landmarks(scan, settings_of(VIEW), load_networks(model, depth_model, DEVICE))
    return found.source.tobytes(), found.spread_mm.tobytes(), found.depth_from


# There and back.


@pytest.mark.slow
def test_what_is_pushed_finds_the_same_landmarks(hub, address, tuned, scan, tmp_path):
    report = push_model(tuned, address, PushOptions(tag="v1.0.0"), hub=client())
    mark = hub.mark()
    fetched = fetch_model(replace(address, revision="v1.0.0"), hub=client(), cache=tmp_path)
    asked = len(hub.since(mark))

    assert set(report.sent) == {
        "README.md", "checkpoint.json", "prior.json", "results.json", "figures/errors.png", *weights(tuned)
    }  # fmt: skip
    assert client().files(report.address).keys() == {*report.sent, ".gitattributes"}
    assert client().refs(address)[1] == {"v1.0.0": report.address.revision}
    assert {path.name for path in fetched.iterdir()} == {"SHA256SUMS", "checkpoint.json", "prior.json", *weights(tuned)}
    assert landmarks(fetched, scan) == landmarks(tuned, scan)
    assert landmarks(fetched, scan)[2] == "the mean of the training scans"
    assert asked > 3


def weights(folder):
    return [path.name for path in folder.glob("weights-*.safetensors")]


def test_a_second_push_sends_nothing_and_a_second_fetch_brings_nothing(hub, address, tuned, tmp_path):
    first = push_model(tuned, address, hub=client())
    fetch_model(address, hub=client(), cache=tmp_path)
    mark = hub.mark()
    second = push_model(tuned, address, hub=client())
    sent = sent_bytes(hub.since(mark))
    mark = hub.mark()
    folder = fetch_model(address, hub=client(), cache=tmp_path)

    assert (second.sent, second.sent_bytes, second.deleted) == ((), 0, ())
    assert second.address == first.address
    assert sent == 0
    assert folder.name == first.address.revision
    assert [entry["path"] for entry in hub.since(mark)] == [f"/api/models/{address.repo}/revision/main"]


def test_a_push_is_one_commit_and_one_that_is_stopped_goes_on(hub, address, tuned, tmp_path):
    hub.fail({"kind": "commit", "status": 503, "times": 99})
    with pytest.raises(RemoteError, match=r"responded with status 503; run the same command again to resume$"):
        push_model(tuned, address, hub=client())
    assert not {"checkpoint.json", "README.md"} & client().files(address).keys()
    hub.fail()
    mark = hub.mark()
    report = push_model(tuned, address, hub=client())
    content = [entry for entry in hub.since(mark) if entry["path"].startswith(("/_lfs/", "/_cas/v1/xorbs"))]

    assert sum(entry["received"] for entry in content) < report.sent_bytes / 10  # the content was there
    assert sum("/commit/" in entry["path"] for entry in hub.since(mark)) == 1


def test_a_network_that_was_trained_again_replaces_the_one_before(hub, address, trained, tmp_path):
    push_model(trained, address, PushOptions(tag="v1"), hub=client())
    old = fetch_model(replace(address, revision="v1"), hub=client(), cache=tmp_path)
    save_checkpoint(tmp_path / "again", network(1))
    report = push_model(tmp_path / "again", address, hub=client())
    new = fetch_model(address, hub=client(), cache=tmp_path)

    assert report.deleted == tuple(weights(trained))
    assert load_checkpoint(new).place.steps == 8
    assert load_checkpoint(old).place.steps == 7
    assert fetch_model(replace(address, revision="v1"), hub=client(), cache=tmp_path) == old


@once
def test_weights_that_are_here_do_not_come_with_a_new_card_again(hub, address, trained, tuned, tmp_path):
    push_model(trained, address, hub=client())
    first = fetch_model(address, hub=client(), cache=tmp_path / "cache")
    (tmp_path / "notes.txt").write_text("x")
    put(address, tmp_path, ("notes.txt",))
    mark = hub.mark()
    second = fetch_model(address, hub=client(), cache=tmp_path / "cache")

    assert first != second
    assert not any("safetensors" in entry["path"] for entry in hub.since(mark))
    assert tree(first) == tree(second)


@once
def test_a_commit_that_is_here_needs_no_network_and_one_that_is_damaged_comes_again(
    hub, address, trained, tmp_path, monkeypatch
):
    pinned = push_model(trained, address, hub=client()).address
    folder = fetch_model(pinned, hub=client(), cache=tmp_path)
    path = folder / weights(folder)[0]
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))  # the same bytes as in the cache, where the disk has links
    assert fetch_model(pinned, hub=client(), cache=tmp_path) == folder
    assert path.read_bytes() == good
    (folder / "checkpoint.json").unlink()
    assert fetch_model(pinned, hub=client(), cache=tmp_path) == folder
    point_endpoint(monkeypatch, "http://127.0.0.1:9")

    assert load_checkpoint(fetch_model(pinned, cache=tmp_path)).finished
    with pytest.raises(RemoteError, match="cannot be reached"):
        fetch_model(address, hub=client(), cache=tmp_path)


@once
def test_a_branch_and_a_private_repository(hub, server, monkeypatch, address, trained, tmp_path):
    private = push_model(trained, address, PushOptions(private=True), hub=client())
    before = client().refs(address)[0]["main"]
    branch = push_model(trained, replace(address, revision="trial"), hub=client())

    assert client().is_private(address)
    assert before == private.address.revision
    assert client().refs(address)[0]["trial"] == branch.address.revision
    point_client(monkeypatch, server, None)
    with pytest.raises(RemoteError, match=r"is not a model repository; check its name, or log in with `hf auth login`"):
        fetch_model(address, hub=client(), cache=tmp_path)
    point_client(monkeypatch, server, "hf_read")
    assert load_checkpoint(fetch_model(address, hub=client(), cache=tmp_path)).finished


@once
def test_a_dry_run_tells_what_would_be_sent_and_writes_nothing(hub, address, tuned):
    before, mark = tree(tuned), hub.mark()
    report = push_model(tuned, address, PushOptions(dry_run=True), hub=client())

    assert "README.md" in report.sent
    assert {entry["method"] for entry in hub.since(mark)} <= {"GET", "HEAD"}
    assert client().is_private(address) is None
    assert tree(tuned) == before


@once
def test_only_what_is_ours_goes_and_no_name_of_a_subject(hub, address, folder):
    for name in ("model.pkl", "weights.pt", "errors.csv", "notes.txt", ".secret"):
        (folder / name).write_bytes(b"Erika Mustermann")
    report = push_model(folder, address, hub=client())
    files = client().files(report.address)
    content = b"".join(client().read(report.address, file) for path, file in files.items())

    assert files.keys() == {*report.sent, ".gitattributes"}
    assert not {path for path in files if path.endswith((".pkl", ".pt", ".csv", ".txt")) or "fold" in path}
    assert b"Erika" not in content
    assert b"Mustermann" not in content


# What keeps a push from beginning.


def stop_early(root):
    save_checkpoint(root, replace(network(), place=Place(0, steps=7)))


def lose_the_results(root):
    (root / "results.json").unlink()


def flip_a_byte(root):
    flip_bit(root / weights(root)[0], -1)


def put_nan(root):
    checkpoint = network()
    next(iter(checkpoint.weights.values())).flatten()[0] = float("nan")
    save_checkpoint(root, checkpoint)


def spoil_the_results(root):
    told = json.loads((root / "results.json").read_text())
    told["methods"]["CNN"]["mean_mm"] = "<script>"
    (root / "results.json").write_text(json.dumps(told))


def swap_the_landmarks(root):
    told = json.loads((root / "results.json").read_text())
    told["methods"]["CNN"]["landmarks"] = {}
    (root / "results.json").write_text(json.dumps(told))


def spoil_the_prior(root):
    (root / "prior.json").write_text('{"normalized_depth": [1, 2]}')


@once
@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (stop_early, r"its training has not ended \(epoch 0 of 1\)"),
        (lose_the_results, r"its fine-tuning has not ended \(no results.json\)"),
        (flip_a_byte, "weights-.*safetensors: has changed"),
        (put_nan, "its weights contain NaN or infinity"),
        (spoil_the_results, "results.json: methods.CNN.mean_mm: Input should be a valid number; fine-tune again"),
        (swap_the_landmarks, "results.json: is not of this network's landmarks"),
        (spoil_the_prior, "prior.json: is damaged"),
    ],
)
def test_nothing_is_pushed_from_a_folder_that_is_not_sound(hub, address, folder, spoil, line):
    spoil(folder)
    mark = hub.mark()
    with pytest.raises(SynthgenError, match=f"nothing was pushed: .*{line}"):
        push_model(folder, address, hub=client())

    assert [entry["path"] for entry in hub.since(mark)] == ["/api/whoami-v2"]


@once
@pytest.mark.parametrize(
    ("token", "line"),
    [(None, "token: missing"), ("hf_unknown", "rejected by the Hub"), ("hf_read", "the token of tester is read-only")],
)
def test_a_token_that_may_not_write_is_refused_before_any_work(server, monkeypatch, address, tmp_path, token, line):
    point_client(monkeypatch, server, token)
    with pytest.raises(RemoteError, match=line):
        push_model(tmp_path / "not even there", address, hub=client())


CARDS = {
    "another": "---\nlibrary_name: timm\n---\n# ResNet\n",
    "text": "# My notes\n",
    "named": "---\nbase_model: bert\n---\n",
}


@once
@pytest.mark.parametrize("name", CARDS)
def test_another_models_card_is_not_overwritten(hub, address, trained, tmp_path, name):
    (tmp_path / "README.md").write_text(CARDS[name])
    put(address, tmp_path)
    mark = hub.mark()
    with pytest.raises(RemoteError, match=r"holds another model's card .README.md.; choose another --repo"):
        push_model(trained, address, hub=client())
    assert sent_bytes(hub.since(mark)) == 0


@once
def test_a_repository_that_a_website_made_is_taken(hub, address, trained, tmp_path):
    (tmp_path / "README.md").write_text("---\r\nlicense: apache-2.0\r\n---\r\n")
    put(address, tmp_path)

    assert "README.md" in push_model(trained, address, hub=client()).sent


@once
def test_a_dataset_another_domain_a_public_repository_and_a_taken_tag_are_refused(hub, address, trained, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text("{}")
    data = replace(address, repo=f"{address.repo}-data")
    put(data, tmp_path / "data")
    first = push_model(trained, address, PushOptions(tag="v1"), hub=client())
    checkpoint = network()
    save_checkpoint(tmp_path / "wide", replace(checkpoint, domain=replace(DOMAIN, width=64)))
    deep = CONFIG.model_copy(update={"input": "depth"})
    save_checkpoint(tmp_path / "deep", network(config=deep))
    save_checkpoint(tmp_path / "again", network(1))
    mark = hub.mark()
    for root, to, options, line in (
        (trained, data, PushOptions(), r"holds a dataset .manifest.json.; choose another --repo"),
        (tmp_path / "wide", address, PushOptions(), "holds a network of another domain .width: 96 here, 64 there"),
        (tmp_path / "deep", address, PushOptions(), "another domain .input: mask there, depth here"),
        (trained, address, PushOptions(private=True), "already exists and is public"),
        (
            tmp_path / "again",
            address,
            PushOptions(tag="v1"),
            f"it already exists on commit {first.address.revision[:8]}",
        ),
    ):
        with pytest.raises(RemoteError, match=line):
            push_model(root, to, options, hub=client())

    assert sent_bytes(hub.since(mark)) == 0


# What comes from others.


def published(folder, tmp_path) -> Path:
    """A folder as a repository holds it, to be spoiled."""
    root = tmp_path / "evil"
    root.mkdir()
    for name in ("checkpoint.json", "prior.json", *weights(folder)):
        shutil.copy(folder / name, root / name)
    return root


def change_card(root, change):
    told = json.loads((root / "checkpoint.json").read_text())
    change(told)
    (root / "checkpoint.json").write_text(json.dumps(told))


def pad_the_card(root):
    (root / "checkpoint.json").write_text((root / "checkpoint.json").read_text() + " " * 5 * 2**20)


def lead_out(root):
    change_card(root, lambda told: told["files"]["weights"].update(file="../../evil.safetensors"))


def name_a_pickle(root):
    change_card(root, lambda told: told["files"]["weights"].update(file="weights.pkl"))
    (root / "weights.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/evil'\ntR.")


def tell_another_digest(root):
    change_card(root, lambda told: told["files"]["weights"].update(sha256="0" * 64))


def swap_the_weights(root):
    path = root / weights(root)[0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def tell_a_huge_network(root):
    change_card(root, lambda told: told["files"]["weights"].update(bytes=2**50))


def tell_a_huge_patch(root):
    change_card(root, lambda told: told["domain"].update(width=2**40))


def nest_deeply(root):
    change_card(root, lambda told: told["domain"].update(framing="[" * 10**5))


def tell_another_framing(root):
    change_card(root, lambda told: told["domain"].update(framing='{"aspect": "keep", "run": "rm -rf /"}'))


def inflate_the_prior(root):
    (root / "prior.json").write_text(" " * 2 * 2**20)


def lose_the_card(root):
    (root / "checkpoint.json").unlink()


def lose_the_weights(root):
    (root / weights(root)[0]).unlink()


def count_in_words(root):
    change_card(root, lambda told: told["place"].update(epoch="many"))


def never_end(root):
    change_card(root, lambda told: told["place"].update(epoch=0))


@once
@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (pad_the_card, "checkpoint.json: 52.* bytes are too many; it is not what synthgen writes"),
        (lead_out, "checkpoint.json: its files do not match the network"),
        (name_a_pickle, "checkpoint.json: its files do not match the network"),
        (tell_another_digest, "is not what its checkpoint.json says; tell its owner"),
        (swap_the_weights, "is not what its checkpoint.json says; tell its owner"),
        (tell_a_huge_network, "checkpoint.json: its files do not match the network"),
        (tell_a_huge_patch, "checkpoint.json: is damaged .a domain's names must be text, its sizes integers up to"),
        (nest_deeply, "checkpoint.json: is damaged"),
        (tell_another_framing, "checkpoint.json: is damaged"),
        (count_in_words, "checkpoint.json: is damaged .place.epoch"),
        (inflate_the_prior, "prior.json: 2097152 bytes are too many"),
        (lose_the_card, r"holds no network of synthgen \(it lacks checkpoint.json\)"),
        (lose_the_weights, "lacks weights-.*, which its checkpoint.json names"),
        (never_end, "its training has not ended; give another revision"),
    ],
)
def test_a_malicious_repository_is_one_line_and_writes_nothing(hub, address, tuned, tmp_path, spoil, line):
    root = published(tuned, tmp_path)
    spoil(root)
    put(address, root)
    mark = hub.mark()
    with pytest.raises(SynthgenError, match=line) as caught:
        fetch_model(address, hub=client(), cache=tmp_path / "deep" / "cache")

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "deep").exists()
    assert not any("safetensors" in entry["path"] for entry in hub.since(mark))


@once
def test_files_that_nobody_asked_for_do_not_come(hub, address, tuned, tmp_path):
    root = published(tuned, tmp_path)
    (root / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (root / "SHA256SUMS").write_text("../../evil")
    put(address, root)
    folder = fetch_model(address, hub=client(), cache=tmp_path / "cache")

    assert set(tree(folder)) == {"SHA256SUMS", "checkpoint.json", "prior.json", *weights(tuned)}
    assert "model.pkl" not in {path.name for path in (tmp_path / "cache").rglob("*")}
    assert "evil" not in (folder / "SHA256SUMS").read_text()


@once
def test_content_that_is_not_what_the_list_says_is_refused(hub, address, tuned, tmp_path):
    root = published(tuned, tmp_path)
    put(address, root)

    class Liar(Hub):
        def download(self, address, file, to, came):
            to.write_bytes(b"x" * file.bytes)

    with pytest.raises(RemoteError, match="run the same command again, and contact"):
        fetch_model(address, hub=Liar(waits_s=()), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@once
def test_a_dataset_is_no_model(hub, tmp_path):
    with pytest.raises(RemoteError, match="is a dataset; give the address of a model, hf://owner/name"):
        fetch_model(parse_address("hf://datasets/tester/x"), hub=client(), cache=tmp_path)
    with pytest.raises(RemoteError, match="is not a model repository; check its name"):
        fetch_model(parse_address("hf://tester/absent"), hub=client(), cache=tmp_path)


# The card.


def card_of(folder, address) -> str:
    report = push_model(folder, address, hub=client())
    return client().read(report.address, client().files(report.address)["README.md"]).decode()


@once
def test_the_card_tells_what_the_network_is_and_how_large_its_errors_are(hub, address, tuned):
    text, told = card_of(tuned, address), json.loads((tuned / "results.json").read_text())
    card = ModelCard(text, ignore_metadata_errors=False)
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}

    assert card.validate() is None
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "apache-2.0", "synthgen", "keypoint-detection"
    )  # fmt: skip
    assert card.data.model_name == address.repo.split("/")[1]
    assert values["mean_mm"] == pytest.approx(told["methods"]["CNN"]["mean_mm"], abs=1e-4)
    assert card.data.metrics == list(values)
    for part in (
        "4 scans of 4 subjects", "ab" * 32, "cd" * 32, told["spec_sha256"], "`synthgen-hand-v1`", "in 2 folds",
        "![Mean error at each landmark](figures/errors.png)", "| `lr` | 0.01 |", "not a medical device",
        f"synthgen predict --model hf://{address.repo} scan.nii.gz --side left", "riegler2015anatomical", "Apache-2.0",
        *(f"| {name} |" for name in DOMAIN.landmarks),
    ):  # fmt: skip
        assert part in text
    assert "$" not in re.sub(r"```console.*?```", "", text, flags=re.DOTALL)
    assert all(len(line) < 1000 for line in text.splitlines())


@once
def test_the_card_of_a_network_on_renderings_alone_has_no_results(hub, address, trained):
    text = card_of(trained, address)

    assert ModelCard(text, ignore_metadata_errors=False).data.eval_results is None
    assert "Its errors on real scans are unknown" in text
    assert "errors.png" not in text
    assert "--depth-model" in text


@pytest.mark.slow
@once
def test_the_program_in_the_card_runs(hub, address, tuned, scan, tmp_path, monkeypatch):
    text = card_of(tuned, address)
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", program.replace("scan.nii.gz", scan.name)], cwd=scan.parent, text=True,
        env=hub.environment() | {"SYNTHGEN_CACHE": str(tmp_path)}, capture_output=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "'thumb': [" in done.stdout


# The commands.


def run(hub, cache, *arguments, token="hf_write"):
    return call(*arguments, env=hub.environment(token) | {"SYNTHGEN_CACHE": str(cache)}, cwd=cache)


@pytest.mark.slow
@once
def test_the_commands_publish_and_predict(hub, address, tuned, scan, tmp_path):
    pushed = run(hub, tmp_path, "push", tuned, "--repo", address.repo, "--tag", "v1.0.0")
    assert pushed.returncode == 0, pushed.stderr
    model = f"hf://{address.repo}@v1.0.0"
    there = run(
        hub, tmp_path, "predict", "--model", model, scan, *OPTIONS, "--out", "there.mrk.json", "--cache", "kept"
    )
    here = run(hub, tmp_path, "predict", "--model", tuned, scan, "--spec", "hand", *OPTIONS, "--out", "here.mrk.json")

    assert f"hf://{address.repo}@" in pushed.stdout
    assert "6 files of" in pushed.stdout
    assert (there.returncode, here.returncode) == (0, 0), there.stderr + here.stderr
    assert f"fetching hf://{address.repo}@" in there.stderr
    assert [path.name for path in (tmp_path / "kept" / "models" / "tester").iterdir()] == [address.repo.split("/")[1]]
    assert (tmp_path / "there.mrk.json").read_bytes() == (tmp_path / "here.mrk.json").read_bytes()
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()


@pytest.mark.slow
@once
def test_commands_that_cannot_work_say_why_in_one_line(hub, trained, scan, tmp_path):
    for arguments, line in (
        (("push", trained, "--repo", "hf://datasets/tester/x"), "error: --repo: value hf://datasets/tester/x; this is"),
        (("push", tmp_path, "--repo", "tester/x"), f"error: {tmp_path}: holds neither a dataset nor a network"),
        (
            ("predict", "--model", "hf://tester/absent", scan, "--out", "x.csv"),
            "error: hf://tester/absent: is not a model",
        ),
        (("predict", "--model", trained, scan, "--spec", "body", "--out", "x.csv"), "error: --spec: value body; the"),
    ):
        done = run(hub, tmp_path, *arguments)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(line)
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
@once
def test_a_fine_tuning_begins_with_a_network_of_the_hub(hub, address, trained, tmp_path, monkeypatch):
    from synthgen.training.scans.scan_set import write_scanset

    push_model(trained, address, hub=client())
    rng = np.random.default_rng(1)
    scans = scan_set(*(volume_scan(f"{n}", f"{n}", rng.uniform(20, 70, (5, 2))) for n in range(2)))
    write_scanset(tmp_path / "scans.h5", scans.info, scans.scans)
    (tmp_path / "tune.yaml").write_text("arch: heatmap\nepochs: 1\nartefacts: false\ndropout: 0.0\n")
    tune = ("finetune", "--scans", "scans.h5", "--folds", "2", "--config", "tune.yaml", "--device", "cpu")
    done = run(hub, tmp_path, *tune, "--init", f"hf://{address.repo}", "--out", "tuned")

    assert done.returncode == 0, done.stderr
    assert [data.kind for data in load_checkpoint(tmp_path / "tuned").history] == ["dataset", "scan set"]


@pytest.mark.slow
@once
def test_a_network_on_depth_comes_from_the_hub_too(hub, address, tuned, scan, tmp_path):
    save_checkpoint(tmp_path / "deep", network(config=CONFIG.model_copy(update={"input": "depth"})))
    push_model(tmp_path / "deep", address, hub=client())
    deep = fetch_model(address, hub=client(), cache=tmp_path / "cache")

    assert landmarks(tuned, scan, deep)[2] == "the network on depth"
    assert landmarks(tuned, scan, deep) == landmarks(tuned, scan, tmp_path / "deep")
    with pytest.raises(SynthgenError, match=r"--depth-model: value .*; it sees silhouettes"):
        load_networks(tuned, tuned, DEVICE)
