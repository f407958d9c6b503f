"""The commands for real scans, ``synthgen scans …``."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.cli.options import SeedOption, SpecOption, check_file
from synthgen.cli.terminal import counting
from synthgen.errors import DatasetError

app = typer.Typer(no_args_is_help=True, help="Bring real MR, CT and 2D scans to the domain of the renderings.")

TableArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SCANS.CSV", help="Table of scans with columns id, subject, image, landmarks, and optional settings."
    ),
]
FileArgument = Annotated[Path, typer.Argument(metavar="SCANS.H5", help="Scan set.")]


@app.command(
    epilog="Examples: synthgen scans build scans.csv --spec hand.yaml --out scans.h5 · "
    "synthgen scans build scans.csv --spec paper_body --out bodies.h5 --skip-bad"
)
def build(
    table: TableArgument,
    spec: SpecOption,
    out: Annotated[Path, typer.Option("--out", help="Scan set to write (.h5).")] = Path("scans.h5"),
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip scans that cannot be used, and list them.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing scan set.")] = False,
) -> None:
    """Binarize and crop the scans of a table, and write them with their landmarks to one HDF5 file."""
    check_file(out, ".h5")
    if out.exists() and not overwrite:
        raise DatasetError(f"--out: value {out}; the file exists: choose another name or add --overwrite")
    from synthgen.specs.files import load_spec
    from synthgen.training.scans.build import build as build_set

    with counting() as bar:
        built = build_set(
            table, load_spec(spec), out, skip_bad=skip_bad, report=lambda row, done, total: bar(row.id, done, total)
        )
    for refused in built.refused:
        typer.echo(f"skipped: {refused.row.id} (line {refused.row.line}): {refused.reason}", err=True)
    scans = built.set.scans
    border = sum(scan.touches_border for scan in scans)
    missing = sum(1 for scan in scans for point in scan.landmarks_px if point[0] != point[0])
    typer.echo(f"{out}: {len(scans)} scans of {len({scan.subject for scan in scans})} subjects; "
               f"{border} touch a border, {missing} landmarks are missing")  # fmt: skip


@app.command(epilog="Example: synthgen scans check scans.csv --spec hand.yaml --out overlays.png")
def check(
    table: TableArgument,
    spec: SpecOption,
    out: Annotated[Path | None, typer.Option("--out", help="Also draw every patch to this PNG file.")] = None,
) -> None:
    """Check scans and landmarks against each other without writing a scan set; exit status 1 if something is wrong."""
    if out is not None:
        check_file(out, ".png")
    from synthgen.specs.files import load_spec
    from synthgen.training.scans import build as scans

    loaded = load_spec(spec)
    info = scans.scanset_info(loaded)
    with counting() as bar:
        found, wrong = scans.check(table, loaded, report=lambda row, done, total: bar(row.id, done, total))
    if out is not None and found:
        scans.preview(found, info.landmark_names, f"{table.name}, {info.width} x {info.height}").save(out)
        typer.echo(out)
    for refused in wrong:
        typer.echo(f"{refused.row.id} (line {refused.row.line}): {refused.reason}", err=True)
    typer.echo(f"{table}: {len(found)} scans can be used, {len(wrong)} things look wrong")
    raise typer.Exit(int(bool(wrong)))


@app.command(epilog="Example: synthgen scans info scans.h5")
def info(file: FileArgument) -> None:
    """List the scans of a scan set."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from synthgen.training.scans.build import listing
    from synthgen.training.scans.scan_set import read_scanset

    scans = read_scanset(file)
    head = scans.info
    typer.echo(f"{file}: {len(scans.scans)} scans, {head.landmark_set} ({len(head.landmark_names)} landmarks), "
               f"{head.width} x {head.height}, {'with' if scans.has_depth else 'without'} depth")  # fmt: skip
    rows = Table("id", "subject", "side", "mm/px", "landmarks", "", "how", box=None)
    for row in listing(scans):
        rows.add_row(*map(escape, row))
    Console().print(rows)


@app.command(epilog="Example: synthgen scans preview scans.h5 --out sheet.png")
def preview(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.")] = Path("sheet.png"),
) -> None:
    """Draw every patch of a scan set with its landmarks."""
    check_file(out, ".png")
    from synthgen.training.scans import build as scans
    from synthgen.training.scans.scan_set import read_scanset

    found = read_scanset(file)
    title = f"{file.name}, {found.info.width} x {found.info.height}"
    scans.preview(found.scans, found.info.landmark_names, title).save(out)
    typer.echo(out)


@app.command(epilog="Example: synthgen scans phantom --spec body.yaml -n 4 --out phantoms/")
def phantom(
    spec: SpecOption,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Number of phantoms.")] = 4,
    out: Annotated[Path, typer.Option("--out", help="Output folder, empty or new.")] = Path("phantoms"),
    spacing_mm: Annotated[
        float | None, typer.Option("--spacing-mm", help="Voxel size. Default: 1.5 for bodies, 1 for hands.")
    ] = None,
    seed: SeedOption = None,
) -> None:
    """Voxelize posed bodies into CT-like or hands into MR-like volumes, with landmarks and a table of scans."""
    from synthgen.cli.scene import load_scene
    from synthgen.generator.phantoms.folder import make_phantoms
    from synthgen.generator.phantoms.phantom import PhantomOptions

    loaded = load_scene(spec, seed=seed).spec
    options = PhantomOptions(spacing_mm=None if spacing_mm is None else (spacing_mm,) * 3)
    written = 0

    def count(file: Path) -> None:
        nonlocal written
        written += 1
        bar(file.name, min(written, n), n)

    with counting() as bar:
        table = make_phantoms(loaded, n, out, options, count)
    typer.echo(table)
