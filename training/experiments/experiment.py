"""The paper's experiment: all methods under one cross-validation, resumed where it stopped."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.dataset import Dataset
from synthgen.errors import SynthgenError
from synthgen.geometry import Floats
from synthgen.specs.renamed import EXPERIMENT, renames
from synthgen.storage.atomic_files import atomic_file, write_file
from synthgen.training.evaluation.baselines import (
    Neighbours,
    grow_forest,
    mean_annotation,
    mean_depths,
    nearest,
    pack_words,
)
from synthgen.training.evaluation.errors import Prediction
from synthgen.training.evaluation.folds import Fold, Folds, cut_folds
from synthgen.training.evaluation.html_report import Report, report_html
from synthgen.training.evaluation.paper_results import MEAN_DEPTH
from synthgen.training.evaluation.result_figures import draw_figures
from synthgen.training.evaluation.results import Results, compare_methods, results_json
from synthgen.training.evaluation.text_tables import (
    depth_table,
    errors_csv,
    landmark_table,
    markdown,
    method_table,
    ratio_table,
)
from synthgen.training.experiments.domain_gap import Gap, has_own_test_split, own_test_error, scans_error
from synthgen.training.experiments.tuning import Tuning, domain_of, merged, predict, tune, tuning_config
from synthgen.training.loop.checkpoint import WEIGHTS, Checkpoint, load_card, load_checkpoint
from synthgen.training.loop.config import TrainingConfig
from synthgen.training.loop.device import Device
from synthgen.training.loop.job import Keeping, Listener, dataset_job
from synthgen.training.loop.train import train
from synthgen.training.scans.scan_set import ScanSet
from synthgen.training.streaming.packed_samples import Inputs, unpack_masks
from synthgen.training.streaming.shard_cache import ShardBlocks

PLAN, INIT_WEIGHTS = "experiment.json", "init_weights_sha256"
Maker = Callable[[], Prediction]


@dataclass(frozen=True)
class Experiment:
    """What is compared on what."""

    dataset: Dataset
    scans: ScanSet
    scans_sha256: str
    config: TrainingConfig
    folds: Folds
    out: Path
    device: Device
    init: Path | None = None
    """A network that is trained already."""
    command: str = ""
    tune: TrainingConfig | None = None
    """Of the networks from real scans and of the fine-tuned ones alike; the paper's 700 epochs if left out."""
    depth: bool = True
    """Do the depth experiment too, where the scans have depth."""

    def tune_config(self, inputs: Inputs) -> TrainingConfig:
        """Return how networks that look at masks, or at depth, are tuned, from weights and from scratch alike."""
        own = {"input": inputs}
        return self.tune.model_copy(update=own) if self.tune else tuning_config(self.config.model_copy(update=own))

    @property
    def cut(self) -> tuple[Fold, ...]:
        """The folds, by subject."""
        return cut_folds([scan.subject for scan in self.scans.scans], self.folds, self.config.seed)

    def tuning(self, inputs: Inputs) -> Tuning:
        """Return how networks that look at masks, or at depth, are tuned to the scans."""
        return Tuning(self.scans, self.scans_sha256, "scan set", self.tune_config(inputs), self.device)

    def identity(self) -> str:
        """What the results depend on, as JSON.

        The weights of a network that is given are part of it: a folder of results that were made with one before these
        were noted is of another experiment, for nobody knows whether the network is still the same. One without is not.
        """
        init = [asdict(data) for data in load_checkpoint(self.init).history] if self.init else None
        parts = {"dataset": self.dataset.sha256, "scans": self.scans_sha256, "folds": self.folds, "init": init,
                 "config": self.config.model_dump(mode="json")}  # fmt: skip
        if self.init:  # the weights were compared with this digest when they were loaded
            parts[INIT_WEIGHTS] = load_card(self.init).files[WEIGHTS].sha256
        if self.tune:
            parts["tune"] = self.tune.model_dump(mode="json")
        return json.dumps(parts, indent=1, sort_keys=True) + "\n"


def run_experiment(experiment: Experiment, listener: Listener) -> Results:
    """Compare all methods and write results, tables, figures and the report; what is there already is not done again.

    Raises:
        SynthgenError: Data, scans or networks do not fit each other, or the folder holds another experiment.

    """
    _begin(experiment)
    found = {name: _kept(experiment, name, make, listener) for name, make in _methods(experiment, listener).items()}
    depths: dict[str, Floats] = {}
    deep = experiment.depth and experiment.scans.has_depth
    for name, make in (_depth_methods(experiment, listener) if deep else {}).items():
        depth = _kept(experiment, f"depth {name}", make, listener).depth_mm
        if depth is not None:
            depths[name] = depth
    results = compare_methods(experiment.scans, found, depths, seed=experiment.config.seed)
    _write(experiment, found, results, _gap(experiment, found["CNN(syn)"], listener))
    return results


def _begin(experiment: Experiment) -> None:
    different = experiment.dataset.domain.difference(domain_of(experiment.scans.info))
    if different:
        raise SynthgenError(f"--scans: dataset and scan set differ in {different}; build the scans for its spec")
    tuned = experiment.tune_config("mask")
    field = _unlike(tuned, experiment.config)
    if field:
        here, there = getattr(tuned, field), getattr(experiment.config, field)
        raise SynthgenError(f"--tune-config: its {field} is {here}, not {there}; give one that fits --config")
    experiment.cut  # noqa: B018 (refuses too few subjects before any work)
    plan, identity = experiment.out / PLAN, experiment.identity()
    kept = plan.read_text(encoding="utf-8") if plan.is_file() else identity
    if kept != identity:
        other = _other_weights(kept, identity) if experiment.init else ""
        if '"recipe":' in kept:
            other = f" of synthgen 0.1.0 ({renames(EXPERIMENT)})"
        raise SynthgenError(f"--out: value {experiment.out}; it holds another experiment{other}, choose another folder")
    write_file(plan, identity.encode())


def _other_weights(kept: str, identity: str) -> str:
    """Say that two experiments differ in the weights of the network that is given alone; nothing where they do not."""
    try:
        there, here = json.loads(kept), json.loads(identity)
        weights = there.pop(INIT_WEIGHTS, None)
    except (ValueError, AttributeError):
        return ""
    del here[INIT_WEIGHTS]
    if there != here:
        return ""
    return " (with other weights of --init)" if weights else " (its weights of --init were not noted then)"


def _unlike(one: TrainingConfig, other: TrainingConfig) -> str | None:
    """Return the first setting by which two configs are of networks whose weights do not fit each other."""
    return next((field for field in ("arch", "label_range") if getattr(one, field) != getattr(other, field)), None)


def _methods(experiment: Experiment, listener: Listener) -> Mapping[str, Maker]:
    """Return the methods on silhouettes, each to be called for its predictions."""
    scans, folds = experiment.scans, experiment.cut
    masks, points = scans.stacked("mask"), scans.stacked("landmarks_px")

    def by_fold(method: Callable[[list[int], list[int]], Floats]) -> Prediction:
        return merged([Prediction(method(list(fold.train), list(fold.test))) for fold in folds], folds)

    def near(train_rows: list[int], test_rows: list[int]) -> Floats:
        found = nearest(pack_words(masks[test_rows]), pack_words(masks[train_rows]))
        return mean_annotation(found, points[train_rows])

    def forest(train_rows: list[int], test_rows: list[int]) -> Floats:
        grown = grow_forest(masks[train_rows], points[train_rows], experiment.config.seed)
        return grown.predict(masks[test_rows])

    return {
        "NN(syn)": lambda: Prediction(_synthetic_neighbours(experiment, masks)),
        "NN(real)": lambda: by_fold(near),
        "RF": lambda: by_fold(forest),
        "CNN(syn)": lambda: predict(_initial(experiment, "mask", listener), scans.scans, experiment.device),
        "CNN(real)": lambda: _tuned(experiment, "mask", None, listener),
        "CNN(ft)": lambda: _tuned(experiment, "mask", _initial(experiment, "mask", listener), listener),
    }


def _depth_methods(experiment: Experiment, listener: Listener) -> Mapping[str, Maker]:
    scans, folds = experiment.scans.scans, experiment.cut

    def mean() -> Prediction:
        found = [mean_depths([scans[n] for n in fold.train], [scans[n] for n in fold.test]) for fold in folds]
        return merged([Prediction(np.zeros((*depth.shape, 2)), depth) for depth in found], folds)

    return {
        MEAN_DEPTH: mean,
        "CNN(real)": lambda: _tuned(experiment, "depth", None, listener),
        "CNN(ft)": lambda: _tuned(experiment, "depth", _initial(experiment, "depth", listener), listener),
    }


def _initial(experiment: Experiment, inputs: Inputs, listener: Listener) -> Checkpoint:
    """Return the network that was trained on renderings: the one that is given, or one of the experiment's own."""
    if experiment.init is not None and inputs == "mask":
        given = load_checkpoint(experiment.init)
        different = given.domain.difference(domain_of(experiment.scans.info))
        field = _unlike(given.config, experiment.config)
        if field:
            different = different or f"{field}, {getattr(given.config, field)} there"
        if different or given.config.input != inputs or not given.finished:
            reason = different or ("what it looks at" if given.finished else "its training, which has not ended")
            raise SynthgenError(f"--init: value {experiment.init}; it differs in {reason}, give another network")
        return given
    config = experiment.config.model_copy(update={"input": inputs})
    folder = experiment.out / "networks" / f"{inputs}-syn"
    return train(dataset_job(experiment.dataset, config), experiment.device, Keeping(folder), listener)


def _gap(experiment: Experiment, found: Prediction, listener: Listener) -> Gap | None:
    """Return how much worse the network from renderings is on the scans; None where its own test split is not known."""
    path = experiment.out / "predictions" / "test split.npz"
    if not path.is_file():
        network = _initial(experiment, "mask", listener)
        if not has_own_test_split(experiment.dataset, network):
            return None
        error = own_test_error(experiment.dataset, network, experiment.device)
        with atomic_file(path) as file:
            np.savez(file, mean_px=error)
        listener.say(str(Gap(error, scans_error(experiment.scans, found))))
    with np.load(path, allow_pickle=False) as store:
        return Gap(float(store["mean_px"]), scans_error(experiment.scans, found))


def _tuned(experiment: Experiment, inputs: Inputs, initial: Checkpoint | None, listener: Listener) -> Prediction:
    """Return what a network of each fold says about scans of subjects that it has not seen; the networks are kept."""
    tuning, found = experiment.tuning(inputs), []
    for number, fold in enumerate(experiment.cut, 1):
        name = f"{inputs}-{'ft' if initial else 'real'}-{number}"
        listener.say(f"{name} of {len(experiment.cut)}")
        network = tune(tuning, fold.train, initial, Keeping(experiment.out / "networks" / name), listener)
        found.append(predict(network, [experiment.scans.scans[row] for row in fold.test], experiment.device))
    return merged(found, experiment.cut)


def _synthetic_neighbours(experiment: Experiment, masks: NDArray[np.bool_]) -> Floats:
    """Mean annotation of the nearest renderings."""
    blocks = ShardBlocks(experiment.dataset, "train", "mask", experiment.config.samples)
    queries = pack_words(masks)
    points: list[Floats] = []
    found: Neighbours | None = None
    for number in range(len(blocks.sizes)):
        block = blocks.block(number)
        packed = pack_words(unpack_masks(block.images, masks.shape[2]).astype(bool))
        found = nearest(queries, packed, found=found, start=sum(len(part) for part in points))
        points.append(block.landmarks_px)
    if found is None:
        raise SynthgenError("--data: the dataset has no samples; render some")
    return mean_annotation(found, np.concatenate(points))


def _kept(experiment: Experiment, name: str, make: Maker, listener: Listener) -> Prediction:
    """Return a method's predictions, from the folder where they are there."""
    path = experiment.out / "predictions" / f"{name}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as store:
            return Prediction(store["points_px"], store.get("depth_mm"))
    listener.say(name)
    found = make()
    arrays = {"points_px": found.points_px} | ({} if found.depth_mm is None else {"depth_mm": found.depth_mm})
    with atomic_file(path) as file:
        np.savez(file, **arrays)
    return found


def _write(experiment: Experiment, predictions: Mapping[str, Prediction], results: Results, gap: Gap | None) -> None:
    out, config, tuned = experiment.out, experiment.config, experiment.tune_config("mask")
    content = results_json(results) | {"gap": gap and asdict(gap) | {"ratio": gap.ratio}}
    write_file(out / "results.json", (json.dumps(content, indent=1) + "\n").encode())
    write_file(out / "errors.csv", errors_csv(experiment.scans, results).encode())
    tables = [method_table(results), ratio_table(results), *([depth_table(results)] if results.depth else [])]
    tables += [landmark_table(results, name) for name in results.methods]
    write_file(out / "tables.md", "".join(f"## {table.title}\n\n{markdown(table)}\n" for table in tables).encode())
    figures = draw_figures(experiment.scans, predictions, results)
    for figure in figures:
        write_file(out / "figures" / f"{figure.name}.png", figure.light)
    facts = (
        ("Renderings", f"{experiment.dataset.title}, manifest {experiment.dataset.sha256[:16]}"),
        ("Samples used", str(config.samples or "all")),
        ("Network", config.arch),
        ("Training", f"{config.epochs} epochs on renderings, {tuned.epochs} on scans"),
        *((("Gap", str(gap)),) if gap else ()),
        ("Folds", str(experiment.folds)),
        ("Seed", str(config.seed)),
    )
    report = Report("Landmarks on real scans", results, figures, experiment.command, facts)
    write_file(out / "report.html", report_html(report).encode())
