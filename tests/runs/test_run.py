"""Runs on real Dask workers with a stand-in for the pipeline: what is made never depends on how it was made."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.fake_pipeline import open_broken, open_fake
from support.paths import with_import_paths
from support.processes import alive, until

from synthgen.datasets.plan import plan_shards
from synthgen.errors import ClusterError, DatasetError, SynthgenError
from synthgen.generator.dataset.clear import clear_dataset
from synthgen.generator.runs.options import RunOptions, check_target, select_shards
from synthgen.generator.runs.progress import Board, Progress, RunReport
from synthgen.generator.runs.resources import WORKER_MEMORY, Resources, disk_needed, fit_workers, memory_left
from synthgen.generator.runs.run import run
from synthgen.generator.runs.worker import ShardOutcome
from synthgen.quantities import byte_size, duration
from synthgen.specs.files import dump_spec, load_spec
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.dataset_paths import GUARD

COUNT = 400


def small_spec(count: int = COUNT, seed: int = 0) -> ResolvedSpec:
    spec = load_spec("hand", {"count": count, "seed": seed})
    return spec.model_copy(update={"image": spec.image.model_copy(update={"width": 32, "height": 32})})


def go(out: Path, *, spec: ResolvedSpec | None = None, opener=open_fake, listener=None, **options) -> RunReport:
    options.setdefault("workers", 1)
    return run(spec or small_spec(), RunOptions(out=out, **options), listener, opener)


def sums(root: Path) -> str:
    return (root / "SHA256SUMS").read_text()


def hidden(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*.partial")]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("reference") / "data"
    report = go(root)

    assert (report.samples, report.sealed, report.failed) == (COUNT, True, ())
    return root


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setenv("FAKE_FOLDER", str(folder))
    return folder


def start_command(out: Path, *arguments: str) -> subprocess.Popen:
    """Start the real command line with the stand-in, as the leader of its own process group."""
    code = "import sys; from support import fake_pipeline; fake_pipeline.command(sys.argv[1:])"
    spec_file = out.with_name("small.yaml")
    spec_file.write_text(dump_spec(small_spec()))
    whole = ["render", "--spec", str(spec_file), "--out", str(out), *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", code, *whole],
        env=with_import_paths(__file__),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class Recorder:
    def __init__(self, react=None) -> None:
        self.lines: list[str] = []
        self.seen: list[Progress] = []
        self.react = react

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show(self, progress: Progress) -> None:
        self.seen.append(progress)
        if self.react:
            self.react()


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_workers_makes_the_same_bytes(reference, tmp_path, workers, monkeypatch):
    import synthgen.generator.runs.resources as resources

    monkeypatch.setattr(resources, "this_machine", lambda: Resources(cores=8, memory=10**10))
    report = go(tmp_path / "data", workers=workers)

    assert report.workers == workers
    assert sums(tmp_path / "data") == sums(reference)


@pytest.mark.slow
def test_shards_made_apart_and_in_another_order_are_the_same_bytes(reference, tmp_path):
    out = tmp_path / "data"
    first = go(out, shards="10-17")

    assert (len(first.outcomes), first.sealed, first.missing) == (8, False, 10)
    assert not (out / "SHA256SUMS").exists()

    second = go(out)

    assert (len(second.outcomes), second.present, second.sealed) == (10, 8, True)
    assert sums(out) == sums(reference)


def test_a_finished_run_has_nothing_to_do_and_starts_no_worker(reference, fake):
    before = sums(reference)
    report = go(reference)

    assert (report.outcomes, report.sealed, report.failed) == ((), True, ())
    assert sums(reference) == before
    assert list(fake.iterdir()) == []  # no worker opened a pipeline


def test_run_json_tells_the_run_and_is_in_no_checksum(reference):
    entry = json.loads((reference / "run.json").read_text())["runs"][0]

    assert entry["samples"] == COUNT
    assert entry["redraw_rate"] == pytest.approx(0.2)
    assert entry["workers"] == 1
    assert entry["images_per_s"] > 0
    assert "run.json" not in sums(reference)


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_shard_is_replaced(reference, tmp_path, fake):
    (fake / "slow").touch()
    killed = []

    def kill_once():
        busy = list(fake.glob("busy-*"))
        if busy and not killed:
            killed.append(int(busy[0].name.removeprefix("busy-")))
            os.kill(killed[0], signal.SIGKILL)
            (fake / "slow").unlink()

    report = go(tmp_path / "data", listener=Recorder(kill_once))

    assert killed
    assert len(list(fake.glob("opened-*"))) == 2
    assert (report.sealed, report.failed) == (True, ())
    assert sums(tmp_path / "data") == sums(reference)
    assert hidden(tmp_path / "data") == []


@pytest.mark.slow
def test_a_worker_opens_its_pipeline_once_and_closes_it(tmp_path, fake):
    go(tmp_path / "data")

    assert len(list(fake.glob("opened-*"))) == 1
    assert len(list(fake.glob("closed-*"))) == 1


@pytest.mark.slow
def test_shards_that_fail_or_kill_their_workers_are_listed_and_the_others_finish(reference, tmp_path, fake):
    plans = plan_shards("hand", 1, COUNT)
    crash, fail = plans[2], plans[5]
    (fake / f"crash-{crash.indices[3]}").touch()
    (fake / f"fail-{fail.indices[0]}").touch()
    out = tmp_path / "data"
    report = go(out, workers=2)

    assert [o.number for o in sorted(report.failed, key=lambda o: o.number)] == [2, 5]
    reasons = {o.number: o.error for o in report.failed}
    assert "crashed 4 workers" in reasons[2]
    assert reasons[5] == f"ValueError: sample {fail.indices[0]} is wrong"
    assert (report.missing, report.sealed) == (2, False)
    listed = json.loads((out / "run.json").read_text())["runs"][0]["failed"]
    assert {entry["shard"] for entry in listed} == {2, 5}

    for cause in fake.glob("*-*"):
        cause.unlink()
    assert go(out).sealed
    assert sums(out) == sums(reference)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_stopping_makes_no_noise_and_leaves_nothing_behind(tmp_path, fake, how):
    (fake / "slow").touch()
    out = tmp_path / "data"
    command = start_command(out, "--workers", "2")
    until(lambda: list(fake.glob("busy-*")) or command.poll() is not None)
    assert command.poll() is None, command.communicate()
    time.sleep(0.5)
    if how == "Ctrl-C":
        os.killpg(command.pid, signal.SIGINT)  # as a terminal does: to the workers too
    else:
        command.terminate()
    _, stderr = command.communicate(timeout=300)

    assert command.returncode == 130
    assert "run the same command again to resume" in stderr
    assert "Traceback" not in stderr
    assert "distributed" not in stderr
    assert hidden(out) == []
    assert not [pid for pid in pids(fake) if alive(pid)]


@pytest.mark.slow
def test_killing_the_whole_command_ends_its_workers_and_the_next_run_makes_the_same_bytes(reference, tmp_path, fake):
    (fake / "slow").touch()
    out = tmp_path / "data"
    command = start_command(out, "--workers", "2")
    until(lambda: list(fake.glob("busy-*")) or command.poll() is not None)
    assert command.poll() is None, command.communicate()
    time.sleep(1.0)
    command.kill()
    command.wait()
    until(lambda: not [pid for pid in pids(fake) if alive(pid)])
    (fake / "slow").unlink()
    report = go(out)

    assert report.sealed
    assert sums(out) == sums(reference)
    assert hidden(out) == []


def pids(fake: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in fake.glob("opened-*")]


@pytest.mark.slow
def test_another_spec_is_refused_and_overwrite_replaces_it(reference, tmp_path):
    out = tmp_path / "data"
    go(out, spec=small_spec(60, seed=1))
    before = sums(out)

    with pytest.raises(DatasetError, match="seed"):
        go(out, spec=small_spec(60))
    assert sums(out) == before

    assert go(out, overwrite=True).sealed
    assert sums(out) == sums(reference)


@pytest.mark.slow
def test_overwrite_removes_nothing_but_datasets(reference, tmp_path):
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    (holiday / "photo.jpg").touch()
    with pytest.raises(DatasetError, match="not a dataset folder"):
        clear_dataset(holiday)
    out = tmp_path / "data"
    go(out, spec=small_spec(60))
    (out / "train" / "notes.txt").touch()
    files = sorted(out.rglob("*"))
    with pytest.raises(DatasetError, match=r"notes\.txt"):
        clear_dataset(out)

    assert sorted(out.rglob("*")) == files

    (out / "train" / "notes.txt").unlink()
    (out / "test" / "link.tar").symlink_to(holiday / "photo.jpg")
    with pytest.raises(DatasetError, match=r"link\.tar"):
        clear_dataset(out)
    (out / "test" / "link.tar").unlink()
    clear_dataset(out)

    assert [path.name for path in out.iterdir()] == [GUARD]
    assert (holiday / "photo.jpg").exists()


def test_an_unreachable_scheduler_is_one_line_and_nothing_is_written(tmp_path):
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9 cannot be reached"):
        go(tmp_path / "data", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match="nonsense"):
        go(tmp_path / "data", scheduler="nonsense")
    assert not (tmp_path / "data").exists()


@contextlib.contextmanager
def external_cluster(tmp_path: Path, *worker_options: str):
    """A real scheduler and workers in processes of their own, as on a cluster."""
    port_file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(port_file), "--no-dashboard", "--host", "127.0.0.1"]
    scheduler = "from distributed.cli.dask_scheduler import main; main()"
    worker = "from distributed.cli.dask_worker import main; main()"
    processes: list[subprocess.Popen] = []

    def start(code: str, *options: str) -> None:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *common, *options],
                env=with_import_paths(__file__),
                stderr=subprocess.DEVNULL,
                cwd=tmp_path,
            )
        )

    try:
        start(scheduler, "--port", "0", "--dashboard-address", "127.0.0.1:0")
        until(lambda: port_file.exists() and port_file.stat().st_size)
        start(worker, "--memory-limit", "0", *worker_options)
        yield json.loads(port_file.read_text())["address"], processes[0]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_an_external_scheduler_makes_the_same_bytes(reference, tmp_path):
    with external_cluster(tmp_path, "--nthreads", "1", "--nworkers", "2") as (address, _):
        report = go(tmp_path / "data", scheduler=address, workers=None)

        assert report.sealed
        assert sums(tmp_path / "data") == sums(reference)
        assert not list((tmp_path / "data").glob(".token*"))  # the mark of the shared folder


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_one_line(tmp_path, fake):
    (fake / "slow").touch()
    with external_cluster(tmp_path, "--nthreads", "1") as (address, scheduler):

        def kill_scheduler():
            if list(fake.glob("busy-*")):
                scheduler.kill()

        with pytest.raises(ClusterError, match="connection was lost"):
            go(tmp_path / "data", scheduler=address, workers=None, listener=Recorder(kill_scheduler))


@pytest.mark.slow
def test_workers_that_run_several_threads_are_refused(tmp_path):
    with external_cluster(tmp_path, "--nthreads", "2") as (address, _), pytest.raises(ClusterError, match="2 threads"):
        go(tmp_path / "data", scheduler=address, workers=None)


@pytest.mark.slow
def test_an_engine_that_cannot_open_ends_the_run_with_its_reason(tmp_path):
    with pytest.raises(SynthgenError, match="blender cannot run here"):
        go(tmp_path / "data", opener=open_broken)


@pytest.fixture
def tiny_disk(tmp_path):
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_disk_too_small_is_refused_before_anything_is_written(tiny_disk):
    with pytest.raises(DatasetError, match=r"needs about .* are free; choose another --out"):
        go(tiny_disk / "data", spec=small_spec(100_000))

    assert list(tiny_disk.iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_with_one_line_and_no_half_shard(tiny_disk, monkeypatch):
    import synthgen.generator.runs.resources as resources

    monkeypatch.setattr(resources, "disk_needed", lambda spec, samples: 0)
    (tiny_disk / "ballast").write_bytes(b"\0" * 19_800_000)
    monkeypatch.setattr(resources, "_SPARE", 0)
    with pytest.raises(SynthgenError, match="No space left"):
        go(tiny_disk / "data", spec=small_spec(2000))

    assert hidden(tiny_disk) == []
    assert not (tiny_disk / "data" / "SHA256SUMS").exists()


def test_a_target_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is a file"):
        go(tmp_path / "file" / "data")
    read_only = Path("/proc/synthgen")
    if sys.platform == "linux":
        with pytest.raises(DatasetError, match="cannot be written"):
            check_target(read_only)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_shards_are_named_by_numbers_and_ranges():
    plans = plan_shards("hand", 1, COUNT)

    assert [p.number for p in select_shards(plans, "0-2, 17,1")] == [0, 1, 2, 17]
    assert len(select_shards(plans, None)) == 18
    for wrong in ("", "3-", "5-2", "18", "0-18", "a", "-1", "1,,2"):
        with pytest.raises(DatasetError, match="--shards"):
            select_shards(plans, wrong)


def test_workers_are_lowered_to_what_fits_with_a_reason():
    machine = Resources(cores=4, memory=5 * WORKER_MEMORY)

    assert fit_workers(2, 16, machine) == (2, None)
    assert fit_workers(64, 16, machine)[0] == 4
    assert "4 cores" in fit_workers(64, 16, machine)[1]
    assert fit_workers(64, 3, machine)[1] == "workers: 3 instead of 64: 3 shards to render"
    assert fit_workers(64, 16, Resources(64, 2 * WORKER_MEMORY + 1))[0] == 2
    n, line = fit_workers(4, 16, Resources(64, 100_000_000))
    assert n == 1
    assert "memory may run out" in line
    with pytest.raises(DatasetError, match="--workers: value 0"):
        go(Path("nowhere"), workers=0)


def test_control_groups_of_both_versions_limit_the_memory(tmp_path):
    membership = tmp_path / "cgroup"
    v2 = tmp_path / "job" / "step"
    v2.mkdir(parents=True)
    membership.write_text("0::/job/step\n")
    (v2 / "memory.max").write_text("1000\n")
    (v2 / "memory.current").write_text("700\n")
    (v2 / "memory.stat").write_text("anon 3\ninactive_file 200\n")

    assert min(memory_left(membership, tmp_path)) == 500

    (tmp_path / "job" / "memory.max").write_text("400\n")  # a limit of the group above holds too

    assert min(memory_left(membership, tmp_path)) == 400

    v1 = tmp_path / "memory" / "job"
    v1.mkdir(parents=True)
    (v1 / "memory.limit_in_bytes").write_text("900\n")
    (v1 / "memory.usage_in_bytes").write_text("100\n")
    membership.write_text("5:memory:/job\n4:cpu,cpuacct:/job\n")

    assert min(memory_left(membership, tmp_path)) == 800
    assert list(memory_left(tmp_path / "none", tmp_path)) == []


def test_cores_are_those_that_this_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind processes to cores")
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from synthgen.generator.runs.resources import this_machine; print(this_machine().cores)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "1\n"


def test_progress_counts_samples_and_survives_a_shard_that_starts_again():
    now = [0.0]
    board = Board({0: 100, 1: 100}, workers=2, clock=lambda: now[0])
    now[0] = 1.0
    board.tick(0, 50)

    assert (board.progress().samples_done, board.progress().per_s) == (50, 50.0)
    assert board.progress().per_s_core == 25.0
    assert board.progress().seconds_left == pytest.approx(3.0)

    board.tick(0, 10)  # its worker died
    assert board.progress().samples_done == 10
    board.end(ShardOutcome(0, "a", samples=100))
    board.tick(0, 90)  # late
    assert board.progress().samples_done == 100
    assert board.progress().shards_done == 1


def test_amounts_are_written_for_people():
    assert [byte_size(n) for n in (0, 999, 1500, 450_000_000, 2.5e9, 3e12)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "450 MB",
        "2.5 GB",
        "3.0 TB",
    ]
    assert [duration(s) for s in (0, 61, 3723, 180_000)] == ["0:00:00", "0:01:01", "1:02:03", "2 d 2:00:00"]


def test_the_estimate_of_the_disk_holds_for_what_was_written(reference):
    spec = small_spec()
    used = sum(path.stat().st_size for path in reference.rglob("*") if path.is_file())

    assert hashlib.sha256(sums(reference).encode()).hexdigest()
    assert 0.5 < used / disk_needed(spec, COUNT) < 1.5
