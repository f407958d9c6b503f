"""The commands about this machine: doctor and bake."""

import typer

from synthgen.cli.options import LOOK, MAKE_DATA
from synthgen.cli.scene import say


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel=LOOK, epilog="Example: synthgen doctor")(doctor)
    app.command(rich_help_panel=MAKE_DATA, epilog="Example: synthgen bake")(bake)


def doctor() -> None:
    """Check Python, packages, engines, models, memory and disk; exit status 1 if a check fails."""
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


def bake() -> None:
    """Unpack the MakeHuman models and compile the raster engine; otherwise the first run does it."""
    from synthgen.blender_assets.bake import model_path
    from synthgen.generator.prepare import bake_and_compile

    bake_and_compile(say)
    typer.echo(model_path("hand").parent)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
