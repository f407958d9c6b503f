"""The commands on MakeHuman's target files."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.cli.scene import say

app = typer.Typer(no_args_is_help=True, help="MakeHuman and MPFB2 target files: additional shape parameters.")


@app.command("list", epilog="Example: synthgen target list --model hand")
def target_list(
    model: Annotated[str, typer.Option("--model", help="hand or body.")] = "body",
) -> None:
    """List the targets that a shape space can draw, by their MakeHuman names."""
    from synthgen.blender_assets.bake import ensure_model
    from synthgen.generator.prepare import bake_missing

    bake_missing(say)
    for name in ensure_model(model).target_names:
        typer.echo(name)


@app.command("check", epilog="Example: synthgen target check long_thumb.target")
def target_check(file: Annotated[Path, typer.Argument(help="A .target or .target.gz file.")]) -> None:
    """Check a target file and report what it moves, or which line is invalid."""
    import numpy as np

    from synthgen.blender_assets.target import read_target

    target = read_target(file)
    largest = float(np.linalg.norm(target.offsets_mm, axis=1).max())
    typer.echo(f"{file}: moves {len(target.vertices)} vertices by up to {largest:.2f} mm")
