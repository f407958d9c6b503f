"""Ctrl-C ends a training from a spec within seconds, whatever its workers do, and says so."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import BrokenExecutor
from multiprocessing.context import SpawnProcess

import numpy as np
import psutil
import pytest
from support.fake_balls import small_spec
from support.fake_live import open_balls
from support.paths import import_paths
from support.processes import until

from synthgen.generator.runs.on_demand import LiveRenderer, live_renderer
from synthgen.generator.runs.worker import PipelineSetup

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = {paths!r}
if __name__ == "__main__":
    from test_on_demand_stop import open_never
    from synthgen.cli import main as cli
    from synthgen.generator.runs import on_demand as live

    start, submit = live.live_renderer, live.LiveRenderer.submit

    def asked(self, indices):
        Path({folder!r}, "asked").touch()
        return submit(self, indices)

    if {hang}:
        live.live_renderer = lambda setup, *rest, **more: start(replace(setup, opener=open_never), *rest, **more)
        live.LiveRenderer.submit = asked
    cli.main()
"""


def open_never(spec):
    """What a worker does on a machine with too much to do: it takes minutes to begin."""
    time.sleep(600)


@pytest.fixture
def start(tmp_path):
    """Start a training as from a terminal, with processes of a group of its own."""
    begun = []

    def begin(*, hang: bool) -> subprocess.Popen:
        script = tmp_path / "command.py"
        script.write_text(SCRIPT.format(paths=import_paths(__file__), folder=str(tmp_path), hang=hang))
        options = ["--steps", "400", "--workers", "2", "--config", "quick_hand", "--device", "cpu"]
        command = [sys.executable, script, "train", "--spec", "hand", *options, "--out", tmp_path / "run"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(command, start_new_session=True, **pipes))
        return begun[0]

    yield begin
    for pid in of_session(begun[0].pid):
        os.kill(pid, signal.SIGKILL)
    begun[0].communicate()


def of_session(session: int) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def workers(command: subprocess.Popen) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(command.pid).children() if "spawn_main" in str(child.cmdline())]
    except psutil.Error:
        return []


def stop(command: subprocess.Popen) -> tuple[str, str]:
    """Press Ctrl-C, and return what the command said until it had ended."""
    assert command.poll() is None, command.communicate()
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does: to the workers too
    # One or two seconds where the machine has nothing else to do; never the workers' ten minutes.
    said = command.communicate(timeout=300)
    until(lambda: not of_session(command.pid))
    return said


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["the first worker", "half a second later", "they hang", "a checkpoint"])
def test_ctrl_c_makes_no_noise_and_leaves_nothing_behind(start, tmp_path, moment):
    command = start(hang=moment == "they hang")
    until(lambda: workers(command) or command.poll() is not None)
    if moment == "half a second later":
        time.sleep(0.5)
    elif moment == "they hang":
        until(lambda: (tmp_path / "asked").is_file() or command.poll() is not None)
        time.sleep(0.5)  # the training waits for its first batch
    elif moment == "a checkpoint":
        until((tmp_path / "run" / "log.csv").is_file)
    said = stop(command)

    assert (command.returncode, *said) == (130, "", "error: stopped\n")
    assert of_session(command.pid) == []


def test_ctrl_c_while_workers_start_comes_once_they_have(monkeypatch):
    first = threading.Event()

    def press():
        first.wait()
        os.kill(os.getpid(), signal.SIGINT)  # a thread takes it, the main thread is told

    def getting_late(process):
        begin(process)
        first.set()
        thread.join()  # the signal has been sent, however busy the machine is
        begun.append(process.pid)

    begin, begun = SpawnProcess.start, []
    monkeypatch.setattr(SpawnProcess, "start", getting_late)
    handler = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=press)
    thread.start()
    with (
        pytest.raises(KeyboardInterrupt),
        live_renderer(PipelineSetup(small_spec().model_dump_json(), open_balls), 2, depth=False),
    ):
        raise AssertionError("began in spite of it")  # pragma: no cover

    assert len(begun) == 2
    assert not any(psutil.pid_exists(pid) for pid in begun)
    assert signal.getsignal(signal.SIGINT) is handler


def press_where_python_drops_it(_renderer):
    def callback(_reference):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # the handler runs here, and what it raises goes nowhere

    watched = threading.Event()
    reference = weakref.ref(watched, callback)
    del watched
    assert reference() is None


def ask_after(happening):
    with live_renderer(PipelineSetup(small_spec().model_dump_json(), open_balls), 1, depth=False) as renderer:
        happening(renderer)
        renderer.submit(np.arange(4)).result(timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("happening", "error"), [(press_where_python_drops_it, KeyboardInterrupt), (LiveRenderer.kill, BrokenExecutor)]
)
def test_a_dropped_ctrl_c_is_told_of_when_workers_are_missed(capfd, happening, error):
    hook = sys.unraisablehook
    with pytest.raises(error):
        ask_after(happening)

    assert capfd.readouterr().err == ""
    assert sys.unraisablehook is hook
