"""The command line. Heavy imports stay inside the commands, so that help and mistakes answer at once."""

import gc
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import synthgen
from synthgen.cli import hub, machine, render, scans, specs, targets, training
from synthgen.cli.options import BRING_SCANS, MAKE_DATA
from synthgen.errors import SynthgenError, missing_text
from synthgen.specs.renamed import OPTIONS

ORDER = ("spec", "preview", "render", "target", "bake", "scans", "train", "finetune", "experiment", "predict",
         "verify", "push", "pull", "inspect", "blend", "doctor")  # fmt: skip
"""The commands in the order in which people need them."""


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    name="synthgen",
    cls=_InOrder,
    help="Synthetic training data for anatomical landmark detection: render hands and bodies with exact 3D labels, "
    "bring real scans to the same domain, train, and predict.",
    epilog="Start with: synthgen preview --spec hand.yaml -n 12 --out sheet.png",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(specs.app, name="spec", rich_help_panel=MAKE_DATA)
app.add_typer(targets.app, name="target", rich_help_panel=MAKE_DATA)
app.add_typer(scans.app, name="scans", rich_help_panel=BRING_SCANS)
for _room in (render, machine, training, hub):
    _room.register(app)

_NO_CACHE = "no locator available"
"""What numba says where it finds no folder for compiled code."""
_CACHE_FIX = (
    "NUMBA_CACHE_DIR: neither the folder of the package nor your cache folder can be written, "
    "so compiled code cannot be kept; set it to a folder that can"
)


def main() -> NoReturn:
    """Run the command line; mistakes of the user become one line and exit status 2."""
    try:
        _refuse_renamed(sys.argv[1:])
        app()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if _was_interrupted(end):
            _complain("stopped", status)
    except SynthgenError as error:
        status = _complain(_CACHE_FIX if _NO_CACHE in str(error) else str(error))
    except ModuleNotFoundError as error:
        if (text := missing_text(error.name)) is None:
            raise
        status = _complain(text)
    except KeyboardInterrupt:
        status = _complain("stopped", 130)
    except OSError as error:
        status = _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except RuntimeError as error:
        if _NO_CACHE not in str(error):
            raise
        status = _complain(_CACHE_FIX)
    _leave(status)


def _refuse_renamed(arguments: list[str]) -> None:
    for option in arguments:
        old = option.partition("=")[0]
        if old in OPTIONS:
            raise SynthgenError(f"{old}: was renamed; use {OPTIONS[old]}")


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
        from synthgen.generator.engines.blender_process import exit_process

        exit_process(status)
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
    """Synthetic training data for anatomical landmark detection."""
