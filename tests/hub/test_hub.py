"""Push, pull and reading, between the real clients and the test Hub: by LFS and by Xet, with things going wrong."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command_line import call
from support.fake_dataset import change_file, flip_bit, make_dataset, plans_of, put_shard, small_spec, tree
from support.fake_samples import fake_sample
from support.hub_process import Told, client, once, own_address, point_client, point_endpoint, sent_bytes

from synthgen.datasets import plan as plan_module
from synthgen.errors import DatasetError, RemoteError
from synthgen.generator.dataset.folder import open_folder, seal_dataset
from synthgen.generator.dataset.verify import verify_dataset
from synthgen.generator.hub.pull import PullOptions, pull, verify_remote
from synthgen.generator.hub.push import push
from synthgen.progress import Silent
from synthgen.remote.address import Address, parse_address
from synthgen.remote.hub_files import Change
from synthgen.remote.progress import Meter
from synthgen.remote.publish import PushOptions
from synthgen.storage.sample import encode_sample, sample_key
from synthgen.storage.tar import pack_end, pack_member

COUNT = 230
"""222 for training in 16 shards, 4 for validation and 4 for tests in one each."""
REAL_TOKEN = "SYNTHGEN_TEST_HF_TOKEN"


@pytest.fixture
def address(request):
    return own_address(request)


@pytest.fixture(scope="module")
def spec():
    return small_spec(COUNT)


def change_samples(root, spec, indices):
    """Change some samples and seal the folder again."""
    for plan in plans_of(spec):
        if set(plan.indices.tolist()) & set(indices):
            samples = [fake_sample(int(i)) for i in plan.indices]
            changed = [replace(s, mm_per_px=9.5, depth_mm=s.depth_mm + 1) if s.index in indices else s for s in samples]
            put_shard(root, spec, plan, changed)
    (root / "SHA256SUMS").unlink()
    assert seal_dataset(root, spec, plans_of(spec))


# Pushing.


def test_a_push_brings_everything_privately_with_its_tag_and_the_card_last(hub, address, sealed):
    told = Told()
    report = push(sealed, address, PushOptions(private=True, tag="v1.0.0"), told, client(told))
    remote = client()
    files = remote.files(report.address)
    commits = [e for e in hub.log() if e["method"] == "POST" and f"{address.repo}/commit/" in e["path"]]

    assert set(files) == {*tree(sealed), ".gitattributes"}
    for path, data in tree(sealed).items():
        assert files[path].bytes == len(data)
        assert files[path].sha256 in {None, hashlib.sha256(data).hexdigest()}
    assert files["README.md"].sha256 is None
    assert files["train/synthgen-hand-v1-train-00000-of-00016.tar"].sha256
    assert remote.is_private(address)
    assert remote.refs(address)[1] == {"v1.0.0": report.address.revision}
    assert len(commits) == 2
    assert (len(report.sent), report.unchanged, report.deleted) == (len(tree(sealed)), 0, ())
    assert report.sent_bytes == sum(map(len, tree(sealed).values()))
    last = told.transfers[-1]
    assert (last.what, last.files, last.bytes) == ("uploading", last.of_files, last.of_bytes)
    assert last.bytes == report.sent_bytes


def test_what_is_read_before_the_push_has_ended_is_no_dataset(hub, address, sealed):
    """The shards are there, the card and the checksums are not."""
    remote = client()
    remote.create(address, private=False)
    paths = tuple(path for path in tree(sealed) if path.endswith((".tar", ".parquet", ".png")))
    remote.upload(address, sealed, Change("shards", paths), Meter("", 0, 0, Silent()))

    with pytest.raises(
        RemoteError, match=r"not a synthgen dataset, or its push did not finish .spec/spec.yaml is missing"
    ):
        pull(address, sealed.parent / "half", hub=client())
    assert push(sealed, address, hub=client()).unchanged == len(paths)


@pytest.mark.slow
@once
def test_what_is_read_in_the_middle_of_a_changed_push_is_refused_and_the_commit_before_is_whole(
    hub, address, sealed, folder, spec, tmp_path
):
    """The new shards are there, with the old card and checksums."""
    first = push(sealed, address, PushOptions(tag="v1"), hub=client())
    change_samples(folder, spec, [120])
    hub.fail({"kind": "commit", "seconds": 0, "times": 1}, {"kind": "commit", "status": 503, "times": 99})
    with pytest.raises(RemoteError, match="responded with status 503; run the same command again to resume"):
        push(folder, address, hub=client())
    hub.fail()

    assert client().resolve(address) != first.address
    with pytest.raises(RemoteError, match=r"labels/train-00000.parquet: does not match SHA256SUMS; contact its"):
        pull(address, tmp_path / "middle", hub=client())
    assert not list((tmp_path / "middle").rglob("*.tar"))
    assert not (tmp_path / "middle" / "SHA256SUMS").exists()
    for revision in (first.address.revision, "v1"):
        assert pull(replace(address, revision=revision), tmp_path / revision, hub=client()).sealed
        assert tree(tmp_path / revision) == tree(sealed)
    push(folder, address, hub=client())
    assert pull(address, tmp_path / "after", hub=client()).sealed
    assert tree(tmp_path / "after") == tree(folder)


@pytest.mark.slow
def test_a_second_push_after_rendering_again_sends_nothing(hub, address, sealed, spec, tmp_path):
    first = push(sealed, address, PushOptions(tag="v1"), hub=client())
    again = make_dataset(tmp_path / "again", spec)
    (again / "run.json").write_text('{"runs": ["differs"]}')
    mark = hub.mark()
    second = push(again, address, PushOptions(tag="v1"), hub=client())

    assert (second.sent, second.sent_bytes, second.deleted) == ((), 0, ())
    assert second.address == first.address
    assert sent_bytes(hub.since(mark)) == 0
    assert "run.json" not in client().files(second.address)


@pytest.mark.slow
def test_a_push_of_a_change_sends_what_has_changed(hub, address, folder, spec):
    push(folder, address, hub=client())
    change_samples(folder, spec, [120])
    report = push(folder, address, hub=client())
    changed = {path for path in report.sent if path.endswith(".tar")}

    assert changed == {plan.path for plan in plans_of(spec) if 120 in plan.indices}
    assert {"SHA256SUMS", "manifest.json", "labels/train-00000.parquet"} <= set(report.sent)
    assert not {"LICENSE", "spec/spec.yaml", "labels/test-00000.parquet", "assets/landmarks.png"} & set(report.sent)
    assert verify_remote(address, hub=client()).problems == ()


@pytest.mark.slow
@once
def test_a_push_of_another_count_removes_the_shards_that_are_no_more(hub, address, sealed, tmp_path):
    push(sealed, address, hub=client())
    smaller = make_dataset(tmp_path / "smaller", small_spec(60))
    report = push(smaller, address, hub=client())

    assert len(report.deleted) == 16  # 16 training shards are one now; the others keep their names
    assert set(client().files(report.address)) == {*tree(smaller), ".gitattributes"}


@once
def test_other_files_in_the_repository_are_left_alone(hub, address, sealed, tmp_path):
    (tmp_path / "notebook.ipynb").write_text("{}")
    remote = client()
    remote.create(address, private=False)
    remote.upload(address, tmp_path, Change("notes", ("notebook.ipynb",)), Meter("", 0, 0, Silent()))
    report = push(sealed, address, hub=client())

    assert "notebook.ipynb" in client().files(report.address)
    pull(report.address, tmp_path / "out", hub=client())
    assert tree(tmp_path / "out") == tree(sealed)


@once
def test_a_dry_run_tells_what_would_be_sent_and_writes_nothing(hub, address, sealed):
    mark = hub.mark()
    report = push(sealed, address, PushOptions(dry_run=True), hub=client())

    assert set(report.sent) == set(tree(sealed))
    assert {e["method"] for e in hub.since(mark)} <= {"GET", "HEAD"}
    assert client().is_private(address) is None


@once
def test_a_push_to_a_branch_leaves_main_alone(hub, address, sealed):
    client().create(address, private=False)
    before = client().refs(address)[0]["main"]
    report = push(sealed, replace(address, revision="trial"), hub=client())

    assert client().refs(address)[0] == {"main": before, "trial": report.address.revision}


# What keeps a push from beginning.


def spoil_nothing(root):
    pass


def lose_a_shard(root):
    (root / open_folder(root).plans[3].path).unlink()


def lose_the_seal(root):
    (root / "SHA256SUMS").unlink()


def flip_a_byte(root):
    flip_bit(root / open_folder(root).plans[3].path, 1000)


def add_a_pickle(root):
    (root / "train" / "x.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


@once
@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lose_a_shard, r"nothing was pushed: .*1 of 18 shards are missing.* \(and 1 more; `synthgen verify"),
        (lose_the_seal, "nothing was pushed: SHA256SUMS: is missing"),
        (flip_a_byte, "nothing was pushed: train/.*00003-of-00016.tar: has changed"),
        (add_a_pickle, "nothing was pushed: 'train/x.pkl': does not belong to this dataset"),
    ],
)
def test_nothing_is_pushed_from_a_folder_that_is_not_sound(hub, address, folder, spoil, line):
    spoil(folder)
    mark = hub.mark()
    with pytest.raises(DatasetError, match=line):
        push(folder, address, hub=client())

    assert [e["path"] for e in hub.since(mark)] == ["/api/whoami-v2"]


@once
@pytest.mark.parametrize(
    ("token", "line"),
    [
        (None, "token: missing; run `hf auth login`, or set HF_TOKEN"),
        ("hf_unknown", "token: rejected by the Hub"),
        ("hf_read", "token: the token of tester is read-only; create one with write access at http"),
        ("hf_fine_read", "token: the token of tester has no write access to tester/"),
    ],
)
def test_a_token_that_may_not_write_is_refused_before_any_work(server, monkeypatch, address, tmp_path, token, line):
    point_client(monkeypatch, server, token)
    mark = server.mark()
    with pytest.raises(RemoteError, match=line):
        push(tmp_path / "not even there", address, hub=client())

    assert [e["path"] for e in server.since(mark)] in ([], ["/api/whoami-v2"])


@once
@pytest.mark.parametrize(
    ("repo", "line"),
    [
        ("somebody/hand", "belongs to tester, who is neither somebody"),
        ("club/hand", "tester has only read access to club"),
    ],
)
def test_another_owner_is_refused_before_any_work(hub, tmp_path, repo, line):
    with pytest.raises(RemoteError, match=line):
        push(tmp_path / "not even there", Address(repo), hub=client())


def test_an_organization_and_a_fine_grained_token_are_enough(server, monkeypatch, sealed):
    point_client(monkeypatch, server, "hf_fine")
    assert push(sealed, Address(f"tester/fine-{server.mode}"), hub=client()).sent
    point_client(monkeypatch, server)
    assert push(sealed, Address(f"lab/hand-{server.mode}"), hub=client()).sent


def test_a_token_that_the_hub_refuses_later_is_one_line(server, monkeypatch, address, sealed):
    point_client(monkeypatch, server, "hf_refused")
    with pytest.raises(RemoteError, match=f"token: no write access to {address.repo}; create one"):
        push(sealed, address, hub=client())


@pytest.mark.slow
@once
def test_another_dataset_a_public_repository_and_a_taken_tag_are_refused(hub, address, sealed, folder, spec, tmp_path):
    first = push(sealed, address, PushOptions(tag="v1"), hub=client())
    other = make_dataset(tmp_path / "other", small_spec(10, "other"))
    change_samples(folder, spec, [3])
    mark = hub.mark()
    for root, options, line in (
        (other, PushOptions(), "holds the dataset 'hand', not 'other'; choose another --repo"),
        (sealed, PushOptions(private=True), f"--private: {address.repo} already exists and is public"),
        (folder, PushOptions(tag="v1"), f"--tag: value v1; it already exists on commit {first.address.revision[:8]}"),
    ):
        with pytest.raises(RemoteError, match=line):
            push(root, address, options, hub=client())
    with pytest.raises(RemoteError, match="--revision: value v1; it is a tag, give a branch"):
        push(sealed, replace(address, revision="v1"), hub=client())

    assert sent_bytes(hub.since(mark)) == 0


# Things going wrong while it runs.


def test_a_hub_that_is_busy_for_a_while_is_asked_again(hub, address, sealed):
    told = Told()
    content = "put" if hub.mode == "lfs" else "xorb"
    hub.fail({"kind": "commit", "status": 503, "times": 2}, {"kind": content, "status": 500, "times": 1},
             {"kind": "tree", "status": 429, "times": 1}, {"kind": "whoami", "status": 504, "times": 1})  # fmt: skip
    report = push(sealed, address, listener=told, hub=client(told))

    assert verify_remote(report.address, hub=client()).problems == ()
    assert (
        sum("responded with status 503; run the same command again to resume; retrying" in x for x in told.lines) == 2
    )


def test_a_hub_that_stays_busy_ends_the_push_with_one_line_and_the_same_command_goes_on(hub, address, sealed):
    hub.fail({"kind": "commit", "status": 503, "times": 99})
    with pytest.raises(RemoteError, match=r"responded with status 503; run the same command again to resume$"):
        push(sealed, address, hub=client())
    hub.fail()
    mark = hub.mark()
    report = push(sealed, address, hub=client())
    content = [e for e in hub.since(mark) if e["path"].startswith(("/_lfs/", "/_cas/v1/xorbs"))]

    assert verify_remote(report.address, hub=client()).problems == ()
    assert sum(e["received"] for e in content) < report.sent_bytes / 10  # the content was there


PUSHER = """
import sys
from pathlib import Path
from synthgen.remote.address import parse_address
from synthgen.datasets import plan
from synthgen.generator.hub.push import push
plan._PER_SIXTEEN, plan._ONE_SHARD_BELOW = 30, 16
push(Path(sys.argv[1]), parse_address(sys.argv[2]))
"""


@pytest.mark.slow
@once
def test_a_push_of_100_files_that_is_killed_goes_on(hub, address, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "_PER_SIXTEEN", 30)
    monkeypatch.setattr(plan_module, "_ONE_SHARD_BELOW", 16)
    spec = small_spec(200)
    root = make_dataset(tmp_path / "many", spec)
    hub.fail({"kind": "commit", "seconds": 0, "times": 1}, {"kind": "commit", "seconds": 30, "times": 1})
    child = subprocess.Popen([sys.executable, "-c", PUSHER, str(root), address.repo], env=hub.environment())
    commit, limit = f"/api/datasets/{address.repo}/commit/main", time.monotonic() + 300
    while commit not in [e["path"] for e in hub.log()] and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(0.3)  # into the second commit
    child.send_signal(signal.SIGKILL)
    child.wait()
    hub.fail()
    there = len(client().files(address)) - 1

    assert len(tree(root)) > 116
    assert 0 < there < len(tree(root))
    report = push(root, address, hub=client())
    assert len(report.sent) == len(tree(root)) - there
    assert verify_remote(report.address, hub=client()).problems == ()


# Pulling.


@pytest.fixture(scope="module")
def published(server, sealed, tmp_path_factory):
    """One dataset on the Hub that no test changes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_client(monkeypatch, server)
        return push(sealed, Address("tester/published"), PushOptions(tag="v1.0.0"), hub=client()).address


def test_a_pull_brings_the_same_bytes_and_again_brings_nothing(hub, published, sealed, tmp_path):
    told = Told()
    report = pull(parse_address("hf://datasets/tester/published@v1.0.0"), tmp_path / "hand", None, told, client(told))
    mark = hub.mark()
    again = pull(published, tmp_path / "hand", hub=client())
    last = told.transfers[-1]

    assert tree(tmp_path / "hand") == tree(sealed)
    assert (report.address, report.sealed, report.shards) == (published, True, 18)
    assert (last.what, last.files, last.bytes) == ("downloading", last.of_files, last.of_bytes)
    assert report.bytes == last.bytes
    assert (again.files, again.bytes, again.sealed) == (0, 0, True)
    assert not any("/_lfs/" in e["path"] for e in hub.since(mark))


@pytest.mark.slow
def test_parts_of_a_dataset_come_alone_and_add_up(hub, published, sealed, tmp_path):
    root = tmp_path / "hand"
    part = pull(published, root, PullOptions(split="validation"), hub=client())
    tars = [path for path in tree(root) if path.endswith(".tar")]

    assert (part.shards, part.of_shards, part.sealed) == (1, 18, False)
    assert tars == ["validation/synthgen-hand-v1-validation-00000-of-00001.tar"]
    assert "labels/train-00000.parquet" not in tree(root)
    assert [s.index for s in open_folder(root).samples("validation")] == [48, 98, 148, 198]
    assert verify_dataset(root).problems[0].startswith(f"{root}: 17 of 18 shards are missing")
    assert pull(published, root, PullOptions(shards="0-3"), hub=client()).shards == 5
    assert pull(published, root, hub=client()).sealed
    assert tree(root) == tree(sealed)


def test_a_connection_that_is_cut_is_gone_on_with_by_range(hub, published, sealed, tmp_path):
    hub.fail({"kind": "large", "after": 5000, "times": 3}, {"kind": "small", "after": 100, "times": 2})
    mark = hub.mark()
    pull(published, tmp_path / "hand", hub=client())
    ranges = [e["range"] for e in hub.since(mark)]

    assert tree(tmp_path / "hand") == tree(sealed)
    assert {"bytes=5000-", "bytes=10000-", "bytes=100-", "bytes=200-"} <= set(ranges)


def test_a_download_that_is_stopped_goes_on_where_it_was(hub, published, sealed, tmp_path):
    root = tmp_path / "hand"
    hub.fail({"kind": "large", "after": 3000, "times": 1}, {"kind": "large", "after": 0, "times": 99})
    with pytest.raises(RemoteError, match=r"run the same command again to resume"):
        pull(published, root, hub=client())
    partials = [path.stat().st_size for path in root.rglob("*.partial")]
    hub.fail()
    mark = hub.mark()
    report = pull(published, root, hub=client())

    assert partials == [3000]
    assert "bytes=3000-" in [e["range"] for e in hub.since(mark)]
    assert report.sealed
    assert tree(root) == tree(sealed)
    assert list(root.rglob("*.partial")) == []


def test_a_damaged_file_comes_again_and_a_damaged_rest_is_thrown_away(hub, published, sealed, tmp_path):
    root = Path(shutil.copytree(sealed, tmp_path / "hand"))
    path = root / open_folder(root).plans[2].path
    path.write_bytes(b"x" * path.stat().st_size)
    assert pull(published, root, hub=client()).files == 1
    partial = path.with_name(f".{path.name}.{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.partial")
    path.unlink()
    partial.write_bytes(b"x" * 1000)
    with pytest.raises(RemoteError, match=r"the download differs from the file in .*; run the same command again"):
        pull(published, root, hub=client())
    assert not path.exists()
    assert pull(published, root, hub=client()).files == 1

    assert tree(root) == tree(sealed)


@pytest.mark.slow
@once
def test_what_stands_in_the_way_of_a_pull_is_one_line(hub, published, address, tmp_path, folder, spec):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    other = make_dataset(tmp_path / "other", small_spec(10, "other"))
    change_samples(folder, spec, [3])
    client().create(address, private=False)
    for repo, root, options, line in (
        ("tester/absent", tmp_path / "a", None, "tester/absent: is not a dataset repository; check its name$"),
        ("tester/published@v9", tmp_path / "a", None, "has no revision v9"),
        (address.repo, tmp_path / "a", None, "is not a synthgen dataset"),
        (published, tmp_path / "a", PullOptions(split="training"), "--split: value training; give one of train, valid"),
        (published, tmp_path / "a", PullOptions(shards="18"), "--shards: value '18'; this dataset has shards 0 to"),
        (published, tmp_path / "thesis", None, "is not empty and not a dataset folder .it holds thesis.txt"),
        (published, other, None, "holds a different dataset than hf://datasets/tester/published"),
        (published, folder, None, "holds a different version than hf://datasets/tester/published"),
    ):  # fmt: skip
        with pytest.raises((RemoteError, DatasetError), match=line):
            pull(repo if isinstance(repo, Address) else parse_address(repo), root, options, hub=client())

    assert not (tmp_path / "a").exists()
    assert list((tmp_path / "thesis").iterdir()) == [tmp_path / "thesis" / "thesis.txt"]


def test_a_private_dataset_is_not_seen_without_a_token(server, monkeypatch, sealed, tmp_path, address):
    point_client(monkeypatch, server)
    push(sealed, address, PushOptions(private=True), hub=client())
    point_client(monkeypatch, server, None)
    with pytest.raises(RemoteError, match=r"check its name, or log in with `hf auth login` if it is private"):
        pull(address, tmp_path / "hand", hub=client())
    point_client(monkeypatch, server, "hf_read")

    assert pull(address, tmp_path / "hand", hub=client()).sealed


@once
def test_a_network_that_is_down_is_one_line(hub, monkeypatch, tmp_path):
    from huggingface_hub import constants

    point_endpoint(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match=r"^http://127.0.0.1:9: cannot be reached \(.*\); run the same command again"):
        pull(parse_address("tester/published"), tmp_path, hub=client())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteError, match="offline because HF_HUB_OFFLINE is set; unset it"):
        pull(parse_address("tester/published"), tmp_path, hub=client())


@once
@pytest.mark.parametrize("name", ["../../evil.mask.png", "/tmp/evil.mask.png", "000000049.pkl"])
def test_a_malicious_repository_writes_nothing_outside(hub, address, folder, tmp_path, name):
    plan = open_folder(folder).plans[-1]
    packed = pack_member(name, b"x")
    change_file(folder, plan.path, packed + pack_end(len(packed)))
    remote = client()
    remote.create(address, private=False)
    remote.upload(address, folder, Change("evil", tuple(tree(folder))), Meter("", 0, 0, Silent()))
    root = tmp_path / "deep" / "er" / "out"

    with pytest.raises(DatasetError, match=r"points outside its folder|could run code"):
        pull(address, root, hub=client())
    assert not (root / plan.path).exists()
    assert not list(root.rglob("*.partial"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["out"]
    assert any(plan.path in line for line in verify_remote(address, hub=client()).problems)


@once
def test_checksums_that_lead_out_of_the_folder_are_refused(hub, address, folder, tmp_path):
    (folder / "evil").write_text("x")
    sums = (folder / "SHA256SUMS").read_text()
    remote = client()
    remote.create(address, private=False)
    for line, expected in (
        (f"{'0' * 64}  ../evil\n", "is not a line of checksum"),
        (f"{'0' * 64}  evil\n", "is not a file of this"),
    ):
        (folder / "SHA256SUMS").write_text(sums + line)
        remote.upload(address, folder, Change("evil", tuple(tree(folder))), Meter("", 0, 0, Silent()))
        with pytest.raises((DatasetError, RemoteError), match=expected):
            pull(address, tmp_path / "out", hub=client())


@once
def test_a_file_that_is_not_what_the_checksums_say_is_refused(hub, address, folder, tmp_path):
    plan = open_folder(folder).plans[0]
    (folder / plan.path).write_bytes((folder / plan.path).read_bytes()[:-1] + b"x")
    remote = client()
    remote.create(address, private=False)
    remote.upload(address, folder, Change("evil", tuple(tree(folder))), Meter("", 0, 0, Silent()))

    with pytest.raises(RemoteError, match=f"{plan.path}: does not match SHA256SUMS"):
        pull(address, tmp_path / "out", hub=client())
    assert not (tmp_path / "out" / plan.path).exists()


def test_a_dataset_on_the_hub_is_verified_an_archive_at_a_time(hub, published):
    report = verify_remote(published, hub=client())

    assert report.problems == ()
    assert (report.shards, report.samples) == (18, COUNT)


# What others read.

HUGGING = """
import json, sys
import numpy as np, datasets
datasets.disable_progress_bars()
repo, told = sys.argv[1], {}
def one(row):
    out = {"columns": sorted(row)}
    if "depth.png" in row:
        out |= {"mode": row["depth.png"].mode, "sum": int(np.asarray(row["depth.png"]).astype(int).sum())}
    return out | {"json": row.get("json"), "px": row.get("landmarks_px"), "key": row.get("__key__") or row.get("key")}
for streaming in (True, False):
    for name, split in (("default", "test"), ("labels", "validation"), ("preview", "preview")):
        data = datasets.load_dataset(repo, name, split=split, streaming=streaming)
        rows = list(data)
        told[f"{name} {streaming}"] = {"rows": len(rows), "first": one(rows[0]), "types": data.features.to_dict()}
    data = datasets.load_dataset(repo, data_dir="labels", split="train", streaming=streaming)
    rows = list(data)
    told[f"tables {streaming}"] = {"rows": len(rows), "first": one(rows[0]), "types": data.features.to_dict()}
whole = datasets.load_dataset(repo)
told["sizes"] = {split: len(rows) for split, rows in whole.items()}
print(json.dumps(told))
"""


@pytest.mark.slow
@once
def test_datasets_reads_typed_columns_exact_depths_and_right_splits(hub, published):
    done = subprocess.run(
        [sys.executable, "-c", HUGGING, published.repo], env=hub.environment(),
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    members = encode_sample(fake_sample(49), 20.0)
    codes = np.where(np.isfinite(fake_sample(49).depth_mm), 1, 0)

    assert told["sizes"] == {"train": 222, "validation": 4, "test": 4}
    for streaming in (True, False):
        default, labels, preview, tables = (
            told[f"{n} {streaming}"] for n in ("default", "labels", "preview", "tables")
        )
        assert (default["rows"], labels["rows"], preview["rows"], tables["rows"]) == (4, 4, 4, 222)
        assert default["first"]["json"] == json.loads(members["json"])
        assert default["first"]["mode"] == "I;16"
        assert default["first"]["sum"] > codes.sum() * 256
        assert labels["first"]["json"] == json.loads(encode_sample(fake_sample(48), 20.0)["json"])
        assert labels["first"]["columns"] == ["__key__", "json"]
        assert tables["first"]["px"] == json.loads(encode_sample(fake_sample(0), 20.0)["json"])["landmarks_px"]
        kinds = default["types"]["json"]
        assert kinds["mm_per_px"] == {"dtype": "float64", "_type": "Value"}
        assert kinds["index"] == {"dtype": "int64", "_type": "Value"}
        assert kinds["camera"]["cut"] == {"dtype": "bool", "_type": "Value"}
        assert tables["types"]["landmarks_px"]["feature"]["feature"]["dtype"] == "float64"


@pytest.mark.slow
@once
@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset reads http by curl, which is not here")
def test_webdataset_reads_by_address(hub, published):
    script = (
        "import sys, webdataset as wds\n"
        "samples = list(wds.WebDataset(sys.argv[1:], shardshuffle=False))\n"
        "print(*(s['__key__'] for s in samples), sum(len(s['depth.png']) for s in samples))"
    )
    paths = [plan.path for plan in plans_of(small_spec(COUNT)) if plan.split != "train"]
    urls = [f"{hub.url}/datasets/{published.repo}/resolve/v1.0.0/{path}" for path in paths]
    done = subprocess.run(
        [sys.executable, "-c", script, *urls], env=hub.environment(None), capture_output=True, text=True, check=False
    )
    indices = (48, 98, 148, 198, 49, 99, 149, 199)
    size = sum(len(encode_sample(fake_sample(i), 20.0)["depth.png"]) for i in indices)

    assert done.stdout.split() == [*map(sample_key, indices), str(size)], done.stderr


# The commands.


def run(hub, *arguments, token="hf_write"):
    return call(*arguments, env=hub.environment(token), cwd=hub.root)


@pytest.mark.slow
@once
def test_the_commands_publish_and_bring_back(hub, address, sealed, tmp_path):
    dry = run(hub, "push", sealed, "--repo", address.repo, "--dry-run")
    pushed = run(hub, "push", sealed, "--repo", address.repo, "--tag", "v1.0.0")
    pulled = run(hub, "pull", f"{address.repo}@v1.0.0", "--out", tmp_path / "hand")

    assert (dry.returncode, pushed.returncode, pulled.returncode) == (0, 0, 0), pushed.stderr
    assert "upload  README.md" in dry.stdout
    sizes = {path: len(content) for path, content in tree(sealed).items()}
    assert f"34 files of {sum(sizes.values()) / 1e6:.1f} MB to upload, 0 unchanged" in dry.stdout
    assert f"hf://datasets/{address.repo}@" in pushed.stdout
    assert "0 unchanged; tag v1.0.0" in pushed.stdout
    listed = sum(sizes.values()) - sizes["SHA256SUMS"]  # which was read before
    assert pulled.stdout.startswith(
        f"{tmp_path / 'hand'}: complete; 33 files of {listed / 1e6:.1f} MB downloaded from hf://"
    )
    assert tree(tmp_path / "hand") == tree(sealed)


@pytest.mark.slow
@once
def test_commands_that_cannot_work_say_why_in_one_line(hub, sealed, tmp_path):
    for arguments, token, line in (
        (("push", sealed, "--repo", "tester/x"), None, "error: token: missing"),
        (("push", sealed, "--repo", "x"), "hf_write", "error: repo: value 'x'; give owner/name"),
        (("pull", "tester/absent"), "hf_write", "error: hf://datasets/tester/absent: is not a dataset repository"),
        (("verify", "hf://datasets/tester/absent"), "hf_write", "error: hf://datasets/tester/absent: is not a dataset"),
    ):
        done = run(hub, *arguments, token=token)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(line)
        assert done.stderr.count("\n") == 1


# The real Hub.


@pytest.mark.skipif(REAL_TOKEN not in os.environ, reason=f"{REAL_TOKEN} holds no token that may write to the real Hub")
def test_the_real_hub_takes_and_gives_back_a_dataset(monkeypatch, sealed, tmp_path):
    from huggingface_hub import HfApi

    monkeypatch.setenv("HF_TOKEN", os.environ[REAL_TOKEN])
    api = HfApi(token=os.environ[REAL_TOKEN])
    address = Address(f"{api.whoami()['name']}/synthgen-test-{os.getpid()}-{time.time_ns():x}")
    try:
        first = push(sealed, address, PushOptions(private=True, tag="v1.0.0"))
        again = push(sealed, address)
        assert (again.sent, again.address) == ((), first.address)
        assert pull(replace(address, revision="v1.0.0"), tmp_path / "hand").sealed
        assert tree(tmp_path / "hand") == tree(sealed)
        assert verify_remote(address).problems == ()
    finally:
        api.delete_repo(address.repo, repo_type="dataset", missing_ok=True)
