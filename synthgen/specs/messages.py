"""Turn pydantic's validation errors into one line: field, value, fix."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from synthgen.errors import SpecError
from synthgen.specs.builtin import suggestion
from synthgen.specs.renamed import KEYS

Path = tuple[str | int, ...]
Details = Mapping[str, Any]


@dataclass(frozen=True)
class _Place:
    """Where in the data the error is."""

    path: Path
    owners: list[Any]
    """The types in which the last key was looked up."""
    types: list[Any]
    """The types that the value may have."""


def spec_error(error: ValidationError, schema: Any, data: Any, place: Callable[[Path], str]) -> SpecError:
    """Return the first error as one line.

    Args:
        error: What pydantic raised.
        schema: The type that was validated: a model, or a union of models.
        data: The input, as plain data.
        place: Returns the file and, if known, the line of a path in the data.

    """
    found = _relevant([dict(item) for item in error.errors(include_url=False)])
    first = found[0]
    at = _walk(schema, data, first["loc"])
    at = replace(at, path=at.path + tuple(first.get("ctx", {}).get("field", ())))
    others = len({_walk(schema, data, item["loc"]).path for item in found}) - 1
    more = f" ({others} more to fix)" if others else ""
    parts = (place(at.path), path_text(at.path), _text(first, at) + more)
    return SpecError(": ".join(part for part in parts if part))


def path_text(path: Path) -> str:
    """Format a path as ``shape.groups[0].sex``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def value_text(value: Any) -> str:
    """Format a value for a message: short, on one line, text in quotes."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _relevant(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop errors that are caused by another one; unknown keys come first, because they explain missing ones."""
    other_kinds = [e["loc"][:-1] for e in found if e["type"] == "literal_error" and e["loc"][-1:] == ("kind",)]
    rest = [e for e in found if not any(e["loc"][: len(loc)] == loc for loc in other_kinds)] or found
    causes = [e for e in rest if not any(len(o["loc"]) > len(e["loc"]) and _starts(o, e) for o in rest)]
    return sorted(causes, key=lambda e: e["type"] != "extra_forbidden")


def _starts(longer: Details, shorter: Details) -> bool:
    return bool(longer["loc"][: len(shorter["loc"])] == shorter["loc"])


def _walk(schema: Any, data: Any, loc: Path) -> _Place:
    """Follow pydantic's location, which has the tags of unions between the keys; ``beta`` is both a tag and a key."""
    path: Path = ()
    types = owners = members(schema)
    for position, part in enumerate(loc):
        tagged = [kind for kind in types if part in _tags(kind)]
        if len(types) > 1 and tagged:
            types = tagged
            continue
        if not _has(data, part) and not (position == len(loc) - 1 and _is_field(types, part)):
            continue  # the tag of a validator or of a union
        path, owners = (*path, part), types
        data = data[part] if _has(data, part) else None
        types = [inner for kind in types for inner in _inside(kind, part)]
    return _Place(path, owners, types)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)


def _is_field(types: Iterable[Any], part: str | int) -> bool:
    return any(part in _fields(kind) for kind in types)


def members(annotation: Any) -> list[Any]:
    """Return the members of nested unions and annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return members(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [inner for member in get_args(annotation) for inner in members(member)]
    return [annotation]


def _fields(kind: Any) -> dict[str, Any]:
    return dict(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _tags(kind: Any) -> tuple[str, ...]:
    field = _fields(kind).get("kind")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()


def _inside(kind: Any, part: str | int) -> list[Any]:
    fields = _fields(kind)
    if fields:
        return members(fields[str(part)].annotation) if part in fields else []
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    return members(arguments[-1]) if get_origin(kind) in {tuple, list, dict} and arguments else []


def _text(error: Details, at: _Place) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if "text" in context:
        return str(context["text"])
    if kind in _SPECIAL:
        return _SPECIAL[kind](error, at)
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    fix = _FIXES[kind].format(**context) if kind in _FIXES else error["msg"][:1].lower() + error["msg"][1:]
    return f"value {value_text(error['input'])}; {fix}"


def _unknown_key(_: Details, at: _Place) -> str:
    known = tuple(dict.fromkeys(name for kind in at.owners for name in _fields(kind)))
    key = str(at.path[-1])
    renamed = next((KEYS[name][key] for name in map(_name, at.owners) if key in KEYS.get(name, {})), None)
    return f"was renamed; use {renamed}" if renamed else f"unknown key; {suggestion(key, known)}"


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", ""))


def _missing(_: Details, at: _Place) -> str:
    fields = [_fields(kind)[str(at.path[-1])] for kind in at.owners if at.path[-1] in _fields(kind)]
    description = fields[0].description if fields else None
    return f"missing; add it{f' ({description[:1].lower() + description[1:].rstrip(chr(46))})' if description else ''}"


def _unknown_kind(error: Details, at: _Place) -> str:
    tag = str(error["ctx"]["tag"])
    known = tuple(_kinds(at.types)) or tuple(error["ctx"]["expected_tags"].replace("'", "").split(", "))
    return f'unknown kind "{tag[:60]}"; {suggestion(tag, known)}'


def _no_kind(_: Details, at: _Place) -> str:
    return f"has no kind; add `kind:` with one of: {', '.join(_kinds(at.types))}"


def _not_a_mapping(error: Details, at: _Place) -> str:
    kinds = _kinds(at.types)
    wanted = f"a number, or a mapping with kind: {', '.join(kinds)}" if "constant" in kinds else "a mapping"
    if any(kind is str for kind in at.types):
        wanted += ", or a name"
    return f"value {value_text(error['input'])}; give {wanted}"


def _not_a_word(error: Details, _: _Place) -> str:
    known = tuple(error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
    return f"value {value_text(error['input'])}; {suggestion(str(error['input']), known)}"


def _kinds(types: list[Any]) -> list[str]:
    return list(dict.fromkeys(tag for kind in types for tag in _tags(kind)))


_SPECIAL: dict[str, Callable[[Details, _Place], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "union_tag_invalid": _unknown_kind,
    "union_tag_not_found": _no_kind,
    "model_attributes_type": _not_a_mapping,
    "model_type": _not_a_mapping,
    "dict_type": _not_a_mapping,
    "literal_error": _not_a_word,
}
_FIXES = {
    "greater_than": "give a number above {gt:g}",
    "greater_than_equal": "give at least {ge:g}",
    "less_than": "give a number below {lt:g}",
    "less_than_equal": "give at most {le:g}",
    "finite_number": "give a finite number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "string_type": "give text",
    "tuple_type": "give a list",
    "string_pattern_mismatch": "give a name that matches {pattern}",
    "string_too_long": "give at most {max_length} characters",
    "too_short": "give at least {min_length} of them",
    "too_long": "give at most {max_length} of them",
}
