"""A run: renders the missing shards of a dataset on a cluster, and seals the dataset once it is complete.

A shard is written completely or not at all, and its bytes depend only on the spec. So a run can be stopped at any
time; the next one resumes it by rendering what is missing.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from synthgen.datasets.plan import ShardPlan, plan_shards
from synthgen.errors import DatasetError
from synthgen.generator.dataset.clear import clear_dataset, dataset_bytes
from synthgen.generator.dataset.folder import seal_dataset, start_dataset
from synthgen.generator.dataset.shards import shard_done
from synthgen.generator.engines.availability import check_engine
from synthgen.generator.runs.cluster import check_workers, open_cluster, render_shards
from synthgen.generator.runs.options import RunOptions, check_target, select_shards
from synthgen.generator.runs.progress import Board, Listener, RunReport, record_run
from synthgen.generator.runs.resources import fit_run
from synthgen.generator.runs.worker import Opener, PipelineSetup, ShardTask, open_default
from synthgen.interrupts import stop_on_signals
from synthgen.progress import Silent
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.dataset_paths import CHECKSUMS


def run(
    spec: ResolvedSpec, options: RunOptions, listener: Listener | None = None, opener: Opener = open_default
) -> RunReport:
    """Render the missing shards of a dataset, and seal it once it is complete.

    Args:
        spec: The spec.
        options: Target folder, workers and shards.
        listener: Receives messages and progress.
        opener: Opens the pipeline in a worker; replaced in tests.

    Raises:
        SynthgenError: The run cannot start or continue, for a reason that the user can fix.

    """
    listener = listener or Silent()
    check_engine(spec.engine)
    plans = plan_shards(spec.name, spec.version, spec.count)
    chosen = select_shards(plans, options.shards)
    root = options.out.absolute()
    check_target(root)
    missing = chosen if options.overwrite else [plan for plan in chosen if not shard_done(plan, root)]
    freed = dataset_bytes(root) if options.overwrite else 0
    workers = fit_run(spec, missing, options, freed, listener.say)
    setup = PipelineSetup(spec.model_dump_json(), opener)
    tasks = [ShardTask(setup, plan, root) for plan in missing]
    with stop_on_signals() as stopping, open_cluster(options, workers, idle=not missing) as cluster:
        if options.overwrite:
            clear_dataset(root)
        start_dataset(root, spec)
        if options.scheduler and cluster:
            check_workers(cluster, options.scheduler, root)
        board = Board({plan.number: plan.samples for plan in missing}, cluster.workers if cluster else workers)
        if cluster:
            render_shards(cluster, tasks, board, stopping, listener)
        ended = time.monotonic()
    sealed, interrupted = _seal(spec, plans, root, listener, interrupted=stopping.is_set())
    report = RunReport(
        root=root,
        outcomes=tuple(board.outcomes),
        present=len(chosen) - len(missing),
        missing=sum(not shard_done(plan, root) for plan in plans),
        workers=board.workers,
        seconds=ended - board.began,
        sealed=sealed,
        interrupted=interrupted,
    )
    record_run(report)
    return report


def _seal(
    spec: ResolvedSpec, plans: Sequence[ShardPlan], root: Path, listener: Listener, *, interrupted: bool
) -> tuple[bool, bool]:
    """Seal the dataset if it is complete; return whether it is sealed, and whether the user interrupted it."""
    if interrupted or not all(shard_done(plan, root) for plan in plans):
        return False, interrupted
    if not (root / CHECKSUMS).exists():
        listener.say(f"sealing {root}")
    try:
        return seal_dataset(root, spec, plans), False
    except KeyboardInterrupt:
        return False, True
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(
            f"{root}: cannot be sealed ({reason}); fix this and run the same command again, which only seals it"
        ) from error
