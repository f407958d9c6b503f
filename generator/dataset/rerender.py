"""Renders stored samples again from their recipes, and compares the pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.plan import ShardPlan
from synthgen.errors import DatasetError
from synthgen.generator.bodies.draw import Recipe
from synthgen.randomness.seeding import stream
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import Sample, decode_sample, encode_sample

if TYPE_CHECKING:
    from synthgen.generator.pipeline import Pipeline

TOLERATED = 1e-3
"""Fraction of pixels that may differ: other types of processors round some edges differently."""


@dataclass(frozen=True)
class Rerendered:
    """Differences between samples rendered again and the stored ones."""

    samples: int
    engine: str
    pixels: int
    mask_pixels: int
    """Pixels that belong to only one of the two masks."""
    depth_pixels: int
    """Pixels of both masks whose depths differ by more than one step of the stored depth."""
    depth_mm: float
    """Largest difference in depth where the masks overlap, mm."""
    landmarks_px: float
    """Largest distance between a landmark and its stored position, pixels."""

    def __str__(self) -> str:
        return (
            f"{self.samples} samples rendered again with {self.engine}: {self.mask_pixels:,} of {self.pixels:,} "
            f"mask pixels differ, largest depth difference {self.depth_mm:.3f} mm, "
            f"landmarks within {self.landmarks_px:.4f} px"
        )

    @property
    def agrees(self) -> bool:
        """Whether the differences can be explained by rounding."""
        few = TOLERATED * self.pixels
        return self.mask_pixels <= few and self.depth_pixels <= few and self.landmarks_px <= 1e-3


def choose_samples(plans: Sequence[ShardPlan], count: int, seed: int) -> list[int]:
    """Return the indices of random samples of some shards, ascending; all samples if there are fewer."""
    ends = np.cumsum([plan.samples for plan in plans], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    ranks = stream(seed, 0, "verify").choice(total, min(count, total), replace=False) if total else ()
    indices = []
    for rank in ranks:
        k = int(np.searchsorted(ends, rank, side="right"))
        indices.append(int(plans[k].indices[int(rank) - int(ends[k]) + plans[k].samples]))
    return sorted(indices)


def rerender(spec: ResolvedSpec, stored: Sequence[Mapping[str, bytes]], engine: str) -> Rerendered:
    """Render samples again.

    Args:
        spec: The dataset's spec.
        stored: The files of each sample by suffix.
        engine: ``blender`` or ``raster``.

    Raises:
        SynthgenError: The engine cannot run here, or files that the spec needs are missing.

    """
    from synthgen.generator.pipeline import open_pipeline  # noqa: PLC0415 (numba, and perhaps Blender)

    pipeline = open_pipeline(spec, engine)
    pixels = mask_pixels = depth_pixels = 0
    depth_mm = landmarks_px = 0.0
    try:
        for members in stored:
            before = decode_sample(members)
            after = _again(pipeline, before, spec.depth_steps_per_mm)
            differ, deep = _depth_differences(before, after)
            pixels += before.depth_mm.size
            mask_pixels += differ
            depth_pixels += int((deep > 1.5 / spec.depth_steps_per_mm).sum())
            depth_mm = max(depth_mm, float(deep.max(initial=0.0)))
            apart = np.linalg.norm(before.labels.landmarks_px - after.labels.landmarks_px, axis=1)
            landmarks_px = max(landmarks_px, float(apart.max(initial=0.0)))
    finally:
        pipeline.close()
    return Rerendered(len(stored), engine, pixels, mask_pixels, depth_pixels, depth_mm, landmarks_px)


def _again(pipeline: "Pipeline", before: Sample, steps_per_mm: float) -> Sample:
    """Render one sample from its recipe, which is not trusted; encode and decode it like a stored one."""
    drawn = pipeline.scene.recipe(before.index)
    stored = (before.shape, before.pose, before.camera)
    for own, known in zip(stored, (drawn.shape, drawn.pose, drawn.camera), strict=True):
        if not all(type(own.get(name)) in (int, float) for name in known):
            raise DatasetError(f"sample {before.index}: its recipe does not fit the spec; restore the shard")
    try:
        again = pipeline.sample_from(Recipe(before.index, *stored))
        return decode_sample(encode_sample(again, steps_per_mm))
    except (ValueError, ArithmeticError, LookupError) as error:
        reason = str(error)[:100]
        raise DatasetError(f"sample {before.index}: cannot be rendered again ({reason}); restore the shard") from None


def _depth_differences(before: Sample, after: Sample) -> tuple[int, NDArray[np.float32]]:
    """Return the number of pixels in only one mask, and the depth differences (n,) in mm where both overlap."""
    hit, again = np.isfinite(before.depth_mm), np.isfinite(after.depth_mm)
    both = hit & again
    return int((hit ^ again).sum()), np.abs(before.depth_mm[both] - after.depth_mm[both])
