"""Errors that a user can fix; the command line prints them as one line and exits with status 2.

Also the optional packages: which extra of synthgen installs each, and the error when one is missing.
"""

from importlib.util import find_spec

EXTRAS = {
    "blender": ("rendering with Blender", ("bpy",)),
    "train": ("training or running a network", ("torch", "safetensors", "tensorboard", "sklearn")),
    "scans": ("reading scans", ("h5py", "SimpleITK", "nibabel", "pydicom")),
}
"""What each extra of ``pyproject.toml`` is for, and the modules that only it installs."""


class SynthgenError(Exception):
    """A mistake in what the user gave. The text names the field or file, the value, and the fix."""


class SpecError(SynthgenError):
    """A spec, a space or a preset that cannot be used as written."""


class AssetError(SynthgenError):
    """A MakeHuman asset or ``.target`` file that is missing or broken."""


class DatasetError(SynthgenError):
    """A dataset folder that does not hold what it should, or cannot be written."""


class EngineError(SynthgenError):
    """A rendering engine that cannot run here."""


class ClusterError(SynthgenError):
    """A scheduler or its workers that cannot be used."""


class ScanError(SynthgenError):
    """A real scan, its landmarks or its table that cannot be used as they are."""


class RemoteError(SynthgenError):
    """The Hugging Face Hub, or a repository, token or network on the way to it, that cannot be used."""


class MissingPackageError(SynthgenError):
    """An optional package that is not installed."""


def need(*modules: str) -> None:
    """Refuse before any work if an optional module is not installed.

    Raises:
        MissingPackageError: One is missing; the text names the extra that installs it.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingPackageError(missing_text(module) or f"{module} is not installed")


def missing_text(module: str | None) -> str | None:
    """Return one line that says how to install a missing module, or None if no extra of synthgen installs it."""
    root = (module or "").partition(".")[0]
    for extra, (purpose, modules) in EXTRAS.items():
        if root in modules:
            return f'{purpose} needs {root}, which is not installed; install it with: pip install "synthgen[{extra}]"'
    return None
