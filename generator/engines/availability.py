"""Checks which engines are installed, without loading one."""

import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec

from synthgen.errors import EngineError

BLENDER_PYTHON = (3, 11)
"""The only Python version for which Blender's module is available."""


def check_engine(name: str) -> None:
    """Raise early if an engine is not installed.

    Raises:
        EngineError: The engine is Blender, and its module is not installed.

    """
    if name == "blender" and not has_blender():
        raise no_blender(f"no module bpy in Python {platform.python_version()}")


def has_blender() -> bool:
    """Whether Blender's module is installed."""
    return find_spec("bpy") is not None


def drawing_engine(name: str, say: Callable[[str], None]) -> str:
    """Return the engine for a picture outside a dataset; falls back to raster, with a message, without Blender."""
    if name == "blender" and not has_blender():
        say("Blender is not installed; using the raster engine, which gives the same pixels")
        return "raster"
    return name


def no_blender(reason: str, *, raster: bool = True, python: tuple[int, int] = sys.version_info[:2]) -> EngineError:
    """Return the error for a missing or broken Blender, with instructions.

    Args:
        reason: Why it cannot be loaded.
        raster: Whether to suggest the raster engine.
        python: The running Python version.

    """
    here = "" if python == BLENDER_PYTHON else "Python 3.11 and "
    fix = f'use {here}`pip install "synthgen[blender]"`'
    if raster:
        fix += ", or --engine raster (engine: raster in a spec), which needs no Blender and gives the same pixels"
    return EngineError(f"engine: Blender's Python module cannot be loaded ({reason}); {fix}")
