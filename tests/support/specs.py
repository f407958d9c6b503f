"""Specs with changes."""

from typing import Any

from synthgen.specs.files import load_spec
from synthgen.specs.spec import Spec


def changed_spec(name: str, changes: dict[str, Any]) -> Spec:
    """Return a built-in spec with parts replaced; in its camera and framing, fields of these parts."""
    spec = load_spec(name)
    fields = spec.model_dump()
    for key, value in changes.items():
        fields[key] = {**fields[key], **value} if key in ("camera", "framing") else value
    return type(spec).model_validate(fields)
