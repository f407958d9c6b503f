"""A contact sheet of a spec's first samples, rendered in this process."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from PIL import Image

from synthgen.generator.pipeline import Pipeline
from synthgen.pictures.contact_sheet import Tile, contact_sheet, sample_tile
from synthgen.specs.artefacts import apply_artefacts
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import Sample


def draw_preview(pipeline: Pipeline, indices: Iterable[int], *, with_artefacts: bool = False) -> Image.Image:
    """Render samples of a pipeline and draw them.

    Args:
        pipeline: An open pipeline; it is not closed.
        indices: Indices of the samples; they may exceed the spec's count.
        with_artefacts: Apply the spec's artefacts, of epoch 0, to the masks.

    """
    spec = pipeline.scene.spec
    tiles = [_tile(spec, sample, with_artefacts=with_artefacts) for sample in pipeline.samples(indices)]
    size = f"{spec.image.width} x {spec.image.height}"
    return contact_sheet(tiles, title=f"{spec.name}, seed {spec.seed}, {size}")


def _tile(spec: ResolvedSpec, sample: Sample, *, with_artefacts: bool) -> Tile:
    tile = sample_tile(sample, spec.landmarks.names)
    if with_artefacts:
        masks, indices = np.isfinite(sample.depth_mm)[None], np.array([sample.index])
        tile = replace(tile, mask=apply_artefacts(masks, spec.artefacts, spec.seed, 0, indices)[0])
    return tile
