"""Fine-tuning, prediction and the experiment, end to end on a few renderings and phantoms."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command_line import call_here

from synthgen.datasets.opening import open_dataset
from synthgen.errors import SynthgenError
from synthgen.generator.phantoms.folder import make_phantoms
from synthgen.generator.phantoms.phantom import PhantomOptions
from synthgen.generator.runs.options import RunOptions
from synthgen.generator.runs.run import run
from synthgen.progress import Silent
from synthgen.specs.files import load_spec
from synthgen.storage.atomic_files import file_sha256
from synthgen.training.evaluation.errors import Prediction
from synthgen.training.evaluation.folds import Fold
from synthgen.training.experiments.experiment import Experiment, run_experiment
from synthgen.training.experiments.tuning import Tuning, merged, predict, scan_block, tune, tuning_config
from synthgen.training.loop.checkpoint import load_checkpoint, save_checkpoint
from synthgen.training.loop.config import TrainingConfig, load_config
from synthgen.training.loop.device import Device
from synthgen.training.scans.build import build
from synthgen.training.scans.formats.landmark_files import read_landmarks
from synthgen.training.scans.scan_set import read_scanset

SPEC = load_spec("hand", {"count": 160, "engine": "raster"})
QUICK = "samples: 100\nepochs: 1\naugmentation: {rotation_deg: 5.0}\n"
DEVICE = Device(threads=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A dataset, phantoms and their scan set, a network trained on the dataset, and configs."""
    folder = tmp_path_factory.mktemp("experiment")
    assert run(SPEC, RunOptions(out=folder / "data", workers=1)).sealed
    table = make_phantoms(load_spec("hand", {"seed": 5}), 4, folder / "phantoms", PhantomOptions((3.0, 3.0, 3.0)))
    build(table, SPEC, folder / "scans.h5")
    (folder / "quick.yaml").write_text(QUICK)
    (folder / "tune.yaml").write_text("epochs: 3\nartefacts: false\n")
    return folder


class Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def short():
    """The paper's fine-tuning, cut short."""
    patch = pytest.MonkeyPatch()
    patch.setattr(
        "synthgen.training.experiments.experiment.tuning_config",
        lambda config: tuning_config(config).model_copy(update={"epochs": 2}),
    )
    yield
    patch.undo()


@pytest.fixture(scope="module")
def experiment(home, short):
    return Experiment(
        dataset=open_dataset(home / "data"),
        scans=read_scanset(home / "scans.h5"),
        scans_sha256=file_sha256(home / "scans.h5"),
        config=load_config(home / "quick.yaml"),
        folds=2,
        out=home / "results",
        device=DEVICE,
        command="synthgen experiment",
    )


@pytest.fixture(scope="module")
def results(experiment):
    told = Told()
    return run_experiment(experiment, told), told


@pytest.mark.slow
def test_all_methods_are_compared_and_reported(experiment, results):
    found = json.loads((experiment.out / "results.json").read_text())

    assert list(found["methods"]) == ["NN(syn)", "NN(real)", "RF", "CNN(syn)", "CNN(real)", "CNN(ft)"]
    assert all(np.isfinite(method["mean_mm"]) for method in found["methods"].values())
    assert {"CNN(ft)/CNN(real)", "CNN(syn)/CNN(real)", "NN(syn)/NN(real)"} <= set(found["ratios"])
    assert found["depth"]["CNN(ft)"]["mean_mm"] > 0
    for row in ("## Absolute depth errors, mean ± SD, mm", "| Landmark | Mean depth | CNN(real) | CNN(ft) |"):
        assert row in (experiment.out / "tables.md").read_text(encoding="utf-8").splitlines()
    assert (experiment.out / "report.html").read_text().startswith("<!doctype html>")
    assert {path.name for path in (experiment.out / "figures").iterdir()} >= {"figure2.png", "figure4.png"}


@pytest.mark.slow
def test_what_is_done_is_not_done_again(experiment, results):
    told = Told()

    again = run_experiment(experiment, told)

    assert told.lines == []
    assert [ratio.value for ratio in again.ratios] == [ratio.value for ratio in results[0].ratios]


@pytest.mark.slow
def test_another_experiment_in_the_folder_is_refused(experiment, results):
    other = Experiment(**{**vars(experiment), "folds": 3})

    with pytest.raises(SynthgenError, match="holds another experiment"):
        run_experiment(other, Silent())


@pytest.mark.slow
@pytest.mark.parametrize("noted", [True, False])
def test_a_network_that_was_trained_again_is_another_experiment(experiment, results, tmp_path, noted):
    init, out = tmp_path / "run", tmp_path / "results"
    shutil.copytree(experiment.out / "networks" / "mask-syn", init)
    begun = replace(experiment, init=init, out=out)
    plan = json.loads(begun.identity())
    if noted:
        trained = load_checkpoint(init)
        save_checkpoint(init, replace(trained, weights={name: w + 0.01 for name, w in trained.weights.items()}))
    else:
        del plan["init_weights_sha256"]
    out.mkdir()
    (out / "experiment.json").write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n")

    reason = "with other weights of --init" if noted else "its weights of --init were not noted then"
    with pytest.raises(SynthgenError) as caught:
        run_experiment(begun, Silent())

    expected = f"--out: value {out}; it holds another experiment ({reason}), choose another folder"
    assert str(caught.value) == expected
    assert [path.name for path in out.iterdir()] == ["experiment.json"]


@pytest.mark.slow
def test_the_weights_alone_tell_one_network_from_another(experiment, results, tmp_path):
    """Wherever it lies; and without a network that is given nothing is noted, so older folders are gone on with."""
    network = experiment.out / "networks" / "mask-syn"
    copied = Path(shutil.copytree(network, tmp_path / "copied"))

    assert replace(experiment, init=network).identity() == replace(experiment, init=copied).identity()
    assert "init_weights_sha256" not in experiment.identity()
    with pytest.raises(SynthgenError, match=r"it holds another experiment, choose another folder$"):
        run_experiment(replace(experiment, init=network), Silent())


@pytest.mark.slow
def test_fine_tuning_starts_from_the_weights_and_from_scratch_alike(experiment, results):
    tuned, real = (load_checkpoint(experiment.out / "networks" / f"mask-{kind}-1") for kind in ("ft", "real"))

    assert tuned.config == real.config
    assert [data.kind for data in tuned.history] == ["dataset", "scan set"]
    assert [data.kind for data in real.history] == ["scan set"]
    assert tuned.place.steps == real.place.steps


@pytest.mark.slow
def test_gradients_are_clipped_on_depth_alone(experiment):
    assert (experiment.tuning("mask").config.clip_grad_norm, experiment.tuning("depth").config.clip_grad_norm) == (
        None,
        1.0,
    )
    own = replace(experiment, tune=experiment.config)
    assert (own.tuning("depth").config.clip_grad_norm, own.tuning("depth").config.input) == (None, "depth")


@pytest.mark.slow
def test_a_network_learns_the_scans_it_is_tuned_to(home):
    scans = read_scanset(home / "scans.h5")
    config = TrainingConfig(epochs=40, dropout=0.0, artefacts=False)
    network = tune(Tuning(scans, "", "scans", config, DEVICE), (0, 1, 2, 3))
    found = predict(network, scans.scans, DEVICE).points_px

    assert np.linalg.norm(found - scans.stacked("landmarks_px"), axis=2).mean() < 8


@pytest.mark.slow
def test_depth_goes_there_and_back(home):
    scans = read_scanset(home / "scans.h5").scans
    block = scan_block(scans, "depth")

    for n, scan in enumerate(scans):
        depth = block.depth_near_mm[n] + (block.images[n] - 1.0) / block.depth_steps_per_mm[n]
        assert np.array_equal(block.images[n] > 0, np.isfinite(scan.depth_mm))
        assert np.abs(depth - scan.depth_mm)[block.images[n] > 0].max() <= 0.0251


def test_folds_are_put_back_in_order():
    folds = (Fold((1, 3), (0, 2)), Fold((0, 2), (1, 3)))
    parts = [Prediction(np.full((2, 1, 2), value)) for value in (0.0, 1.0)]

    assert merged(parts, folds).points_px[:, 0, 0].tolist() == [0, 1, 0, 1]


@pytest.mark.slow
def test_the_commands_go_from_scans_to_landmarks(home, experiment, results, capsys, monkeypatch, tmp_path):
    init, image = experiment.out / "networks" / "mask-syn", home / "phantoms" / "hand-000000000.nii.gz"
    tune_it = ["finetune", "--scans", home / "scans.h5", "--folds", "2", "--config", home / "tune.yaml"]

    status, out, _ = call_here(capsys, monkeypatch, *tune_it, "--init", init, "--out", tmp_path / "ft")

    assert status == 0
    assert "mean error" in out
    view = ["--side", "left", "--up", "S", "--viewed-from", "P"]
    find = ["predict", image, "--model", tmp_path / "ft", "--spec", "hand", *view]
    status, out, err = call_here(capsys, monkeypatch, *find, "--out", tmp_path / "found.mrk.json")

    assert status == 0, err
    assert "depth from the mean of the training scans" in out
    points = read_landmarks(tmp_path / "found.mrk.json", SPEC.landmarks.names)
    assert points.frame == "lps_mm"
    assert len(points.points) == 5
    assert (tmp_path / "found.png").is_file()

    folder = tmp_path / "scans"
    folder.mkdir()
    shutil.copy(image, folder / "one.01.nii.gz")
    shutil.copy(image, folder / "one.02.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    (folder / "notes.txt").write_text("no scan either")
    find = ["predict", folder, "--model", tmp_path / "ft", *view]
    status, _, err = call_here(capsys, monkeypatch, *find, "--out", tmp_path / "many")

    assert status == 1
    assert [line.count("broken.nii.gz") for line in err.splitlines()] == [1, 1]
    assert "1 of 3 could not be used" in err
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert names == ["one.01.mrk.json", "one.01.png", "one.02.mrk.json", "one.02.png"]
    assert read_landmarks(tmp_path / "many" / "one.01.mrk.json", SPEC.landmarks.names) == points
    for ending in ("csv", "json"):
        find = ["predict", image, "--model", tmp_path / "ft", *view, "--out", tmp_path / f"found.{ending}"]
        assert call_here(capsys, monkeypatch, *find)[0] == 0
        assert "uncertainty_mm" in (tmp_path / f"found.{ending}").read_text()
        again = read_landmarks(tmp_path / f"found.{ending}", SPEC.landmarks.names)
        assert np.allclose([*again.points.values()], [*points.points.values()])
    status, _, err = call_here(capsys, monkeypatch, "predict", image, image, *find[2:], "--out", tmp_path / "twice")
    assert status == 2
    assert "would write the same files" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["finetune", "--scans", "{home}/scans.h5", "--folds", "9", "--out", "{tmp}/x"], "--folds"),
        (["finetune", "--scans", "{home}/none.h5", "--out", "{tmp}/x"], "none.h5"),
        (["train", "--data", "{tmp}", "--out", "{tmp}/x"], "is not a dataset folder"),
        (["train", "--data", "{home}/data", "--config", "quick_hnd", "--out", "{tmp}/x"], "quick_hand"),
        (["predict", "a.nii", "--model", "{tmp}", "--spec", "hand", "--out", "{tmp}/a.csv"], "checkpoint.json"),
    ],
)
def test_mistakes_are_one_line(home, tmp_path, capsys, monkeypatch, arguments, text):
    given = [argument.format(home=home, tmp=tmp_path) for argument in arguments]

    status, _, err = call_here(capsys, monkeypatch, *given)

    assert status == 2
    assert err.count("\n") == 1
    assert text in err
    assert not (tmp_path / "x").exists()
