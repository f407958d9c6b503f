"""The command line. Heavy imports stay inside the commands, so that help and mistakes answer at once."""

import gc
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import synthgen
from synthgen.cli import hub as cli_hub
from synthgen.cli import scans as cli_scans
from synthgen.cli import specs as cli_spec
from synthgen.cli import training as cli_training
from synthgen.cli.options import SeedOption, SpecOption, check_file
from synthgen.cli.scene import load_scene, say
from synthgen.errors import SynthgenError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synthgen.generator.runs.progress import RunReport
    from synthgen.storage.sample import Sample

app = typer.Typer(
    name="synthgen",
    help="Render posed, shaped MakeHuman hands and bodies with exact 3D labels.",
    epilog="Start with: synthgen preview --spec hand.yaml -n 12 --out sheet.png",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
target_app = typer.Typer(no_args_is_help=True, help="MakeHuman and MPFB2 target files as further shape parameters.")
app.add_typer(cli_spec.app, name="spec")
app.add_typer(cli_scans.app, name="scans")
cli_training.register(app)
cli_hub.register(app)
app.add_typer(target_app, name="target")

_NO_CACHE = "no locator available"
"""What numba says where it finds no folder for compiled code."""
_CACHE_FIX = (
    "NUMBA_CACHE_DIR: neither the folder of the package nor your cache folder can be written, "
    "so compiled code cannot be kept; set it to a folder that can"
)
EngineOption = Annotated[
    str | None, typer.Option("--engine", help="blender, the reference, or raster, its pixels faster; else the spec's.")
]


def main() -> NoReturn:
    """Run the command line; mistakes of the user become one line and exit status 2."""
    try:
        app()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if _was_interrupted(end):
            _complain("stopped", status)
    except SynthgenError as error:
        status = _complain(_CACHE_FIX if _NO_CACHE in str(error) else str(error))
    except KeyboardInterrupt:
        status = _complain("stopped", 130)
    except OSError as error:
        status = _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except RuntimeError as error:
        if _NO_CACHE not in str(error):
            raise
        status = _complain(_CACHE_FIX)
    _leave(status)


def _was_interrupted(end: BaseException | None) -> bool:
    """Tell whether a Ctrl-C is behind an end: typer makes one without a word of it."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__cause__ or end.__context__
    return end is not None


def _complain(text: str, status: int = 2) -> int:
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    return status


def _leave(status: int) -> NoReturn:
    if "bpy" in sys.modules:
        from synthgen.generator.engines.blender_process import leave

        leave(status)
    gc.freeze()  # the memory goes back as a whole; a last search of it for garbage would cost a tenth to half a second
    sys.exit(status)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"synthgen {synthgen.__version__}")
        raise typer.Exit


@app.callback()
def common(
    _version_wanted: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Render posed, shaped MakeHuman hands and bodies with exact 3D labels."""


@app.command(
    epilog="Examples: synthgen render --spec hand.yaml --count 2000 --workers 2 · "
    "synthgen render --spec body.yaml --shards 0-15 --out /shared/bodies --scheduler tcp://node1:8786"
)
def render(
    *,
    spec: SpecOption,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Most worker processes; lowered to what fits. Default: all cores.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Dataset folder. Default: data/NAME-OF-SPEC.")] = None,
    count: Annotated[int | None, typer.Option("--count", help="Samples in all, instead of the spec's.")] = None,
    seed: SeedOption = None,
    shards: Annotated[str | None, typer.Option("--shards", help="Only these shards, such as 0-15 or 3,7-9.")] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="A Dask scheduler, tcp://host:port, instead of workers here.")
    ] = None,
    engine: EngineOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove the dataset in --out first.")] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Serve Dask's web page, on this machine only.")
    ] = False,
) -> None:
    """Render a spec to a dataset folder of sealed shards. The same command again makes only what is missing."""
    from synthgen.generator.runs.options import RunOptions
    from synthgen.generator.runs.run import run
    from synthgen.generator.runs.terminal import TerminalListener

    resolved = load_scene(spec, count=count, seed=seed, engine=engine).spec
    options = RunOptions(
        out=out or Path("data") / resolved.name,
        workers=workers,
        scheduler=scheduler,
        shards=shards,
        overwrite=overwrite,
        dashboard=dashboard,
    )
    with TerminalListener() as listener:
        report = run(resolved, options, listener)
    _tell(report)
    raise typer.Exit(130 if report.interrupted else 1 if report.failed else 0)


def _tell(report: "RunReport") -> None:
    for outcome in report.failed:
        typer.echo(f"failed: shard {outcome.number} ({outcome.path}): {outcome.error}", err=True)
    made = len(report.outcomes) - len(report.failed)
    rates = f"{report.per_s:.1f} images/s, {100 * report.redraw_rate:.1f} % redrawn"
    line = f"{report.samples:,} samples in {made} shards, {rates}"
    if report.interrupted:
        typer.echo(f"stopped after {line}; the same command goes on from there", err=True)
    elif report.failed:
        typer.echo(f"{len(report.failed)} shards failed; {line}; the same command tries them again", err=True)
    elif report.sealed:
        typer.echo(f"{report.root}: sealed; {line}" if made else f"{report.root}: complete, nothing to do")
    else:
        typer.echo(f"{report.root}: {line}; {report.missing} shards of the dataset are still missing")


@app.command(epilog="Example: synthgen preview --spec hand.yaml -n 48 --artefacts --out sheet.png")
def preview(
    *,
    spec: SpecOption,
    n: Annotated[int, typer.Option("-n", min=1, max=400, help="Samples to show.")] = 48,
    out: Annotated[Path, typer.Option("--out", help="Picture to write (PNG).")] = Path("sheet.png"),
    artefacts: Annotated[bool, typer.Option("--artefacts", help="With the spec's artefacts on the masks.")] = False,
    seed: SeedOption = None,
    start: Annotated[int, typer.Option("--start", min=0, help="Index of the first sample.")] = 0,
    engine: EngineOption = None,
) -> None:
    """Draw a contact sheet: mask beside colour-mapped depth, with the landmarks."""
    check_file(out, ".png")
    scene = load_scene(spec, seed=seed, engine=engine)
    from synthgen.generator.exports.preview import draw_preview
    from synthgen.generator.pipeline import with_engine

    with closing(with_engine(scene, scene.spec.engine)) as pipeline:
        sheet = draw_preview(pipeline, range(start, start + n), with_artefacts=artefacts)
    sheet.save(out)
    typer.echo(out)


@app.command(epilog="Example: synthgen inspect data/hand 17 --out 17.png")
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset folder.")],
    index: Annotated[int, typer.Argument(min=0, help="Index of the sample.")],
    out: Annotated[Path | None, typer.Option("--out", help="Draw it to this picture (PNG) too.")] = None,
) -> None:
    """Show one sample of a dataset with its recipe."""
    if out is not None:
        check_file(out, ".png")
    from synthgen.generator.dataset.folder import open_dataset

    dataset = open_dataset(folder)
    sample = dataset.sample(index)
    names = dataset.info.landmarks
    lines = list(_sample_lines(sample, names))
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        typer.echo(f"{key:<{width}}  {value}".rstrip())
    if out is not None:
        from synthgen.generator.exports.sample_pictures import inspect_figure

        inspect_figure(sample, names).save(out)
        typer.echo(out)


@app.command(epilog="Example: synthgen blend --spec hand.yaml --index 17 --out 17.blend")
def blend(
    spec: SpecOption,
    index: Annotated[int, typer.Option("--index", min=0, help="Index of the sample.")],
    out: Annotated[Path, typer.Option("--out", help="Blender file to write.")],
    seed: SeedOption = None,
) -> None:
    """Write one sample as a Blender scene: armature, shape, camera."""
    check_file(out, ".blend")
    scene = load_scene(spec, seed=seed)
    from synthgen.generator.exports.blend_file import write_blend

    write_blend(scene, index, out)
    typer.echo(out)


@app.command(epilog="Example: synthgen doctor")
def doctor() -> None:
    """Check Python, packages, both engines, the models, memory and disk; exit status 1 when something fails."""
    from rich.console import Console
    from rich.table import Table

    from synthgen.generator.runs.doctor import examine

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    checks = examine()
    table = Table("check", "", "found", "what to do", box=None)
    for check in checks:
        table.add_row(check.name, f"[{colours[check.status]}]{check.status}[/]", _plain(check.found), _plain(check.fix))
    Console().print(table)
    raise typer.Exit(int(any(check.status == "fail" for check in checks)))


@app.command(epilog="Example: synthgen bake")
def bake() -> None:
    """Bake the MakeHuman models and compile the raster engine now; else the first run does it."""
    from synthgen.blender_assets.bake import model_path
    from synthgen.generator.prepare import bake_and_compile

    bake_and_compile(say)
    typer.echo(model_path("hand").parent)


@target_app.command("list", epilog="Example: synthgen target list --model hand")
def target_list(
    model: Annotated[str, typer.Option("--model", help="hand or body.")] = "body",
) -> None:
    """Print the local targets that a shape space can draw, by their MakeHuman names."""
    from synthgen.blender_assets.bake import ensure_model
    from synthgen.generator.prepare import bake_missing

    bake_missing(say)
    for name in ensure_model(model).target_names:
        typer.echo(name)


@target_app.command("check", epilog="Example: synthgen target check long_thumb.target")
def target_check(file: Annotated[Path, typer.Argument(help="A .target or .target.gz file.")]) -> None:
    """Read a target file and say what it moves, or which line is broken."""
    import numpy as np

    from synthgen.blender_assets.target import read_target

    target = read_target(file)
    largest = float(np.linalg.norm(target.offsets_mm, axis=1).max())
    typer.echo(f"{file}: moves {len(target.vertices)} vertices by up to {largest:.2f} mm")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _sample_lines(sample: "Sample", names: "Iterable[str]") -> "Iterable[tuple[str, str]]":
    labels = sample.labels
    yield "index", str(sample.index)
    yield "mm_per_px", f"{sample.mm_per_px:.4f}"
    for k, name in enumerate(names):
        px = ", ".join(f"{v:.2f}" for v in labels.landmarks_px[k])
        mm = ", ".join(f"{v:.2f}" for v in labels.landmarks_mm[k])
        seen = ("visible" if labels.visible[k] else "hidden") + ("" if labels.in_frame[k] else ", out of frame")
        yield f"{name}", f"({px}) px  ({mm}) mm  {seen}"
    for part in ("shape", "pose", "camera"):
        for key, value in getattr(sample, part).items():
            yield f"{part}.{key}", f"{value:.4g}" if isinstance(value, float) else str(value)
