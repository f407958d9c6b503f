"""Progress where nobody watches: a line every half minute, on standard error."""

import pytest

from synthgen.cli import terminal as module
from synthgen.cli.terminal import Bar, counting, terminal, transfer_bar
from synthgen.remote.progress import Transfer


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_a_line_every_half_minute_and_everything_said(clock, capsys):
    with terminal(lambda progress: Bar("0.5 images/s", progress, 2000, 61.0)) as listener:
        listener.say("2 workers [of 4]")
        for second in range(65):
            clock[0] = float(second)
            listener.show(second)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "2 workers [of 4]",
        "30/2,000, 0.5 images/s, 0:01:01 left",
        "60/2,000, 0.5 images/s, 0:01:01 left",
    ]


def test_work_on_files_is_counted_in_bytes(clock, capsys):
    with terminal(transfer_bar, in_bytes=True) as listener:
        clock[0] = 31.0
        listener.show(Transfer("uploading", 3, 18, 500_000, 2_000_000))

    assert capsys.readouterr().err == "uploading: 25 % of 2.0 MB, 3/18 files\n"


def test_what_is_counted_is_named(clock, capsys):
    with counting() as count:
        clock[0] = 31.0
        count("scan7", 7, 12)

    assert capsys.readouterr().err == "7/12, scan7\n"


def test_a_person_sees_a_bar_that_begins_again_with_each_phase(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal(transfer_bar, in_bytes=True) as listener:
        for what in ("checking", "uploading"):
            listener.show(Transfer(what, 1, 18, 500_000, 2_000_000))
            listener._progress.refresh()

    shown = capsys.readouterr().err
    assert "checking" in shown
    assert "uploading" in shown
    assert "1/18 files" in shown
