"""Training from datasets that lie elsewhere, with things going wrong: the samples of the folder, or an error."""

import hashlib
import io
import multiprocessing
import os
import pickle  # what a worker process is given
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import call
from support.fake_balls import ball, make_dataset, small_spec
from support.fake_dataset import plans_of, put_shard, tree
from support.hub_process import HubProcess, Told, client, point_client
from support.static_server import Fault, StaticServer

from synthgen.datasets import remote as remote_source
from synthgen.datasets.dataset import read_dataset
from synthgen.datasets.opening import announce, open_dataset, open_source
from synthgen.datasets.remote import RemoteSource, open_remote
from synthgen.errors import DatasetError, RemoteError, SynthgenError
from synthgen.generator.dataset.folder import seal_dataset
from synthgen.progress import Silent
from synthgen.quantities import byte_size
from synthgen.remote.address import Address
from synthgen.remote.content_cache import ContentCache, cache_folder
from synthgen.remote.hub import Hub
from synthgen.remote.hub_files import Change
from synthgen.remote.progress import Meter
from synthgen.remote.resume import PassingError, Patience, Wanted, pour
from synthgen.remote.web import WebFolder
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device
from synthgen.training.loop.job import dataset_job
from synthgen.training.loop.train import train
from synthgen.training.streaming.shard_cache import ShardBlocks

SHARDS = 16
"""For training."""
SHARD = plans_of(small_spec())[0].path
LABELS = "labels/train-00000.parquet"


@pytest.fixture
def site(balls, tmp_path):
    """A web server of a copy, which may be changed."""
    server = StaticServer(Path(shutil.copytree(balls, tmp_path / "there")))
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path):
    return ContentCache(tmp_path / "cache")


@pytest.fixture(scope="module")
def published(balls, tmp_path_factory):
    """The test Hub, with the dataset on it."""
    hub = HubProcess(tmp_path_factory.mktemp("hub"), "lfs")
    with pytest.MonkeyPatch.context() as patch:
        point_client(patch, hub)
        remote, address = client(), Address("tester/balls")
        remote.create(address, private=False)
        remote.upload(address, balls, Change("first", tuple(tree(balls))), Meter("", 0, 0, Silent()))
    yield hub
    hub.stop()


@pytest.fixture
def hub(published, monkeypatch):
    point_client(monkeypatch, published)
    published.fail()
    return published


def opened(site, cache=None, listener=None):
    """The dataset of a web server, asked without pauses."""
    return read_dataset(RemoteSource(WebFolder(site.url, listener, waits_s=(0, 0, 0)), cache, listener))


def every_block(dataset, inputs="mask", split="train"):
    blocks = ShardBlocks(dataset, split, inputs)
    return [blocks.block(number) for number in range(len(blocks.sizes))]


def same_blocks(one, other) -> bool:
    fields = ("indices", "images", "landmarks_px", "landmarks_z_mm")
    pairs = list(zip(one, other, strict=True))
    return all(
        np.array_equal(getattr(a, f), getattr(b, f), equal_nan=f == "landmarks_z_mm") for a, b in pairs for f in fields
    )


def kept(cache) -> list[str]:
    """Contents in a cache, whole or not."""
    return [path.name for path in cache.root.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The same samples.


@pytest.mark.parametrize("keeping", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("where", ["web", "hub"])
def test_blocks_from_elsewhere_are_those_of_the_folder(where, keeping, balls, site, hub, cache):
    there = open_dataset(site.url if where == "web" else "hf://datasets/tester/balls", cache if keeping else None)
    here = open_dataset(balls)

    assert (there.sha256, there.shards, there.checksums) == (here.sha256, here.shards, here.checksums)
    for split in ("train", "validation", "test"):
        assert same_blocks(every_block(there, "depth", split), every_block(here, "depth", split))
    assert bool(kept(cache)) == keeping


@pytest.mark.slow
def test_a_network_trained_from_elsewhere_has_the_same_weights(balls, site, hub, cache):
    config = TrainingConfig(epochs=2, samples=140, batch_size=20, lr=0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trained = [
            train(dataset_job(open_dataset(address, cache), config), Device(threads=0)).weights
            for address in (balls, site.url, "hf://datasets/tester/balls")
        ]
    finally:
        torch.set_num_threads(threads)

    assert len(site.asked(SHARD)) == 1
    for weights in trained[1:]:
        assert all(torch.equal(weights[name], trained[0][name]) for name in trained[0])


@pytest.mark.slow
def test_the_second_run_fetches_checksums_alone(site, hub, cache):
    first = every_block(opened(site, cache))
    site.log.clear()
    again = every_block(opened(site, cache))
    mark = hub.mark()
    other = every_block(open_dataset("hf://datasets/tester/balls", cache))

    assert [request.path for request in site.log] == ["SHA256SUMS"]
    assert same_blocks(first, again)
    assert same_blocks(first, other)  # the same content, from wherever it came
    assert [e["path"].rsplit("/", 1)[1] for e in hub.since(mark) if "/resolve/" in e["path"]] == ["SHA256SUMS"]


@pytest.mark.slow
def test_a_branch_that_moves_is_not_followed(balls, hub, tmp_path):
    address = Address("tester/moving")
    remote, meter = Hub(waits_s=(0, 0, 0)), Meter("", 0, 0, Silent())
    remote.create(address, private=False)
    remote.upload(address, balls, Change("first", tuple(tree(balls))), meter)
    commit = remote.resolve(address).revision
    there = open_dataset(str(address))
    blocks = ShardBlocks(there, "train", "mask")
    first = blocks.block(0)

    spec = small_spec(version=2)
    other = make_dataset(tmp_path / "other", spec)
    remote.upload(
        address,
        other,
        Change("second", tuple(tree(other)), tuple(sorted(tree(balls).keys() - tree(other).keys()))),
        meter,
    )
    rest = [blocks.block(number) for number in range(1, SHARDS)]

    assert there.source.address == f"{address}@{commit}"
    assert same_blocks([first, *rest], every_block(open_dataset(balls)))
    assert open_dataset(str(address)).version == 2


# Connections.


def test_a_cut_connection_is_gone_on_with_by_range(site, cache):
    size = (site.root / SHARD).stat().st_size
    dataset = opened(site, cache)
    site.fail(SHARD, Fault(cut=5000), Fault(cut=1), Fault(cut=700))
    block = ShardBlocks(dataset, "train", "mask").block(0)

    assert len(block) == dataset.shards[0].samples
    assert [request.range for request in site.asked(SHARD)] == [None, "bytes=5000-", "bytes=5001-", "bytes=5701-"]
    assert sum(request.sent for request in site.asked(SHARD)) == size


def test_the_hub_is_gone_on_with_by_range_too(hub, cache):
    dataset = open_dataset("hf://datasets/tester/balls", cache)
    hub.fail({"kind": "large", "after": 3000, "times": 1})
    mark = hub.mark()
    path = dataset.shards[3].path
    dataset.source.shard(path, dataset.shards[3].bytes)
    sent = [(e["range"], e["sent"]) for e in hub.since(mark) if e["path"].startswith("/_lfs/")]

    assert sent == [("bytes=0-", 3000), ("bytes=3000-", dataset.shards[3].bytes - 3000)]


def test_a_run_that_was_stopped_goes_on_in_the_middle_of_a_file(site, cache):
    size = (site.root / SHARD).stat().st_size
    dataset = opened(site, cache)
    site.fail(SHARD, Fault(cut=6000), *[Fault(status=503)] * 4)
    with pytest.raises(
        RemoteError, match=f"{SHARD}: the server responded with status 503; run the same command again to resume"
    ):
        dataset.source.shard(SHARD, size)
    site.fail(SHARD)
    site.log.clear()
    data = opened(site, cache).source.shard(SHARD, size)

    assert bytes(data) == (site.root / SHARD).read_bytes()
    assert [(request.range, request.sent) for request in site.asked(SHARD)] == [("bytes=6000-", size - 6000)]


def test_a_server_without_ranges_starts_again(site, cache):
    site.ranges = False
    site.fail(SHARD, Fault(cut=5000), Fault(cut=9000))
    data = opened(site, cache).source.shard(SHARD, (site.root / SHARD).stat().st_size)

    assert bytes(data) == (site.root / SHARD).read_bytes()
    assert [request.status for request in site.asked(SHARD)] == [200, 200, 200]


def test_a_busy_server_is_asked_again_when_it_says(site):
    told = Told()
    dataset = opened(site, None, told)
    site.fail(SHARD, Fault(status=429, headers=(("Retry-After", "1"),)), Fault(status=500))
    dataset.source.shard(SHARD, (site.root / SHARD).stat().st_size)

    assert [line.partition("; ")[2] for line in told.lines] == [
        "run the same command again to resume; retrying in 1 s",
        "run the same command again to resume; retrying in 0 s",
    ]


def test_a_length_that_is_not_told_does_not_shorten_a_file(site, cache):
    """HTTP cannot tell the end of such a body from a cut connection."""
    path = site.root / SHARD
    dataset = opened(site, cache)
    site.fail(SHARD, Fault(silent=True, cut=4000), Fault(silent=True, status=200))
    site.fail(LABELS, Fault(silent=True, cut=4000))

    assert bytes(dataset.source.shard(SHARD, path.stat().st_size)) == path.read_bytes()
    with pytest.raises(RemoteError, match=f"{LABELS}: the download does not match its checksum"):
        dataset.source.open(LABELS)


class Line:
    """A connection in memory: what a server has, in answers that break off where they are told to."""

    def __init__(self, data: bytes, cuts: list[int], ranges: bool):
        self.data, self.cuts, self.ranges, self.sent = data, cuts, ranges, 0

    def append(self, sink: io.BytesIO, wanted: Wanted) -> None:
        start, self.headers, self.status_code = sink.tell(), {}, 200
        self.body = self.data
        if start and self.ranges:
            self.status_code, self.body = 206, self.data[start:]
            self.headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        pour(self, sink, wanted, lambda _: None)

    def iter_bytes(self):
        cut = self.cuts.pop(0) if self.cuts else len(self.data)
        for at in range(0, min(cut, len(self.body)), 7):
            self.sent += len(self.body[at : min(at + 7, cut)])
            yield self.body[at : min(at + 7, cut)]
        if cut < len(self.body):
            raise PassingError("cut")


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 300), max_size=12), st.booleans())
def test_whatever_is_cut_the_file_is_whole_or_there_is_an_error(data, cuts, ranges):
    line, sink, wanted = Line(data, list(cuts), ranges), io.BytesIO(), Wanted("file", len(data), 0)
    try:
        Patience(Silent(), (0, 0)).fill(wanted, sink, lambda: line.append(sink, wanted))
    except PassingError:
        assert len(cuts) >= 3  # so often without anything new
    else:
        assert sink.getvalue() == data
    if ranges:
        assert line.sent <= len(data)  # nothing twice


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_not_taken_for_the_network():
    line, wanted = Line(b"content", [], ranges=True), Wanted("file", 7, 0)
    full = r"^file: cannot be written \(No space left on device\); free some space"
    with Path("/dev/full").open("r+b", buffering=0) as sink, pytest.raises(RemoteError, match=full):
        line.append(sink, wanted)


# What is not the file.


@pytest.mark.parametrize("keeping", [True, False], ids=["cache", "no cache"])
def test_a_flipped_byte_is_an_error_and_nothing_is_kept(keeping, site, cache):
    dataset = opened(site, cache if keeping else None)
    blocks, before = ShardBlocks(dataset, "train", "mask"), kept(cache)
    site.fail(SHARD, Fault(flip=9000))
    with pytest.raises(RemoteError, match=rf"^{site.url}/{SHARD}: the download does not match its checksum"):
        blocks.block(0)

    assert kept(cache) == before
    assert len(blocks.block(0)) == dataset.shards[0].samples


LONG = b"x" * 100_000


def sent_on(to: str) -> Fault:
    return Fault(status=302, headers=(("Location", to),))


PAGE = Fault(body=b"<html>", headers=(("Content-Type", "text/html; charset=utf-8"),))
FAULTS = {
    "missing": (SHARD, Fault(status=404), f"{SHARD}: not found .status 404."),
    "closed": (SHARD, Fault(status=403), f"{SHARD}: access denied"),
    "strange": (SHARD, Fault(status=418), f"{SHARD}: the server responded with status 418"),
    "page": (SHARD, PAGE, f"{SHARD}: is a web page"),
    "long": (SHARD, Fault(body=LONG), f"{SHARD}: has 100000 bytes on the server, expected"),
    "short": (SHARD, Fault(body=b"x"), f"{SHARD}: has 1 bytes on the server, expected"),
    "endless": (SHARD, Fault(body=LONG, endless=True), f"{SHARD}: the download does not match its checksum"),
    "endless labels": (LABELS, Fault(body=LONG, endless=True), f"{LABELS}: has more than the 1000000 bytes allowed"),
    "large labels": (LABELS, Fault(body=b"x" * 1_000_001), f"{LABELS}: has 1000001 bytes on the server, more than"),
    "elsewhere": (SHARD, sent_on("http://192.0.2.1/x"), "to http://192.0.2.1, which is not"),
    "other scheme": (SHARD, sent_on("ftp://127.0.0.1/x"), "to an address that is not https"),
    "nonsense": (SHARD, sent_on("http://[x/"), "which is not https"),
    "checksums": ("SHA256SUMS", Fault(status=404), "SHA256SUMS: not found .status 404."),
    "no checksums": ("SHA256SUMS", Fault(body=b"hello\n"), "SHA256SUMS: .* is not a line of checksum"),
    "no manifest": ("manifest.json", Fault(body=b"{}"), "manifest.json: the download does not match its checksum"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_the_file_is_one_clear_line(fault, site, cache, monkeypatch):
    monkeypatch.setattr(remote_source, "MAX_LABELS_BYTES", 1_000_000)
    path, answer, line = FAULTS[fault]
    site.fail(path, *[answer] * 9)
    with pytest.raises(SynthgenError, match=line) as error:
        every_block(opened(site, cache))

    assert str(error.value).startswith((site.url, f"{site.url}/"))
    assert "\n" not in str(error.value)
    assert sha256(site.root / path) not in "".join(kept(cache))


def test_redirections_end(site):
    site.fail(SHARD, *[sent_on(f"/{SHARD}")] * 9)
    with pytest.raises(RemoteError, match="redirects too many times"):
        opened(site).source.shard(SHARD, 10)
    site.fail(SHARD, sent_on(f"/{plans_of(small_spec())[1].path}"))
    with pytest.raises(SynthgenError, match=r"the download does not match|bytes on the server, expected"):
        opened(site).source.shard(SHARD, (site.root / SHARD).stat().st_size)


def test_another_part_than_was_asked_for_is_refused(site, cache):
    dataset = opened(site, cache)
    site.fail(SHARD, Fault(cut=5000), Fault(part=4000))
    with pytest.raises(RemoteError, match=f"{SHARD}: the server sent a different range than requested"):
        dataset.source.shard(SHARD, (site.root / SHARD).stat().st_size)


def test_a_dataset_that_changes_there_ends_the_epoch_with_an_error(site, cache):
    dataset = opened(site, cache)
    blocks = ShardBlocks(dataset, "train", "mask")
    blocks.block(0)
    spec, plan = small_spec(), plans_of(small_spec())[1]
    put_shard(site.root, spec, plan, [replace(ball(int(i)), mm_per_px=2.0) for i in plan.indices])
    (site.root / "SHA256SUMS").unlink()
    assert seal_dataset(site.root, spec, plans_of(spec), draw=lambda samples, info: b"no picture")

    with pytest.raises(SynthgenError, match=rf"{plan.path}: (the download does not match|has \d+ bytes on the server)"):
        blocks.block(1)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("http://example.org/hand", "the files could be changed in transit together with their checksums"),
        ("http://127.0.0.1.example.org/hand", "the files could be changed in transit"),
        ("https://example.org/hand?token=1", "contains . or #; give only the address of the folder"),
        ("https://", "is not the address of a folder"),
        ("https://exa mple.org/", "is not the address of a folder"),
        ("https://example.org:port/", "is not the address of a folder"),
        ("ftp://example.org/hand", "is not the address of a folder"),
        ("file:///etc", "is not the address of a folder"),
        ("hf://user/model", "is the address of a network; give hf://datasets/owner/name"),
        ("hf://datasets/user", "give owner/name"),
    ],
)
def test_addresses_that_cannot_be_are_refused_before_anything_is_asked(address, line):
    with pytest.raises(RemoteError, match=line):
        open_source(address)


def test_names_of_users_do_not_get_into_messages():
    assert WebFolder("https://me:secret@example.org/hand/").address == "https://example.org/hand"


def test_a_repository_that_holds_no_dataset_says_so(hub):
    Hub().create(Address("tester/empty"), private=False)
    with pytest.raises(RemoteError, match=r"not a synthgen dataset, or its push did not finish .SHA256SUMS is missing"):
        open_remote("hf://datasets/tester/empty", None)


# The cache.


@pytest.mark.slow
def test_a_file_that_was_damaged_later_is_fetched_again(site, cache):
    first = every_block(opened(site, cache))
    name = sha256(site.root / SHARD)
    path = cache.root / name[:2] / name
    for damaged in (path.read_bytes()[:-1] + b"x", path.read_bytes()[:-1], b""):
        path.write_bytes(damaged)
        site.log.clear()
        assert same_blocks(every_block(opened(site, cache)), first)
        assert {request.path for request in site.log} == {"SHA256SUMS", SHARD}


READ = """
import sys
from pathlib import Path
from synthgen.remote.content_cache import ContentCache
from synthgen.datasets.opening import open_dataset
from synthgen.datasets.opening import open_source
dataset = open_dataset(sys.argv[1], ContentCache(Path(sys.argv[2])))
sys.stdin.read()
for shard in dataset.shards:
    dataset.source.shard(shard.path, shard.bytes)
print("done")
"""


@pytest.mark.slow
def test_processes_that_ask_at_once_fetch_everything_once(site, cache):
    readers = [
        subprocess.Popen([sys.executable, "-c", READ, site.url, str(cache.root)], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip
    for reader in readers:
        reader.stdin.close()  # begin
    said = [(reader.stdout.read(), reader.wait(60)) for reader in readers]

    assert said == [("done\n", 0)] * 3
    assert site.sent(".tar") == sum(path.stat().st_size for path in site.root.glob("*/*.tar"))


def test_a_process_that_is_killed_leaves_what_can_be_gone_on_with(site, cache):
    data = b"0123456789" * 1000
    digest = hashlib.sha256(data).hexdigest()
    child = multiprocessing.get_context("fork").Process(target=die_half_way, args=(cache, digest, data))
    child.start()
    child.join(30)
    found = []

    def rest(partial):
        found.append(partial.read_bytes())
        partial.write_bytes(data)

    assert child.exitcode == 9
    assert cache.get(digest, len(data), rest).read_bytes() == data
    assert found == [data[:4000]]


def die_half_way(cache, digest, data):
    """Fetch a part, and die with the lock in hand."""

    def fetch(partial):
        partial.write_bytes(data[:4000])
        os._exit(9)

    cache.get(digest, len(data), fetch)


def test_the_cache_keeps_only_what_its_name_says(cache):
    data = b"content"
    digest = hashlib.sha256(data).hexdigest()
    with pytest.raises(RemoteError, match=r"^shard 7: the download does not match its checksum and was removed"):
        cache.get(digest, len(data), lambda partial: partial.write_bytes(b"another"), "shard 7")
    with pytest.raises(DatasetError, match=r"value '\.\./evil' is not a digest"):
        cache.get("../evil", 1, lambda partial: partial.write_bytes(b"x"))
    assert kept(cache) == []

    assert cache.get(digest, None, lambda partial: partial.write_bytes(data)).read_bytes() == data
    assert kept(cache) == [digest]


def test_a_cache_that_cannot_be_written_says_so(tmp_path, site):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        DatasetError, match=r"file: cannot store downloads \(Not a directory\); free some space there, or"
    ):
        opened(site, ContentCache(tmp_path / "file"))


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SYNTHGEN_CACHE", raising=False)
    assert cache_folder().name == "content"
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "synthgen" / "content"
    monkeypatch.setenv("SYNTHGEN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


@pytest.mark.slow
def test_where_and_how_much_is_said_before_it_comes(site, cache, balls):
    dataset, told = opened(site, cache), Told()
    size = sum(shard.bytes for shard in dataset.shards)
    first = next(shard for shard in dataset.shards if shard.split == "train")
    part = byte_size(first.bytes + sum(shard.bytes for shard in dataset.shards if shard.split != "train"))
    announce(dataset, None, told)
    every_block(dataset)
    announce(dataset, 1, told)
    announce(opened(site), None, told)
    announce(open_dataset(balls), None, told)

    assert told.lines == [
        f"{site.url}: at most {byte_size(size)} in 18 shards, cached in {cache.root}; 0 bytes are cached already",
        f"{site.url}: at most {part} in 3 shards, cached in {cache.root}; {byte_size(first.bytes)} are cached already",
        f"{site.url}: at most {byte_size(size)} in 18 shards; not cached: what does not fit in memory is "
        "downloaded again each epoch",
    ]


# Other processes.


@pytest.mark.parametrize("where", ["web", "hub"])
def test_a_source_works_in_another_process(where, site, hub, cache):
    address = site.url if where == "web" else "hf://datasets/tester/balls"
    dataset = open_dataset(address, cache, Told())
    blocks = ShardBlocks(dataset, "train", "mask")
    first = blocks.block(0)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=lambda: there.send(blocks.block(1).indices.tolist()))
    child.start()
    child.join(30)
    thawed = pickle.loads(pickle.dumps(dataset.source))

    assert child.exitcode == 0
    assert here.recv() == blocks.block(1).indices.tolist()
    assert (thawed.address, thawed.checksums) == (dataset.source.address, dataset.source.checksums)
    assert bytes(thawed.shard(SHARD, dataset.shards[0].bytes)) == bytes(
        dataset.source.shard(SHARD, dataset.shards[0].bytes)
    )
    assert len(first) == dataset.shards[0].samples


# The command.


@pytest.mark.slow
def test_the_command_trains_from_an_address(site, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text("epochs: 1\nsamples: 60\nbatch_size: 20\n")
    options = ["--data", site.url, "--config", config, "--device", "cpu", "--cache", tmp_path / "cache"]

    def run(*more):
        return call("train", *options, "--out", tmp_path / "run", *more)

    done, refused = run(), run("--no-cache")

    assert done.returncode == 0, done.stderr
    assert f"cached in {tmp_path / 'cache'}; 0 bytes are cached already" in done.stderr
    assert kept(ContentCache(tmp_path / "cache"))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--cache: value" in refused.stderr
