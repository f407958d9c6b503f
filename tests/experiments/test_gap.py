"""The paper's experiment on data made here, by the real commands: a gap between renderings and scans, and its closing.

Renderings are young women's hands, closed and straight; phantom scans are old men's, spread and bent, thresholded so
low that noise and speckle stay in their silhouettes. ``pytest tests/experiments/test_gap.py`` ends with the ratios.
"""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import ndimage
from typer.testing import CliRunner

from synthgen.cli import main as cli
from synthgen.datasets.opening import open_dataset
from synthgen.generator.phantoms.phantom import phantom_scene
from synthgen.specs.files import load_spec
from synthgen.training.experiments.domain_gap import has_own_test_split, own_test_error
from synthgen.training.experiments.tuning import predict_block
from synthgen.training.loop.checkpoint import load_checkpoint
from synthgen.training.loop.config import load_config
from synthgen.training.loop.device import Device
from synthgen.training.scans.scan_set import read_scanset
from synthgen.training.streaming.packed_samples import join_blocks
from synthgen.training.streaming.shard_cache import ShardBlocks

FILES = Path(__file__).parent / "gap"
YOUNG, OLD = FILES / "young.yaml", FILES / "old.yaml"
PHANTOMS = 24
LOW_THRESHOLD = {"threshold": "55", "largest": "no", "min_speckle_mm2": "0", "fill_holes": "no"}
SHAPE = ("gender", "age_years", "hand-fingers-length-incr")
FINGERS = ("index", "middle", "ring", "little")
POSE = (
    "thumb_cmc.abduction_deg",
    *(f"{finger}_mcp.abduction_deg" for finger in FINGERS if finger != "middle"),
    *(f"{finger}_{joint}.flexion_deg" for finger in FINGERS for joint in ("mcp", "pip", "dip")),
)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Home:
    """Where the commands have written to."""

    root: Path
    told: str
    """What the experiment printed."""

    @property
    def results(self) -> dict:
        return json.loads((self.root / "results" / "results.json").read_text(encoding="utf-8"))


def synthgen(*arguments) -> str:
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, f"{arguments}: {done.output} {done.exception!r}"
    return done.output


def threshold_low(table: Path) -> Path:
    """Write a table that asks for silhouettes with what a careful threshold and cleaning would remove."""
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    low = table.with_name("low.csv")
    with low.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *LOW_THRESHOLD], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | LOW_THRESHOLD for row in rows)
    return low


def make_experiment(root: Path, seed: int) -> Home:
    """Go from two specs to the results of the experiment."""
    config, tune = root / "config.yaml", root / "tune.yaml"
    root.mkdir(exist_ok=True)
    for path in (config, tune):
        path.write_text((FILES / path.name).read_text(encoding="utf-8") + f"seed: {seed}\n", encoding="utf-8")
    synthgen("render", "--spec", YOUNG, "--seed", seed, "--workers", 2, "--out", root / "data")
    synthgen("train", "--data", root / "data", "--config", config, "--out", root / "syn", "--device", "cpu")
    options = ["-n", PHANTOMS, "--spacing-mm", 2, "--seed", seed + 1000]
    synthgen("scans", "phantom", "--spec", OLD, *options, "--out", root / "phantoms")
    table = threshold_low(root / "phantoms" / "scans.csv")
    synthgen("scans", "build", table, "--spec", YOUNG, "--out", root / "scans.h5")
    told = synthgen(
        "experiment", "--data", root / "data", "--scans", root / "scans.h5", "--init", root / "syn", "--folds", 3,
        "--config", config, "--tune-config", tune, "--no-depth", "--out", root / "results", "--device", "cpu",
    )  # fmt: skip
    return Home(root, told)


def summary(results: dict) -> str:
    """Return the ratios as lines of text."""
    gap = results["gap"]
    lines = [f"{name:<32}{ratio:6.2f}" for name, ratio in results["ratios"].items()]
    lines.append(f"{'CNN(syn), scans / own test split':<32}{gap['ratio']:6.2f}"
                 f"  ({gap['scans_px']:.2f} / {gap['test_px']:.2f} px of the patch)")  # fmt: skip
    return "\n".join(lines)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("gap"), 0)


def test_shapes_and_poses_of_renderings_and_scans_do_not_meet(home):
    tables = [pq.read_table(path) for path in (home.root / "data" / "labels").glob("*.parquet")]
    young = [row for table in tables for row in table.select(["shape", "pose"]).to_pylist()]
    scene = phantom_scene(load_spec(str(OLD), {"seed": 1000}))
    old = [scene.recipe(index) for index in range(PHANTOMS)]

    assert len(young) == 5000
    for part, names in (("shape", SHAPE), ("pose", POSE)):
        for name in names:
            here, there = [row[part][name] for row in young], [getattr(config, part)[name] for config in old]
            assert max(here) < min(there) or max(there) < min(here), (name, max(here), min(there))


def test_the_silhouettes_of_the_scans_carry_artefacts(home):
    careful = home.root / "careful.h5"
    synthgen("scans", "build", home.root / "phantoms" / "scans.csv", "--spec", YOUNG, "--out", careful)

    assert {count_blobs(scan) for scan in read_scanset(careful).scans} == {1}
    assert np.median([count_blobs(scan) for scan in read_scanset(home.root / "scans.h5").scans]) >= 5


def count_blobs(scan) -> int:
    return ndimage.label(scan.mask, np.ones((3, 3)))[1]


def test_the_gap_is_there_and_fine_tuning_narrows_it(home, record_property):
    results = home.results
    error = {name: method["mean_px"] for name, method in results["methods"].items()}
    record_property("ratios", summary(results))

    assert "CNN(ft)/CNN(real)" in home.told
    assert results["gap"]["scans_px"] > results["gap"]["test_px"]
    assert error["CNN(ft)"] < error["CNN(real)"]


def test_networks_from_real_scans_and_fine_tuned_ones_are_trained_alike(home):
    asked = load_config(home.root / "tune.yaml")
    cards = [
        load_checkpoint(home.root / "results" / "networks" / f"mask-{kind}-{fold}")
        for kind in ("real", "ft")
        for fold in (1, 2, 3)
    ]

    assert all(card.config == asked for card in cards)
    assert {card.place.steps for card in cards} == {asked.epochs}


def test_a_config_of_another_network_cannot_tune(home, tmp_path):
    (tmp_path / "heatmap.yaml").write_text("arch: heatmap\n", encoding="utf-8")
    options = ["--data", home.root / "data", "--scans", home.root / "scans.h5", "--config", home.root / "config.yaml"]
    arguments = ["experiment", *options, "--tune-config", tmp_path / "heatmap.yaml", "--out", tmp_path / "out"]

    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])

    assert str(done.exception) == "--tune-config: its arch is heatmap, not paper; give one that fits --config"
    assert not (tmp_path / "out").exists()


def test_the_error_on_the_test_split_is_that_of_its_predictions(home):
    dataset, device = open_dataset(home.root / "data"), Device(threads=0)
    network = load_checkpoint(home.root / "syn")
    clean = replace(network, config=network.config.changed(artefacts=False))
    blocks = ShardBlocks(dataset, "test", "mask")
    block = join_blocks([blocks.block(number) for number in range(len(blocks.sizes))])
    distances = np.linalg.norm(predict_block(clean, block, device).points_px - block.landmarks_px, axis=2)

    assert len(block) == 100
    assert own_test_error(dataset, clean, device) == pytest.approx(distances.mean(), rel=1e-4)
    assert home.results["gap"]["test_px"] == pytest.approx(own_test_error(dataset, network, device), rel=1e-4)


def test_a_network_has_a_test_split_of_its_own_only_in_its_dataset(home):
    dataset, network = open_dataset(home.root / "data"), load_checkpoint(home.root / "syn")
    elsewhere = replace(network, history=(replace(network.history[0], sha256="0" * 64),))

    assert has_own_test_split(dataset, network)
    assert not has_own_test_split(dataset, elsewhere)
    assert not has_own_test_split(dataset.split("train"), network)
