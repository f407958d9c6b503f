"""The command line. Heavy imports stay inside the commands, so that help and mistakes answer at once."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import synthgen
from synthgen.errors import DatasetError, SynthgenError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synthgen.generator.progress import Progress, RunReport
    from synthgen.spec import Spec

app = typer.Typer(
    name="synthgen",
    help="Render posed, shaped MakeHuman hands and bodies with exact 3D labels.",
    epilog="Start with: synthgen preview --spec hand.yaml -n 12 --out sheet.png",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
spec_app = typer.Typer(no_args_is_help=True, help="Write, show and check specs.")
target_app = typer.Typer(no_args_is_help=True, help="MakeHuman and MPFB2 target files as further shape parameters.")
app.add_typer(spec_app, name="spec")
app.add_typer(target_app, name="target")

SpecOption = Annotated[
    str, typer.Option("--spec", help="Spec file, or a built-in: hand, body, paper_hand, paper_body (.yaml).")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed instead of the spec's; 0 is a seed.")]
EngineOption = Annotated[str | None, typer.Option("--engine", help="Engine instead of the spec's.")]


def main() -> NoReturn:
    """Run the command line; mistakes of the user become one line and exit status 2."""
    try:
        app()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except SynthgenError as error:
        status = _complain(str(error))
    except KeyboardInterrupt:
        status = _complain("stopped", 130)
    except OSError as error:
        status = _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    _leave(status)


def _complain(text: str, status: int = 2) -> int:
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    return status


def _leave(status: int) -> NoReturn:
    if "bpy" in sys.modules:
        from synthgen.generator.blender_process import leave

        leave(status)
    sys.exit(status)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"synthgen {synthgen.__version__}")
        raise typer.Exit


@app.callback()
def common(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Render posed, shaped MakeHuman hands and bodies with exact 3D labels."""


@app.command(
    epilog="Examples: synthgen render --spec hand.yaml --count 2000 --workers 2 · "
    "synthgen render --spec body.yaml --shards 0-15 --out /shared/bodies --scheduler tcp://node1:8786"
)
def render(
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
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Serve Dask's web page, on this machine only.")] = False,
) -> None:
    """Render a spec to a dataset folder of sealed shards. The same command again makes only what is missing."""
    from synthgen.generator.progress_bar import TerminalListener
    from synthgen.generator.request import RunOptions

    resolved = _checked_spec(spec, count=count, seed=seed, engine=engine)
    options = RunOptions(
        out=out or Path("data") / resolved.name,
        workers=workers,
        scheduler=scheduler,
        shards=shards,
        overwrite=overwrite,
        dashboard=dashboard,
    )
    from synthgen.generator.run import run

    with TerminalListener() as listener:
        report = run(resolved, options, listener)
    _tell(report)
    raise typer.Exit(130 if report.interrupted else 1 if report.failed else 0)


def _checked_spec(name: str, *, count: int | None, seed: int | None, engine: str | None) -> "Spec":
    """Return the resolved spec, after comparing it with the model, so that a mistake is found before anything is written."""
    from synthgen.specfile import load_spec

    spec = load_spec(name, {"count": count, "seed": seed, "engine": engine})
    _bake(only_if_missing=True)
    from synthgen.generator.pipeline import Scene

    Scene(spec)
    return spec


def _tell(report: "RunReport") -> None:
    for outcome in report.failed:
        typer.echo(f"failed: shard {outcome.number} ({outcome.path}): {outcome.error}", err=True)
    made = len(report.outcomes) - len(report.failed)
    line = f"{report.samples:,} samples in {made} shards, {report.per_s:.1f} images/s, {100 * report.redraw_rate:.1f} % redrawn"
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
    spec: SpecOption,
    n: Annotated[int, typer.Option("-n", min=1, max=400, help="Samples to show.")] = 48,
    out: Annotated[Path, typer.Option("--out", help="Picture to write (PNG).")] = Path("sheet.png"),
    artefacts: Annotated[bool, typer.Option("--artefacts", help="With the spec's artefacts on the masks.")] = False,
    seed: SeedOption = None,
    start: Annotated[int, typer.Option("--start", min=0, help="Index of the first sample.")] = 0,
) -> None:
    """Draw a contact sheet: mask beside colour-mapped depth, with the landmarks."""
    _require_suffix(out, ".png", "--out")
    resolved = _checked_spec(spec, count=None, seed=seed, engine=None)
    from synthgen.generator.preview import draw_preview

    sheet = draw_preview(resolved, range(start, start + n), with_artefacts=artefacts)
    _save_picture(sheet, out)


@app.command(epilog="Example: synthgen inspect data/hand 17 --out 17.png")
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset folder.")],
    index: Annotated[int, typer.Argument(min=0, help="Index of the sample.")],
    out: Annotated[Path | None, typer.Option("--out", help="Draw it to this picture (PNG) too.")] = None,
) -> None:
    """Show one sample of a dataset with its recipe."""
