"""Fine-tuning to a folder: a network for each fold with its errors, and one trained on all scans, for use."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import SynthgenError
from synthgen.geometry import Floats
from synthgen.storage.atomic_files import write_file
from synthgen.training.evaluation.errors import landmark_depths_mm
from synthgen.training.evaluation.folds import Folds, cut_folds
from synthgen.training.evaluation.results import Results, compare_methods, results_json
from synthgen.training.experiments.tuning import Tuning, merged, predict, tune
from synthgen.training.loop.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from synthgen.training.loop.job import Keeping, Listener
from synthgen.training.scans.scan_set import Scan

RESULTS, PRIOR = "results.json", "prior.json"
METHOD = "CNN"
MAX_PRIOR_BYTES = 2**20


@dataclass(frozen=True)
class Request:
    """What is fine-tuned, and to where."""

    tuning: Tuning
    folds: Folds
    out: Path
    init: Path | None = None
    """A network that is trained already; None: from scratch."""


def finetune(request: Request, listener: Listener) -> Results:
    """Fine-tune a network for each fold and one on all scans; existing networks are not trained again.

    Raises:
        SynthgenError: Network and scans do not fit each other, or the folder holds another fine-tuning.

    """
    tuning, scans = request.tuning, request.tuning.scans.scans
    folds = cut_folds([scan.subject for scan in scans], request.folds, tuning.config.seed)
    initial, found = _initial(request), []
    for number, fold in enumerate(folds, 1):
        listener.say(f"fold {number} of {len(folds)}")
        network = tune(tuning, fold.train, initial, Keeping(request.out / f"fold-{number}"), listener)
        found.append(predict(network, [scans[row] for row in fold.test], tuning.device))
    listener.say("all scans")
    tune(tuning, tuple(range(len(scans))), initial, Keeping(request.out), listener)
    _write_prior(request.out, scans)
    prediction = merged(found, folds)
    depths = {} if prediction.depth_mm is None else {METHOD: prediction.depth_mm}
    results = compare_methods(tuning.scans, {METHOD: prediction}, depths, seed=tuning.config.seed)
    content = results_json(results) | {"folds": len(folds)}
    write_file(request.out / RESULTS, (json.dumps(content, indent=1) + "\n").encode())
    return results


def _initial(request: Request) -> Checkpoint | None:
    if request.init is None:
        return None
    given, config = load_checkpoint(request.init), request.tuning.config
    different = given.domain.difference(request.tuning.domain)
    if different:
        raise CheckpointError(f"--init: value {request.init}; it differs from the scans in {different}")
    for field in ("arch", "input", "label_range"):
        if getattr(given.config, field) != getattr(config, field):
            raise CheckpointError(
                f"--init: value {request.init}; its {field} is {getattr(given.config, field)}, "
                f"not {getattr(config, field)}; give a config that fits it"
            )
    return given


def _write_prior(out: Path, scans: tuple[Scan, ...]) -> None:
    """Write the mean normalized depth of each landmark, used where no network predicts depth."""
    rows = []
    for scan in scans:
        if scan.depth_mm is not None:
            seen = scan.depth_mm[np.isfinite(scan.depth_mm)].astype(np.float64)
            rows.append((landmark_depths_mm(scan) - seen.mean()) / max(float(seen.std()), 1e-9))
    if rows:
        known = np.isfinite(rows)
        means = np.where(known, rows, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        if known.any(axis=0).all():
            write_file(out / PRIOR, (json.dumps({"normalized_depth": means.round(6).tolist()}) + "\n").encode())


def read_prior(folder: Path, landmarks: int) -> Floats | None:
    """Return the mean normalized depth of each landmark, (K,), where a fine-tuning has written it.

    Raises:
        SynthgenError: The file is damaged.

    """
    path = folder / PRIOR
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content: Any = json.loads(file.read(MAX_PRIOR_BYTES))
        prior = np.array(content["normalized_depth"], dtype=np.float64)
    except (ValueError, KeyError, TypeError, RecursionError):
        prior = np.empty(0)
    if prior.shape != (landmarks,) or not np.isfinite(prior).all():
        raise SynthgenError(f"{path}: is damaged; fine-tune again")
    return prior
