"""Pictures and measurements of a dataset's card: landmarks on one of its bodies, and body measurements."""

import io
from collections.abc import Collection
from functools import lru_cache

from synthgen.generator.dataset.summary import Measurer
from synthgen.specs.distributions import Constant
from synthgen.specs.spec import Framing, Image, ResolvedSpec, spec_hash

_TRIED = 16
"""Number of bodies from which the one with the most visible landmarks is chosen."""
_WIDEST, _HIGHEST = 640, 840
"""Maximum size of the picture in pixels, without the margins for the names."""
_MARGIN, _FOREARM_MM = 0.03, 45.0
"""Chosen so that the body fills the picture, and a hand's wrist is in it."""


def landmark_png(spec: ResolvedSpec) -> bytes:
    """Draw the landmarks of a spec on one of its bodies, as PNG."""
    return _landmark_png(_Picture(spec))


class _Picture:
    """A spec as a cache key that ignores its count, on which the picture does not depend."""

    def __init__(self, spec: ResolvedSpec) -> None:
        self.spec, self._identity = spec, spec_hash(spec)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Picture) and other._identity == self._identity


@lru_cache(maxsize=8)
def _landmark_png(picture: _Picture) -> bytes:
    from synthgen.generator.exports.sample_pictures import landmark_figure  # noqa: PLC0415
    from synthgen.generator.pipeline import open_pipeline  # noqa: PLC0415 (numba)

    spec = picture.spec
    scale = min(_WIDEST / spec.image.width, _HIGHEST / spec.image.height)
    image = Image(width=round(spec.image.width * scale), height=round(spec.image.height * scale))
    forearm = Constant(value=_FOREARM_MM) if spec.model == "hand" else None
    framing = Framing(margin=Constant(value=_MARGIN), forearm_mm=forearm)
    pipeline = open_pipeline(spec.model_copy(update={"image": image, "framing": framing}), "raster")
    bodies = [pipeline.scene.posed(index) for index in range(_TRIED)]
    sample = pipeline.render(max(bodies, key=lambda body: int(body.labels.visible.sum())))
    pipeline.close()
    labels, names = sample.labels, spec.landmarks.names
    figure = landmark_figure(sample.depth_mm, labels.landmarks_px, names, labels.visible, sample.mm_per_px)
    file = io.BytesIO()
    figure.save(file, "PNG")
    return file.getvalue()


def body_measurer(spec: ResolvedSpec, shape: Collection[str]) -> Measurer | None:
    """Return a function that measures the bodies of a spec.

    Args:
        spec: The spec.
        shape: The names in the shapes of its recipes.

    Returns:
        None if the shapes lack MakeHuman's phenotypes, from which bodies are built.

    """
    from synthgen.generator.bodies.anthropometry import body_measures, hand_measures  # noqa: PLC0415 (numba)
    from synthgen.generator.bodies.shape_and_skin import PHENOTYPES, rest_body  # noqa: PLC0415
    from synthgen.generator.scene import Scene  # noqa: PLC0415

    if not set(PHENOTYPES) <= set(shape):
        return None
    model = Scene(spec).model
    measures = body_measures if spec.model == "body" else hand_measures
    return lambda recipe: measures(model, rest_body(model, recipe))
