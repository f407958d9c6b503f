"""Artefacts: what binarizing a real scan does to a silhouette, applied to clean masks when they are streamed.

`apply_artefacts` is a pure function of (masks, artefacts, seed, epoch, indices). Each kind of artefact has a random
stream of its own, so changing one moves nothing of the others. Landmarks never move. Sizes in pixels are pixels of the
patch, because rough edges and speckle come from the pixel grid whatever the patch shows; the remains of a table scale
with the body.
"""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from synthgen.specs.distributions import Constant, Distribution, Uniform, Within

Side = Literal["left", "top", "right", "bottom"]
Probability = Annotated[float, Field(ge=0, le=1, description="Fraction of the images that have it.")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RoughEdge(_Section):
    """The outline moves in and out by noise: smooth (partial volume) plus white (thresholding noise)."""

    probability: Probability = 1.0
    smooth_px: Annotated[Distribution, Within(0, 4)] = Field(
        Uniform(kind="uniform", low=0.2, high=0.8), description="Standard deviation of the smooth part, pixels."
    )
    smooth_length_px: Annotated[Distribution, Within(1, 256)] = Field(
        Uniform(kind="uniform", low=3, high=10), description="Length along which the smooth part varies, pixels."
    )
    white_px: Annotated[Distribution, Within(0, 2)] = Field(
        Uniform(kind="uniform", low=0.2, high=0.45), description="Standard deviation of the white part, pixels."
    )


class Speckle(_Section):
    """Small blobs in the background."""

    probability: Probability = 1.0
    count: Annotated[Distribution, Within(0, 500)] = Field(
        Uniform(kind="uniform", low=0, high=10), description="Number of blobs in the image."
    )
    radius_px: Annotated[Distribution, Within(0.1, 16)] = Field(
        Uniform(kind="uniform", low=0.4, high=1.6), description="Radius of each blob, pixels."
    )


class Holes(_Section):
    """Small holes in the silhouette."""

    probability: Probability = 1.0
    count: Annotated[Distribution, Within(0, 500)] = Field(
        Uniform(kind="uniform", low=0, high=4), description="Number of holes in the image."
    )
    radius_px: Annotated[Distribution, Within(0.1, 16)] = Field(
        Uniform(kind="uniform", low=0.4, high=1.3), description="Radius of each hole, pixels."
    )


class NoisyBorder(_Section):
    """Pixel noise in the last rows at a border of the image, where a scan loses its signal; weaker further in."""

    probability: Probability = 1.0
    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = Field(("bottom",), description="Borders that have it.")
    rows: Annotated[Distribution, Within(0, 256)] = Field(
        Uniform(kind="uniform", low=1, high=4), description="Depth of the noise from the border, pixels."
    )
    add: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.05, high=0.35), description="Fraction of the background that turns on, outermost."
    )
    remove: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.1, high=0.6), description="Fraction of the silhouette that turns off, outermost."
    )


class TableRemains(_Section):
    """Thin, slanted, ragged residue of a table or mattress that sticks out beside the body."""

    probability: Probability = 1.0
    count: Annotated[Distribution, Within(0, 16)] = Field(
        Uniform(kind="uniform", low=1, high=4), description="Number of pieces, each at a side by chance."
    )
    height: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.12, high=0.35),
        description="Where a piece leaves the body: 0 at the top of the silhouette, 1 at its lower end.",
    )
    length: Annotated[Distribution, Within(0, 1)] = Field(
        Uniform(kind="uniform", low=0.02, high=0.1), description="How far it sticks out, in heights of the silhouette."
    )
    thickness: Annotated[Distribution, Within(0, 0.5)] = Field(
        Uniform(kind="uniform", low=0.006, high=0.025), description="At the body, in heights of the silhouette."
    )
    angle_deg: Annotated[Distribution, Within(-90, 90)] = Field(
        Uniform(kind="uniform", low=-50, high=70), description="Slope: 0 points outwards, positive slopes down."
    )
    coverage: Annotated[Distribution, Within(0, 1)] = Field(
        Constant(value=0.8), description="Fraction of a piece that is left of it; the rest is broken away."
    )


class Artefacts(_Section):
    """What is done to a clean mask, in this order; a part left out is not done."""

    table_remains: TableRemains | None = None
    rough_edge: RoughEdge | None = None
    holes: Holes | None = None
    speckle: Speckle | None = None
    noisy_border: NoisyBorder | None = None


def apply_artefacts(
    masks: NDArray[Any], artefacts: Artefacts, seed: int, epoch: int, indices: NDArray[np.int64]
) -> NDArray[Any]:
    """Return a copy of clean masks with the artefacts of their samples in one epoch.

    Args:
        masks: (n, H, W) bool, or integers of which 1 is the silhouette and 0 the background.
        artefacts: What to do; the masks come back unchanged when every part is left out.
        seed: The spec's seed.
        epoch: Another epoch draws other artefacts.
        indices: (n,) the samples' indices, below 2**32.

    """
    from synthgen.specs.artefact_kernels import change_masks  # noqa: PLC0415 (numba is slow to load, and specs do without)

    changed = np.array(masks, dtype=np.uint8, order="C")
    change_masks(changed, artefacts, seed, epoch, np.asarray(indices))
    return changed.astype(masks.dtype, copy=False)
