"""The common domain: what datasets, scan sets and networks must share to be used together."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from synthgen.landmark_set import LandmarkSet
from synthgen.spec import Framing, Spec, plain


@dataclass(frozen=True)
class Domain:
    """The patches that a network takes, and the landmarks that it finds."""

    model: str
    """``hand`` or ``body``; right hands are mirrored to left ones."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    landmarks: tuple[str, ...]
    """Names, in the order of every label."""
    framing: str
    """JSON of the spec's framing, without its description."""

    @classmethod
    def of_spec(cls, spec: Spec) -> Self:
        """Return the domain of a resolved spec."""
        if not isinstance(spec.landmarks, LandmarkSet) or not isinstance(spec.framing, Framing):
            raise TypeError("spec: is not resolved")
        framing = json.dumps(plain(spec.framing, for_identity=True), sort_keys=True)
        return cls(spec.model, spec.image.width, spec.image.height, spec.landmarks.names, framing)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the domain that `to_json` told.

        Raises:
            TypeError: The fields are others.
            ValueError: A value is of another kind.

        """
        domain = cls(**{**data, "landmarks": tuple(data.get("landmarks", ()))})
        texts = (domain.model, domain.framing, *domain.landmarks)
        numbers = (domain.width, domain.height)
        if not all(type(text) is str for text in texts) or not all(type(n) is int and n > 0 for n in numbers):
            raise ValueError("a domain's names are text, its sizes whole numbers")
        return domain

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads back equal."""
        return {**asdict(self), "landmarks": list(self.landmarks)}

    def difference(self, other: "Domain") -> str:
        """Return what differs first, such as ``landmarks: a, b here, c there``; empty where nothing does."""
        for field in ("model", "landmarks", "width", "height", "framing"):
            here, there = getattr(self, field), getattr(other, field)
            if here != there:
                texts = [", ".join(value) if isinstance(value, tuple) else str(value) for value in (here, there)]
                return f"{field}: {texts[0]:.120} here, {texts[1]:.120} there"
        return ""
