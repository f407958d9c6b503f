"""How commands make a scene: the spec with its overrides, and a line on the terminal where models must be baked."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from synthgen.generator.scene import Scene


def load_scene(name: str, *, count: int | None = None, seed: int | None = None, engine: str | None = None) -> "Scene":
    """Return a spec with its model, compared with each other: mistakes are found before anything is written."""
    from synthgen.specs.files import load_spec

    spec = load_spec(name, {"count": count, "seed": seed, "engine": engine})
    from synthgen.generator.prepare import prepare_scene

    return prepare_scene(spec, say)


def say(line: str) -> None:
    """Print a line on standard error."""
    typer.echo(line, err=True)
