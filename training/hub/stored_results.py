"""Results of a fine-tuning, read back from its ``results.json``: numbers over scans, no word about any one of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthgen.errors import SynthgenError
from synthgen.training.experiments.cross_validation import METHOD, RESULTS

_MAX_BYTES = 4 * 2**20
_Known = Annotated[float, Field(ge=0, le=1e9)] | None
_Interval = tuple[Annotated[float, Field(ge=0, le=1e9)], Annotated[float, Field(ge=0, le=1e9)]] | None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class StoredRow(_Part):
    """Errors at one landmark, or at all of them; None where they are not known."""

    points: int = Field(ge=0)
    """Landmarks of the scans whose truth is known."""
    mean_px: _Known
    """Pixels of the source."""
    sd_px: _Known
    median_px: _Known
    rmse_px: _Known
    mean_px_interval: _Interval
    mean_mm: _Known
    """In the image plane."""
    sd_mm: _Known
    median_mm: _Known
    rmse_mm: _Known
    mean_mm_interval: _Interval
    mean_mm_3d: _Known = None
    """In space."""


class StoredMethod(StoredRow):
    """Errors of a network over all landmarks, and at each."""

    landmarks: dict[str, StoredRow]


class StoredResults(_Part):
    """What a cross-validation has found."""

    format: Literal["synthgen-results"]
    version: Literal[1]
    scans: int = Field(ge=1)
    subjects: int = Field(ge=1)
    spec_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the spec to whose domain the scans were converted."""
    methods: dict[str, StoredMethod]
    folds: int | None = Field(None, ge=2)

    @property
    def found(self) -> StoredMethod:
        """The errors of the networks of all folds, each on the subjects that it has not seen."""
        return self.methods[METHOD]

    @property
    def unit(self) -> Literal["mm", "px"]:
        """Mm where they are known, else pixels of the source."""
        return "px" if self.found.mean_mm is None else "mm"


def read_results(folder: Path, landmarks: Sequence[str]) -> tuple[StoredResults, bytes] | None:
    """Return the results that a fine-tuning has written, with the content of their file; None where there are none.

    Args:
        folder: Of the network.
        landmarks: That it finds.

    Raises:
        SynthgenError: The file is damaged, or of another network.

    """
    path = folder / RESULTS
    if not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES)
    try:
        results = StoredResults.model_validate_json(content)
        known = tuple(results.found.landmarks) if METHOD in results.methods else ()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise SynthgenError(f"{path}: {field:.80}: {first['msg'][:100]}; fine-tune again") from None
    if known != tuple(landmarks):
        raise SynthgenError(f"{path}: is not of this network's landmarks; fine-tune again")
    return results, content
