"""The progress of a run, its speed, and its record in ``run.json``."""

import json
import platform
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import synthgen
from synthgen.generator.runs.worker import ShardOutcome
from synthgen.progress import ProgressListener
from synthgen.storage.atomic_files import write_file
from synthgen.storage.dataset_paths import RUN_FILE

_WINDOW_S = 30.0


@dataclass(frozen=True)
class Progress:
    """The state of a run at one moment."""

    samples_done: int
    samples: int
    shards_done: int
    shards: int
    failed: int
    per_s: float
    """Images per second over the last 30 s."""
    per_s_core: float
    seconds_left: float | None
    """None while the rate is unknown."""


Listener = ProgressListener[Progress]


class Board:
    """Counts the samples and shards that a run has rendered."""

    def __init__(self, sizes: dict[int, int], workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.outcomes: list[ShardOutcome] = []
        self.workers = workers
        self._sizes = sizes
        self._running: dict[int, int] = {}
        self._ended: set[int] = set()
        self._clock = clock
        self.began = clock()
        self._past: deque[tuple[float, int]] = deque([(self.began, 0)])

    def tick(self, number: int, samples: int) -> None:
        """Receive the progress of a running shard; late reports of finished shards are ignored."""
        if number not in self._ended:
            self._running[number] = samples

    def end(self, outcome: ShardOutcome) -> None:
        """Receive the outcome of a shard."""
        self._ended.add(outcome.number)
        self._running.pop(outcome.number, None)
        self.outcomes.append(outcome)

    def progress(self) -> Progress:
        """Return the run's progress."""
        failed = [o for o in self.outcomes if o.error is not None]
        samples_done = sum(self._sizes[o.number] for o in self.outcomes) + sum(self._running.values())
        left = sum(self._sizes.values()) - samples_done
        per_s = self._rate(samples_done)
        return Progress(
            samples_done=samples_done,
            samples=sum(self._sizes.values()),
            shards_done=len(self.outcomes) - len(failed),
            shards=len(self._sizes),
            failed=len(failed),
            per_s=per_s,
            per_s_core=per_s / self.workers,
            seconds_left=left / per_s if per_s > 0 else None,
        )

    def _rate(self, samples_done: int) -> float:
        now = self._clock()
        self._past.append((now, samples_done))
        while len(self._past) > 2 and self._past[1][0] <= now - _WINDOW_S:
            self._past.popleft()
        then, done_then = self._past[0]
        # A shard whose worker died starts again from 0, so the count can decrease.
        return max(0.0, (samples_done - done_then) / (now - then)) if now > then else 0.0


@dataclass(frozen=True)
class RunReport:
    """What a run did."""

    root: Path
    outcomes: tuple[ShardOutcome, ...]
    """Outcomes of the shards that ended in this run."""
    present: int
    """Requested shards that existed before."""
    missing: int
    """Shards of the whole dataset that are still missing."""
    workers: int
    seconds: float
    sealed: bool
    interrupted: bool = False

    @property
    def failed(self) -> tuple[ShardOutcome, ...]:
        """The shards that could not be rendered."""
        return tuple(o for o in self.outcomes if o.error is not None)

    @property
    def samples(self) -> int:
        """Samples rendered and kept in this run."""
        return sum(o.samples for o in self.outcomes if o.error is None)

    @property
    def per_s(self) -> float:
        """Images per second over the whole run."""
        return self.samples / self.seconds if self.seconds > 0 else 0.0

    @property
    def redraw_rate(self) -> float:
        """Fraction of impossible poses among all poses drawn, 0 to 1."""
        redraws = sum(o.redraws for o in self.outcomes if o.error is None)
        return redraws / (redraws + self.samples) if redraws else 0.0


def record_run(report: RunReport) -> None:
    """Append the run to ``run.json``, the only file of a dataset that differs between runs."""
    path = report.root / RUN_FILE
    entry = {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "system": platform.platform(),
        "synthgen": synthgen.__version__,
        "commit": _commit(),
        "workers": report.workers,
        "seconds": round(report.seconds, 3),
        "samples": report.samples,
        "images_per_s": round(report.per_s, 3),
        "images_per_s_core": round(report.per_s / report.workers, 3),
        "redraw_rate": round(report.redraw_rate, 5),
        "interrupted": report.interrupted,
        "sealed": report.sealed,
        "failed": [{"shard": o.number, "path": o.path, "error": o.error, "detail": o.detail} for o in report.failed],
    }
    write_file(path, (json.dumps({"runs": [*_earlier(path), entry]}, indent=2) + "\n").encode())


def _earlier(path: Path) -> Sequence[Any]:
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return runs if isinstance(runs, list) else []


def _commit() -> str | None:
    """Return the commit of the checkout from which synthgen runs; None if it is installed as a package."""
    checkout = Path(synthgen.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
