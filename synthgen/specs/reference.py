"""The reference of the spec, docs/spec.md, generated from the models.

``python -m synthgen.specs.reference > docs/spec.md`` updates the page.
"""

import sys
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from synthgen.specs import distributions
from synthgen.specs.builtin import TITLES, Kind, names
from synthgen.specs.files import BUILTIN, init_text
from synthgen.specs.messages import members, value_text
from synthgen.specs.spec import PART_MODELS, Spec, plain

_DISTRIBUTIONS = (
    distributions.Constant,
    distributions.Uniform,
    distributions.Normal,
    distributions.Beta,
    distributions.Choice,
    distributions.Mixture,
)


def reference_markdown() -> str:
    """Return the whole page."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield from _INTRODUCTION.format(builtin=", ".join(f"`{name}`" for name in BUILTIN)).splitlines()
    yield from ("", "```yaml", init_text("hand").rstrip(), "```", "", "## The spec")
    yield from _table(Spec)
    shown: set[type[BaseModel]] = {Spec, *_DISTRIBUTIONS}
    for model in _models_below(Spec, exclude=tuple(PART_MODELS)):
        yield from _section(model, shown, "###")
    for kind, model in PART_MODELS.items():
        yield from ("", f"## {TITLES[kind].capitalize()} (`{kind}`)", "", _builtin_line(kind))
        for part in members(model):
            yield from _section(part, shown, "###")
    yield from ("", "## Distributions", "", _DISTRIBUTION_TEXT)
    for model in _DISTRIBUTIONS:
        yield from ("", f"### `{get_args(model.model_fields['kind'].annotation)[0]}`", "", _first_line(model))
        yield from _table(model, skip=("kind",))


def _section(model: type[BaseModel], shown: set[type[BaseModel]], level: str) -> Iterator[str]:
    """Describe a model, then the models in its fields, each only once on the page."""
    if model in shown:
        return
    shown.add(model)
    yield from ("", f"{level} {model.__name__}", "", _first_line(model))
    yield from _table(model)
    for inner in _models_below(model):
        yield from _section(inner, shown, level)


def _table(model: type[BaseModel], skip: tuple[str, ...] = ()) -> Iterator[str]:
    yield from ("", "| key | value | default | meaning |", "|---|---|---|---|")
    for name, field in model.model_fields.items():
        if name not in skip:
            yield f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {field.description or ''} |"


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        default = plain(default)
    return "none" if default is None else f"`{value_text(default)}`"


def _type(annotation: Any) -> str:
    """Format a type for people who write YAML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in {Union, UnionType}:
        kinds = members(annotation)
        words = [_type(kind) for kind in kinds if kind not in _DISTRIBUTIONS and kind is not type(None)]
        return " or ".join(dict.fromkeys(words + (["distribution"] if set(_DISTRIBUTIONS) & set(kinds) else [])))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of names to {_type(arguments[1])}"
    words_of = {str: "text", int: "integer", float: "number", bool: "`true` or `false`"}
    return words_of.get(annotation) or f"{annotation.__name__}"


def _models_below(model: type[BaseModel], exclude: tuple[str, ...] = ()) -> Iterator[type[BaseModel]]:
    for name, field in model.model_fields.items():
        todo = [] if name in exclude else members(field.annotation)
        while todo:
            kind = todo.pop(0)
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield kind
            else:
                todo += [inner for argument in get_args(kind) for inner in members(argument)]


def _builtin_line(kind: Kind) -> str:
    return f"Built in: {', '.join(f'`{name}`' for name in names(kind)) or 'none'}."


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


_INTRODUCTION = """# The spec

A spec is a YAML file that says what to render. It can be short, because every part may be a built-in name.
Built-in specs: {builtin}. `synthgen spec init hand` writes a copy to edit, `synthgen spec show hand.yaml` prints a spec
with every part written out, and `synthgen spec schema` prints the JSON schema, for completion and checks in editors.

Lengths are in mm, angles in degrees. Unknown keys are rejected. Relative paths are relative to the spec's folder.
A sample's recipe depends on the spec (without its count) and on the sample's index, so changing the count keeps the
samples that both datasets contain. The dataset's identity (`spec_sha256`) covers everything except the count, the
descriptions and the paths of target files (their content is covered). The syntax is YAML 1.2: `no` and `on` are text,
`2.2e6` is a number.

This page is generated from the code: `python -m synthgen.specs.reference > docs/spec.md` updates it."""
_DISTRIBUTION_TEXT = (
    "If a value is a distribution, write a number, which is a constant, or a mapping with a `kind`, such as\n"
    "`{kind: uniform, low: 0, high: 80}`."
)

if __name__ == "__main__":
    sys.stdout.write(reference_markdown())
