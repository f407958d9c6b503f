"""Everything that must be there before the first sample: baked models, compiled kernels, a spec that fits its model."""

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from synthgen.blender_assets.bake import MODELS, model_path
from synthgen.errors import AssetError
from synthgen.specs.files import load_spec
from synthgen.specs.spec import ResolvedSpec

if TYPE_CHECKING:
    from synthgen.generator.scene import Scene

LOGGER = logging.getLogger(__name__)


def prepare_scene(spec: ResolvedSpec, say: Callable[[str], None] = LOGGER.info) -> "Scene":
    """Return the scene of a spec, ready to render: mistakes are found before anything is written.

    Bakes the models where the cache has none, and compiles the kernels once, before any workers start.

    Args:
        spec: The spec.
        say: Receives a line before anything that takes a minute.

    Raises:
        SpecError: The spec names what the model does not have.
        AssetError: The models cannot be baked.

    """
    bake_missing(say)
    from synthgen.generator.engines.compile_ahead import compiling_ahead  # noqa: PLC0415 (numba, after the baking)

    with compiling_ahead():
        from synthgen.generator.scene import Scene  # noqa: PLC0415 (numba: the other process compiles meanwhile)

        scene = Scene(spec)
        scene.check()
    return scene


def bake_missing(say: Callable[[str], None] = LOGGER.info) -> None:
    """Bake the models and compile where the cache lacks a model.

    Raises:
        AssetError: The models cannot be baked.

    """
    if not all(model_path(name).exists() for name in MODELS):
        bake_and_compile(say, only_if_missing=True)


def bake_and_compile(say: Callable[[str], None] = LOGGER.info, *, only_if_missing: bool = False) -> None:
    """Bake the models in a child process, because that loads torch, and compile what a first image needs in another.

    Raises:
        AssetError: The models cannot be baked.

    """
    say("baking the MakeHuman models and compiling (once, about a minute)")
    _in_child(f"from synthgen.blender_assets.bake import bake_models; bake_models(only_if_missing={only_if_missing})")
    _in_child(f"from {__name__} import compile_kernels; compile_kernels()")


def compile_kernels() -> None:
    """Render an image of each model by the raster engine, so that all that numba compiles is in its cache."""
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
