"""Spec files: reading, checking, writing, and the built-in specs."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from synthgen.errors import SpecError
from synthgen.specs.builtin import folder, names, read_named, suggestion
from synthgen.specs.messages import spec_error
from synthgen.specs.safe_yaml import Document, read_yaml, to_yaml
from synthgen.specs.shape_space import TargetFile
from synthgen.specs.spec import ResolvedSpec, Spec, plain, resolve

BUILTIN = ("hand", "body", "paper_hand", "paper_body")
OVERRIDES = ("count", "seed", "engine")


def load_spec(source: str | Path, overrides: Mapping[str, Any] | None = None) -> ResolvedSpec:
    """Return the resolved spec of a file, or of a built-in name if no such file exists.

    Args:
        source: Path of a YAML file, or a built-in name with or without ``.yaml``.
        overrides: Values for count, seed or engine that replace the file's; None keeps the file's.

    Raises:
        SpecError: There is no such file or name, or a value in it is invalid.

    """
    given = _given(overrides or {})
    document, base = _find(Path(source))
    return _with_target_files(parse_spec(document, given), base, document)


def with_overrides(spec: ResolvedSpec, overrides: Mapping[str, Any]) -> ResolvedSpec:
    """Return a spec with other values for count, seed or engine; None leaves the spec's.

    Raises:
        SpecError: A value is wrong.

    """
    given = _given(overrides)
    if not given:
        return spec
    data = {**spec.model_dump(), **given}
    try:
        return ResolvedSpec.model_validate(data)
    except ValidationError as error:
        raise spec_error(error, ResolvedSpec, data, lambda _: "") from None


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in overrides.items() if value is not None}
    unknown = sorted(set(given) - set(OVERRIDES))
    if unknown:
        raise SpecError(f"override {unknown[0]}: unknown; {suggestion(unknown[0], OVERRIDES)}")
    return given


def parse_spec(document: Document, given: Mapping[str, Any] | None = None) -> ResolvedSpec:
    """Return the resolved spec of a document; paths and digests of target files are kept as written.

    Args:
        document: The YAML document.
        given: Values that replace the document's.

    Raises:
        SpecError: A value is invalid.

    """
    given = given or {}
    data = {**document.data, **given}

    def place(path: tuple[str | int, ...]) -> str:
        return "" if path and path[0] in given else document.place(path)

    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        raise spec_error(error, Spec, data, place) from None
    return resolve(spec, document)


def dump_spec(spec: ResolvedSpec, *, portable: bool = False) -> str:
    """Return YAML from which `load_spec` restores an equal spec.

    Args:
        spec: The spec.
        portable: Keep only the file names of target files, for publishing; their digests identify them.

    """
    data = plain(spec)
    if portable:
        for target in data["shape"]["target_files"]:
            target["path"] = Path(target["path"]).name
    return to_yaml(data)


def init_text(name: str) -> str:
    """Return the commented YAML of a built-in spec, for editing."""
    name = name.removesuffix(".yaml")
    read_named("spec", name)  # rejects an unknown name
    return (folder("spec") / f"{name}.yaml").read_text(encoding="utf-8")


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of specs, for editors that complete and check YAML."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema()}


def _find(path: Path) -> tuple[Document, Path]:
    """Return the document and the folder to which its relative paths refer."""
    if path.is_file():
        return read_yaml(path), path.resolve().parent
    stem = path.name.removesuffix(".yaml").removesuffix(".yml")
    if path.parent == Path() and stem in names("spec"):
        return read_named("spec", stem), Path.cwd()
    reason = "is a folder" if path.is_dir() else "no such file and no built-in spec with that name"
    raise SpecError(f"{path}: {reason}; {suggestion(stem, BUILTIN)}")


def _with_target_files(spec: ResolvedSpec, base: Path, document: Document) -> ResolvedSpec:
    files = []
    for i, target in enumerate(spec.shape.target_files):
        try:
            files.append(_located(target, base))
        except SpecError as error:
            where = document.place(("shape", "target_files", i, "path"))
            raise SpecError(f"{where}: shape.target_files[{i}].path: {error}") from None
    return spec.model_copy(update={"shape": spec.shape.model_copy(update={"target_files": tuple(files)})})


def _located(target: TargetFile, base: Path) -> TargetFile:
    """Return the target file with its absolute path and its digest.

    A missing file is no error if its digest is known: a published spec can still be read and compared.
    """
    path = (base / Path(target.path).expanduser()).resolve()
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if target.sha256 is not None and not path.exists():
            return target.model_copy(update={"path": str(path)})
        text = f'value "{target.path}" cannot be read ({error.strerror}); give the path of a .target file'
        raise SpecError(text) from None
    if target.sha256 not in {None, digest}:
        text = f'value "{target.path}" does not match sha256; restore the file, or remove sha256'
        raise SpecError(text)
    return target.model_copy(update={"path": str(path), "sha256": digest})
