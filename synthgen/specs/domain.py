"""The domain: what datasets, scan sets and networks must have in common to be used together."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from synthgen.specs.spec import Framing, ResolvedSpec, plain
from synthgen.storage.sample import MAX_LANDMARKS

_NAME = re.compile("[a-z][a-z0-9_]{0,47}")
MAX_SIDE = 2048
"""Maximum side of a patch in pixels, as for the spec's image."""


@dataclass(frozen=True)
class Domain:
    """The patches that a network takes, and the landmarks that it predicts."""

    model: str
    """``hand`` or ``body``; right hands are mirrored."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    landmarks: tuple[str, ...]
    """Names, in the order of every label."""
    framing: str
    """JSON of the spec's framing, without its description."""

    @property
    def patch_framing(self) -> Framing:
        """The framing as in the spec."""
        return Framing.model_validate(json.loads(self.framing))

    def __post_init__(self) -> None:
        framing = json.loads(self.framing)
        kept = {key: value for key, value in framing.items() if key != "description"}
        object.__setattr__(self, "framing", json.dumps(kept, sort_keys=True))

    @classmethod
    def of_spec(cls, spec: ResolvedSpec) -> Self:
        """Return the domain of a spec."""
        size = (spec.image.width, spec.image.height)
        return cls(spec.model, *size, spec.landmarks.names, json.dumps(plain(spec.framing)))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the domain that `to_json` wrote.

        Raises:
            TypeError, ValueError, AttributeError: The data is not a domain.

        """
        domain = cls(**{**data, "landmarks": tuple(data["landmarks"])})
        texts = (domain.model, *domain.landmarks)
        numbers = (domain.width, domain.height)
        if not all(type(text) is str for text in texts) or not all(
            type(n) is int and 0 < n <= MAX_SIDE for n in numbers
        ):
            raise ValueError(f"a domain's names must be text, its sizes integers up to {MAX_SIDE}")
        if domain.model not in {"hand", "body"} or not 0 < len(domain.landmarks) <= MAX_LANDMARKS:
            raise ValueError(f"a domain's model must be hand or body, with 1 to {MAX_LANDMARKS} landmarks")
        if not all(_NAME.fullmatch(name) for name in domain.landmarks):
            raise ValueError("a landmark's name consists of lowercase letters, digits and underscores")
        domain.patch_framing  # noqa: B018 (rejects an invalid framing)
        return domain

    def to_json(self) -> dict[str, Any]:
        """Return plain data from which `from_json` restores an equal domain."""
        return {**asdict(self), "landmarks": list(self.landmarks)}

    def difference(self, other: "Domain") -> str:
        """Return the first difference, such as ``landmarks: a, b here, c there``; empty if there is none."""
        for field in ("model", "landmarks", "width", "height", "framing"):
            here, there = getattr(self, field), getattr(other, field)
            if here != there:
                texts = [", ".join(value) if isinstance(value, tuple) else str(value) for value in (here, there)]
                return f"{field}: {texts[0]:.120} here, {texts[1]:.120} there"
        return ""
