"""The commands for specs: ``synthgen spec init``, ``show`` and ``schema``."""

from pathlib import Path
from typing import Annotated

import typer

from synthgen.errors import DatasetError

app = typer.Typer(no_args_is_help=True, help="Write, show and check specs.")


@app.command(
    "init",
    epilog="Examples: synthgen spec init hand · synthgen spec init hand --out mine.yaml",
)
def init(
    name: Annotated[str, typer.Argument(help="Built-in spec: hand, body, paper_hand or paper_body.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to create; - prints to standard output. Default: NAME.yaml.")
    ] = None,
) -> None:
    """Write a commented copy of a built-in spec for you to edit."""
    from synthgen.specs.files import init_text

    text = init_text(name)
    if out == Path("-"):
        typer.echo(text, nl=False)
        return
    out = out or Path(name).with_suffix(".yaml")
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise DatasetError(f"--out: value {out}; the file exists: choose another name") from None
    typer.echo(out)


@app.command("show", epilog="Example: synthgen spec show hand")
def show(
    spec: Annotated[str, typer.Argument(help="Spec file, or a built-in name.")],
) -> None:
    """Check a spec and print it with every name replaced by its content."""
    from synthgen.specs.files import dump_spec, load_spec

    typer.echo(dump_spec(load_spec(spec)), nl=False)


@app.command("schema", epilog="Example: synthgen spec schema > spec.schema.json")
def schema() -> None:
    """Print the JSON schema of specs, for completion in editors."""
    import json

    from synthgen.specs.files import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
