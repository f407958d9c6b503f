"""The commands that make data and look at it: render, preview, inspect, blend."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthgen.cli.options import LOOK, MAKE_DATA, SeedOption, SpecOption, check_file
from synthgen.cli.scene import load_scene, say
from synthgen.cli.terminal import Bar, terminal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synthgen.generator.runs.progress import Progress, RunReport
    from synthgen.storage.sample import Sample

EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="blender (the reference) or raster (same pixels, faster). Default: the spec's."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        rich_help_panel=MAKE_DATA,
        epilog="Examples: synthgen render --spec hand.yaml --count 2000 --workers 2 · "
        "synthgen render --spec body.yaml --shards 0-15 --out /shared/bodies --scheduler tcp://node1:8786",
    )(render)
    app.command(
        rich_help_panel=MAKE_DATA, epilog="Example: synthgen preview --spec hand.yaml -n 48 --artefacts --out sheet.png"
    )(preview)
    look = partial(app.command, rich_help_panel=LOOK)
    look(epilog="Example: synthgen inspect data/hand 17 --out 17.png")(inspect)
    look(epilog="Example: synthgen blend --spec hand.yaml --index 17 --out 17.blend")(blend)


def render(
    *,
    spec: SpecOption,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="Maximum number of worker processes (reduced if cores or memory do not suffice). Default: all cores.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Dataset folder. Default: data/NAME-OF-SPEC.")] = None,
    count: Annotated[
        int | None, typer.Option("--count", help="Total number of samples, instead of the spec's.")
    ] = None,
    seed: SeedOption = None,
    shards: Annotated[
        str | None, typer.Option("--shards", help="Only these shards, for example 0-15 or 3,7-9.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", help="Dask scheduler, tcp://host:port, instead of local workers."),
    ] = None,
    engine: EngineOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the dataset in --out first.")] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Serve Dask's dashboard, on this machine only.")
    ] = False,
) -> None:
    """Render a spec to a dataset folder. Run the same command again to resume; a complete dataset is left alone."""
    from synthgen.generator.runs.options import RunOptions
    from synthgen.generator.runs.run import run

    resolved = load_scene(spec, count=count, seed=seed, engine=engine).spec
    options = RunOptions(
        out=out or Path("data") / resolved.name,
        workers=workers,
        scheduler=scheduler,
        shards=shards,
        overwrite=overwrite,
        dashboard=dashboard,
    )
    with terminal(_bar) as listener:
        report = run(resolved, options, listener)
    _report(report)
    raise typer.Exit(130 if report.interrupted else 1 if report.failed else 0)


def _bar(progress: "Progress") -> Bar:
    failed = f", {progress.failed} failed" if progress.failed else ""
    shards = f"{progress.shards_done}/{progress.shards} shards{failed}"
    text = f"{progress.per_s:.1f} images/s, {progress.per_s_core:.1f} a core, {shards}"
    return Bar(text, progress.samples_done, progress.samples, progress.seconds_left)


def _report(report: "RunReport") -> None:
    for outcome in report.failed:
        typer.echo(f"failed: shard {outcome.number} ({outcome.path}): {outcome.error}", err=True)
    made = len(report.outcomes) - len(report.failed)
    rates = f"{report.per_s:.1f} images/s, {100 * report.redraw_rate:.1f} % redrawn"
    line = f"{report.samples:,} samples in {made} shards, {rates}"
    if report.interrupted:
        typer.echo(f"stopped after {line}; run the same command again to resume", err=True)
    elif report.failed:
        typer.echo(f"{len(report.failed)} shards failed; {line}; run the same command again to retry them", err=True)
    elif report.sealed:
        typer.echo(f"{report.root}: sealed; {line}" if made else f"{report.root}: complete, nothing to do")
    else:
        typer.echo(f"{report.root}: {line}; {report.missing} shards of the dataset are missing")


def preview(
    *,
    spec: SpecOption,
    n: Annotated[int, typer.Option("-n", min=1, max=400, help="Number of samples.")] = 48,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("sheet.png"),
    artefacts: Annotated[bool, typer.Option("--artefacts", help="Apply the spec's artefacts to the masks.")] = False,
    seed: SeedOption = None,
    start: Annotated[int, typer.Option("--start", min=0, help="Index of the first sample.")] = 0,
    engine: EngineOption = None,
) -> None:
    """Draw a contact sheet: mask beside colour-mapped depth, with the landmarks."""
    check_file(out, ".png")
    scene = load_scene(spec, seed=seed, engine=engine)
    from synthgen.generator.engines.availability import drawing_engine
    from synthgen.generator.exports.preview import draw_preview
    from synthgen.generator.pipeline import with_engine

    with closing(with_engine(scene, engine or drawing_engine(scene.spec.engine, say))) as pipeline:
        sheet = draw_preview(pipeline, range(start, start + n), with_artefacts=artefacts)
    sheet.save(out)
    typer.echo(out)


def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset folder.")],
    index: Annotated[int, typer.Argument(min=0, help="Index of the sample.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also draw it to this PNG file.")] = None,
) -> None:
    """Show one sample of a dataset with its recipe."""
    if out is not None:
        check_file(out, ".png")
    from synthgen.generator.dataset.folder import open_folder

    dataset = open_folder(folder)
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
