"""Resources that a run needs and that this machine has: cores, memory, disk."""

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import psutil

from synthgen.errors import DatasetError
from synthgen.generator.runs.options import RunOptions, nearest_folder
from synthgen.quantities import byte_size
from synthgen.specs.spec import ResolvedSpec

if TYPE_CHECKING:  # the doctor checks the machine without the packages that write shards
    from synthgen.datasets.plan import ShardPlan

WORKER_MEMORY = 590_000_000
"""Bytes of one busy worker, measured: Blender, the model and Dask."""
_FIXED_BYTES = {"hand": 5_900, "body": 10_500}
"""Bytes per sample: labels, tar headers and padding, the label tables."""
_BYTES_PER_PX = 0.5
"""Bytes of the compressed images per pixel: mostly the depth inside the silhouette."""
_SPARE = 16_000_000
"""Bytes kept free on the disk for checksums, card and preview."""
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Resources:
    """Resources available to this process."""

    cores: int
    memory: int
    """Bytes not in use."""


def this_machine() -> Resources:
    """Return the machine's resources within the limits of this process' control groups and affinity."""
    from dask.system import cpu_count  # noqa: PLC0415 (Dask is slow to load, and few commands need this)

    memory = psutil.virtual_memory().available
    if sys.platform == "linux":
        memory = min([memory, *memory_left(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])
    return Resources(cores=cpu_count(), memory=memory)


def memory_left(membership: Path, mount: Path) -> Iterator[int]:
    """Yield the bytes left to each control group that limits this process.

    Dask's `distributed.system.memory_limit` knows the limits, but not how much of them is in use.

    Args:
        membership: ``/proc/self/cgroup``: lines ``id:controllers:path``, version 2 with an empty middle.
        mount: Where the control groups are mounted.

    """
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            for folder in _upwards(mount, path):
                yield _left(folder, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            for folder in _upwards(mount / "memory", path):
                yield _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes")


def _upwards(mount: Path, path: str) -> Iterable[Path]:
    """Return the group's folder and its ancestors; inside a container the process' group is the mount itself."""
    inner = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath(path)
    return [mount / inner, *(mount / p for p in inner.parents)] if inner.parts else [mount]


def _left(folder: Path, limit_name: str, usage_name: str) -> int:
    limit, usage = _read(folder / limit_name), _read(folder / usage_name)
    if not limit.isdigit():
        return _UNLIMITED
    return max(0, int(limit) - (int(usage) if usage.isdigit() else 0) + _page_cache(folder))


def _page_cache(folder: Path) -> int:
    """Return the bytes that count as used but can be reclaimed: cached files."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in {"inactive_file", "total_inactive_file"} and value.isdigit():
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def fit_run(
    spec: ResolvedSpec, missing: "Sequence[ShardPlan]", options: RunOptions, freed: int, say: Callable[[str], None]
) -> int:
    """Report what a run needs, check the disk space, and return the number of local workers.

    Args:
        spec: Resolved.
        missing: The shards to render.
        options: Options of the run.
        freed: Bytes that are removed from the disk first.
        say: Receives messages for the user.

    Raises:
        DatasetError: The disk is too small, or fewer than one worker is asked for.

    """
    if options.workers is not None and options.workers < 1:
        raise DatasetError(f"--workers: value {options.workers}; give 1 or more")
    if not missing:
        return 1
    samples = sum(plan.samples for plan in missing)
    needed = disk_needed(spec, samples)
    check_disk(options.out, needed, freed)
    room = f"about {byte_size(needed)} of disk ({byte_size(disk_free(options.out) + freed)} free)"
    shards = _plural(len(missing), "shard")
    if options.scheduler:
        say(f"{samples:,} samples in {shards}: {room}; {byte_size(WORKER_MEMORY)} of memory per worker")
        return 1
    machine = this_machine()
    workers, line = fit_workers(options.workers or machine.cores, len(missing), machine)
    if line and options.workers:
        say(line)
    memory = f"{byte_size(workers * WORKER_MEMORY)} of memory ({byte_size(machine.memory)} free)"
    say(f"{samples:,} samples in {shards}: {room}, {memory}, {_plural(workers, 'worker')}")
    return workers


def fit_workers(wanted: int, shards: int, machine: Resources) -> tuple[int, str | None]:
    """Reduce the number of workers to what the machine and the work allow.

    Returns:
        The number of workers, at least 1, and a line that says why it was reduced, or None.

    """
    reasons = [
        (wanted, ""),
        (machine.cores, _plural(machine.cores, "core")),
        (
            machine.memory // WORKER_MEMORY,
            f"{byte_size(machine.memory)} of memory free, {byte_size(WORKER_MEMORY)} per worker",
        ),
        (shards, f"{_plural(shards, 'shard')} to render"),
    ]
    workers, reason = min(reasons, key=lambda pair: pair[0])
    if workers < 1:
        return 1, f"workers: 1 instead of {wanted}, and memory may run out: {reason}"
    return workers, f"workers: {workers} instead of {wanted}: {reason}" if reason else None


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def disk_needed(spec: ResolvedSpec, samples: int) -> int:
    """Estimate the bytes of a number of samples, with their tables."""
    pixels = spec.image.width * spec.image.height
    return round(samples * (_FIXED_BYTES[spec.model] + _BYTES_PER_PX * pixels))


def disk_free(path: Path) -> int:
    """Return the free bytes on the disk where ``path`` is or will be created."""
    return shutil.disk_usage(nearest_folder(path)).free


def check_disk(out: Path, needed: int, freed: int = 0) -> None:
    """Check that a dataset fits on the disk.

    Args:
        out: The dataset folder, which need not exist yet.
        needed: Bytes, as estimated by `disk_needed`.
        freed: Bytes that will be removed first.

    Raises:
        DatasetError: It does not.

    """
    free = disk_free(out) + freed
    if needed + _SPARE > free:
        raise DatasetError(
            f"{out}: needs about {byte_size(needed + _SPARE)}, but only {byte_size(free)} are free; "
            "choose another --out, a smaller --count or fewer --shards"
        )
