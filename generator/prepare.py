"""Preparation before the first sample: unpacked models, compiled kernels, a spec that fits its model."""

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from synthgen.blender_assets.bake import MODELS, model_path, unpack_model
from synthgen.errors import AssetError
from synthgen.specs.files import load_spec
from synthgen.specs.spec import ResolvedSpec

if TYPE_CHECKING:
    from synthgen.generator.scene import Scene

LOGGER = logging.getLogger(__name__)


def prepare_scene(spec: ResolvedSpec, say: Callable[[str], None] = LOGGER.info) -> "Scene":
    """Return the scene of a spec, ready to render; errors in the spec are found before anything is written.

    Unpacks the models if one is not cached, and compiles the kernels once, before any workers start.

    Args:
        spec: The spec.
        say: Called with a line before a step that takes about a minute.

    Raises:
        SpecError: The spec names a target, joint or landmark that the model does not have.
        AssetError: A model's file is damaged.

    """
    bake_missing(say)
    from synthgen.generator.engines.compile_ahead import compiling_ahead  # noqa: PLC0415 (numba)

    with compiling_ahead():
        from synthgen.generator.scene import Scene  # noqa: PLC0415 (numba: the other process compiles meanwhile)

        scene = Scene(spec)
        scene.check()
    return scene


def bake_missing(say: Callable[[str], None] = LOGGER.info) -> None:
    """Unpack the models and compile the kernels if a model is not cached.

    Raises:
        AssetError: A model's file is damaged.

    """
    if not all(model_path(name).exists() for name in MODELS):
        bake_and_compile(say)


def bake_and_compile(say: Callable[[str], None] = LOGGER.info) -> None:
    """Unpack the models, and compile the kernels of the first image in a child process.

    Raises:
        AssetError: A model's file is damaged.

    """
    say("unpacking the MakeHuman models and compiling (once, about a minute)")
    for name in MODELS:
        unpack_model(name)
    _in_child(f"from {__name__} import compile_kernels; compile_kernels()")


def compile_kernels() -> None:
    """Render an image of each model with the raster engine, so that numba caches all compiled kernels."""
    from synthgen.generator.engines.compile_ahead import compiling_ahead  # noqa: PLC0415 (numba)

    with compiling_ahead():
        from synthgen.generator.pipeline import open_pipeline  # noqa: PLC0415 (numba)

        for name in ("hand", "body"):
            open_pipeline(load_spec(name), "raster").sample(0)


def _in_child(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise AssetError(lines[-1].removeprefix("synthgen.errors.AssetError: "))
