"""Errors that a user can fix; the command line prints them on one line and exits with status 2.

Also the optional packages: the extra of synthgen that installs each, and the error if one is missing.
"""

from importlib.util import find_spec

EXTRAS = {
    "blender": ("rendering with Blender", ("bpy",)),
    "train": ("training or running a network", ("torch", "safetensors", "tensorboard", "sklearn")),
    "scans": ("working with scans", ("h5py", "SimpleITK", "nibabel", "pydicom")),
}
"""The purpose of each extra of ``pyproject.toml``, and the modules that only it installs."""


class SynthgenError(Exception):
    """An error in the user's input. The message names the field or file, the value, and the fix."""


class SpecError(SynthgenError):
    """An invalid spec, space or preset."""


class AssetError(SynthgenError):
    """A missing or malformed MakeHuman asset or ``.target`` file."""


class DatasetError(SynthgenError):
    """A dataset folder that is incomplete or damaged, or cannot be written."""


class EngineError(SynthgenError):
    """A rendering engine that is unavailable or fails."""


class ClusterError(SynthgenError):
    """A Dask scheduler or its workers that cannot be used."""


class ScanError(SynthgenError):
    """A scan, its landmarks or a scan table that cannot be used."""


class RemoteError(SynthgenError):
    """A failed access to the Hugging Face Hub or a web server: repository, token or network."""


class MissingPackageError(SynthgenError):
    """An optional package that is not installed."""


def need(*modules: str) -> None:
    """Raise early if an optional module is not installed.

    Raises:
        MissingPackageError: One is missing; the message names the extra that installs it.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingPackageError(missing_text(module) or f"{module} is not installed")


def missing_text(module: str | None) -> str | None:
    """Return the installation instructions for a missing module on one line, or None if no extra installs it."""
    root = (module or "").partition(".")[0]
    for extra, (purpose, modules) in EXTRAS.items():
        if root in modules:
            return f'{purpose} needs {root}, which is not installed; install it with: pip install "synthgen[{extra}]"'
    return None
