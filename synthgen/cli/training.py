"""The commands that train: train, finetune, experiment, predict. Heavy imports stay inside the commands."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synthgen.cli.data_options import DATA_HELP, CacheOption, DataOptions, NoCacheOption
from synthgen.cli.on_demand import Live, LiveSpecOption, LiveWorkersOption, StepsOption, live_options, live_training
from synthgen.cli.options import TRAIN
from synthgen.cli.terminal import Bar, terminal, transfer_bar
from synthgen.errors import DatasetError, ScanError

if TYPE_CHECKING:
    from synthgen.training.loop.config import TrainingConfig
    from synthgen.training.loop.device import Device
    from synthgen.training.loop.job import Job, Listener, Progress

DataOption = Annotated[str, typer.Option("--data", help=DATA_HELP)]
ScansOption = Annotated[Path, typer.Option("--scans", help="Scan set (.h5).")]
ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        help="Training config, a YAML file or built-in: paper_hand, paper_body, quick_hand, quick_body, quick_heatmap.",
    ),
]
InputOption = Annotated[
    Literal["mask", "depth"] | None,
    typer.Option("--input", help="Input of the network, instead of the training config's."),
]
ArchOption = Annotated[
    Literal["paper", "heatmap"] | None,
    typer.Option("--arch", help="Network architecture, instead of the training config's."),
]
FoldsOption = Annotated[str, typer.Option("--folds", help="Number of folds, split by subject, or leave-one-out.")]
InitOption = Annotated[str | None, typer.Option("--init", help="Pretrained network: a folder, or hf://owner/name.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(
        "--precision", help="Compute precision of the layers; auto: bfloat16 on a GPU that supports it, else float32."
    ),
]
_IMAGES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".png", ".jpg", ".jpeg", ".dcm")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    command = partial(app.command, rich_help_panel=TRAIN)
    command(
        epilog="Examples: synthgen train --data data/hand --config quick_hand --out runs/hand-syn · "
        "synthgen train --spec hand --steps 3600 --config quick_hand --out runs/hand-live",
    )(train)
    command(
        epilog="Examples: synthgen finetune --scans scans.h5 --init runs/hand-syn --folds 3 --out runs/hand-ft · "
        "synthgen finetune --scans scans.h5 --folds leave-one-out --out runs/scratch",
    )(finetune)
    command(
        epilog="Example: synthgen experiment --data data/hand --scans scans.h5 --config quick_hand --folds 3 "
        "--out results",
    )(experiment)
    command(
        epilog="Examples: synthgen predict --model runs/hand-ft scan.nii.gz --side left --up S --viewed-from P "
        "--out landmarks.mrk.json · synthgen predict --model hf://user/hand-landmarks@v1.0.0 scans --out found",
    )(predict)


def train(
    *,
    out: Annotated[Path, typer.Option("--out", help="Output folder of the network.")],
    data: Annotated[str | None, typer.Option("--data", help=DATA_HELP)] = None,
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    spec: LiveSpecOption = None,
    steps: StepsOption = None,
    workers: LiveWorkersOption = None,
    config: ConfigOption = "paper_hand",
    arch: ArchOption = None,
    inputs: InputOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network: takes a minute, then faster on a GPU.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard curves.")] = False,
) -> None:
    """Train a network on renderings. Run the same command again to resume."""
    live = live_options(data, spec, steps, workers)
    if live and (cache is not None or no_cache):
        raise DatasetError("--cache, --no-cache: only apply to --data; remove them, because --spec downloads nothing")
    from synthgen.training.loop.device import find_device, processes
    from synthgen.training.loop.job import Keeping
    from synthgen.training.loop.train import train as run

    run_on, chosen = find_device(device, precision, compile_model=compiled), _config(config, inputs, arch)
    source = live or DataOptions(data or "", cache, no_cache)
    with terminal(_bar) as listener, _job(source, chosen, run_on, listener) as job, processes(run_on):
        done = run(job, run_on, Keeping(out, tensorboard=tensorboard), listener)
    typer.echo(f"{out}: {done.config.arch} network, {done.config.epochs} epochs, {done.place.steps:,} steps; "
               f"losses in {out / 'log.csv'}")  # fmt: skip


@contextmanager
def _job(
    source: Live | DataOptions, config: "TrainingConfig", device: "Device", listener: "Listener"
) -> "Iterator[Job]":
    """Yield a training on a dataset, or on a spec whose samples are rendered on demand while the block runs."""
    if isinstance(source, Live):
        with live_training(source, config, device, listener.say) as job:
            yield job
        return
    from synthgen.training.loop.job import dataset_job

    say = listener.say if device.ranks.rank == 0 else lambda _: None
    yield dataset_job(source.open(config.samples, say), config, device.ranks)


def finetune(
    *,
    scans: ScansOption,
    out: Annotated[Path, typer.Option("--out", help="Output folder of the network.")],
    init: InitOption = None,
    folds: FoldsOption = "3",
    config: Annotated[
        str | None,
        typer.Option("--config", help="Training config of the fine-tuning. Default: the paper's 700 epochs."),
    ] = None,
    inputs: InputOption = None,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Fine-tune a network on real scans: once per fold of a cross-validation, and once on all scans, for use."""
    from synthgen.training.evaluation.folds import parse_folds
    from synthgen.training.experiments.cross_validation import METHOD, Request
    from synthgen.training.experiments.cross_validation import finetune as run
    from synthgen.training.experiments.tuning import tuning_of
    from synthgen.training.loop.device import find_device

    cut = parse_folds(folds)
    begun = _model(init, cache) if init else None
    tuning = tuning_of(scans, find_device(device, precision), begun, config, inputs)
    with terminal(_bar) as listener:
        results = run(Request(tuning, cut, out, begun), listener)
    overall = results.methods[METHOD].overall
    errors = [f"{stats.mean:.2f} {unit}" for unit, stats in (("px of the source", overall.px), ("mm", overall.mm))
              if stats.mean == stats.mean]  # fmt: skip
    typer.echo(f"{out}: mean error {', '.join(errors)}; {len(tuning.scans.scans)} scans, folds {folds}")


def experiment(
    *,
    data: DataOption,
    scans: ScansOption,
    out: Annotated[Path, typer.Option("--out", help="Output folder of the results.")] = Path("results"),
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    config: ConfigOption = "quick_hand",
    arch: ArchOption = None,
    folds: FoldsOption = "3",
    init: InitOption = None,
    tune_config: Annotated[
        str | None,
        typer.Option("--tune-config", help="Training config of CNN(real) and CNN(ft). Default: the paper's."),
    ] = None,
    no_depth: Annotated[bool, typer.Option("--no-depth", help="Skip the depth experiment.")] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
) -> None:
    """Compare all methods of the paper in one cross-validation: tables, figures and a report."""
    from synthgen.storage.atomic_files import file_sha256
    from synthgen.training.evaluation.folds import parse_folds
    from synthgen.training.evaluation.text_tables import markdown, method_table, ratio_table
    from synthgen.training.experiments.experiment import Experiment, run_experiment
    from synthgen.training.loop.device import find_device
    from synthgen.training.scans.scan_set import read_scanset

    chosen, begun = _config(config, None, arch), _model(init, cache) if init else None
    with terminal(_bar) as listener:
        task = Experiment(
            dataset=DataOptions(data, cache, no_cache).open(chosen.samples, listener.say),
            scans=read_scanset(scans),
            scans_sha256=file_sha256(scans),
            config=chosen,
            folds=parse_folds(folds),
            out=out,
            device=find_device(device, precision),
            init=begun,
            command=shlex.join(["synthgen", *sys.argv[1:]]),
            tune=_config(tune_config, None) if tune_config else None,
            depth=not no_depth,
        )
        results = run_experiment(task, listener)
    typer.echo(markdown(method_table(results)))
    typer.echo(markdown(ratio_table(results)))
    typer.echo(out / "report.html")


def predict(
    *,
    images: Annotated[list[Path], typer.Argument(metavar="SCAN...", help="Scans, or one folder of scans.")],
    model: Annotated[str, typer.Option("--model", help="Network: a folder, or hf://owner/name[@revision].")],
    out: Annotated[Path, typer.Option("--out", help="A .mrk.json, .csv or .json file; a folder for several scans.")],
    spec: Annotated[
        str | None, typer.Option("--spec", help="Require that the network was trained for the patches of this spec.")
    ] = None,
    depth_model: Annotated[
        str | None, typer.Option("--depth-model", help="Network on depth images: a folder, or hf://owner/name.")
    ] = None,
    side: Annotated[str | None, typer.Option("--side", help="Side of the hand: left or right.")] = None,
    up: Annotated[str | None, typer.Option("--up", help="Patient direction that is up: L R A P S I.")] = None,
    viewed_from: Annotated[str | None, typer.Option("--viewed-from", help="Patient direction of the viewer.")] = None,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Find the landmarks in new scans, in mm of the scan, and draw them."""
    from synthgen.specs.domain import Domain
    from synthgen.specs.files import load_spec
    from synthgen.training.experiments.predict import file_name, find_landmarks, load_networks, picture, write_found
    from synthgen.training.loop.device import find_device
    from synthgen.training.scans.child_reader import ChildReader
    from synthgen.training.scans.table import settings_of

    run_on, deep = find_device(device), _model(depth_model, cache) if depth_model else None
    networks = load_networks(_model(model, cache), deep, run_on)
    different = networks.main.domain.difference(Domain.of_spec(load_spec(spec))) if spec else ""
    if different:
        raise DatasetError(f"--spec: value {spec}; the model differs in {different}")
    settings = settings_of({"side": side, "up": up, "viewed_from": viewed_from})
    scans, failed = _scans(images), []
    if len(scans) > 1 and out.suffix:
        raise DatasetError(f"--out: value {out}; give a folder for {len(scans)} scans")
    with ChildReader() as reader:
        for stem, image in scans.items():
            try:
                found = find_landmarks(image, settings, networks, reader)
                target = out if out.suffix else out / file_name(found, stem)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_found(found, target)
            except ScanError as error:
                if len(scans) == 1:
                    raise
                failed.append(image)
                typer.echo(f"error: {error}", err=True)
                continue
            picture(found).save(_beside(target))
            spreads = [f"{name} ±{spread:.1f}" for name, spread in zip(found.names, found.spread_mm, strict=True)]
            typer.echo(f"{target}: {', '.join(spreads)}; depth from {found.depth_from}")
    if failed:
        shown = ", ".join(map(str, failed))
        typer.echo(f"error: {len(failed)} of {len(scans)} could not be used: {shown}; the others are done", err=True)
        raise typer.Exit(1)


def _model(given: str, cache: Path | None) -> Path:
    """Return the folder of a network; one on the Hub is downloaded first."""
    from synthgen.remote.address import is_remote, parse_address

    if not is_remote(given):
        return Path(given)
    from synthgen.training.hub.fetch import fetch_model

    with terminal(transfer_bar, in_bytes=True) as listener:
        return fetch_model(parse_address(given), listener, cache=cache)


def _scans(images: list[Path]) -> dict[str, Path]:
    """Return the scans, or those in the one given folder, by the names of their results."""
    if len(images) == 1 and images[0].is_dir() and not any(images[0].glob("*.dcm")):
        inside = [path for path in images[0].iterdir() if not path.name.startswith(".")]
        images = sorted(path for path in inside if path.name.lower().endswith(_IMAGES) or path.is_dir())
        if not images:
            raise DatasetError(f"SCAN: the folder contains no scans ({', '.join(_IMAGES)}); list the files instead")
    scans: dict[str, Path] = {}
    for image in images:
        ending = max((end for end in _IMAGES if image.name.lower().endswith(end)), key=len, default="")
        stem = image.name[: len(image.name) - len(ending)]
        if stem in scans:
            raise DatasetError(
                f"SCAN: {scans[stem]} and {image} would write the same files; run them one after the other"
            )
        scans[stem] = image
    return scans


def _beside(target: Path) -> Path:
    return target.with_name(target.name.removesuffix(".json").removesuffix(".mrk").removesuffix(".csv") + ".png")


def _config(source: str, inputs: str | None, arch: str | None = None) -> "TrainingConfig":
    from synthgen.training.loop.config import load_config

    config = load_config(source)
    return config.changed(input=inputs, arch=arch)


def _bar(progress: "Progress") -> Bar:
    text = f"epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.5f}, {progress.samples_per_s:.0f} samples/s"
    return Bar(text, progress.steps, progress.all_steps, progress.seconds_left)
