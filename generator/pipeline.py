"""The spine of the generator: from an index to a sample, by a scene and the engine that renders it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import EngineError
from synthgen.generator.bodies.draw import Recipe
from synthgen.generator.engines.raster import RasterEngine
from synthgen.generator.scene import PosedBody, Scene
from synthgen.geometry import Camera
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import Labels, Sample

DRAWN = 256
"""Samples drawn per call, to share numpy's overhead; their numbers take 2 MB."""
CHUNK = 32
"""Samples posed before any of them is rendered: 6 MB of posed bodies, 15 MB of bodies at rest."""


class Engine(Protocol):
    """An engine renders vertices (V, 3) float32 mm, camera frame, to depth (H, W) float32 mm, +inf background."""

    def render(self, vertices: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
        """Render one image."""

    def close(self) -> None:
        """Release the engine's resources."""


@dataclass(frozen=True)
class Shot:
    """The parts of a posed body that the engine needs, kept until it is rendered."""

    recipe: Recipe
    vertices_mm: NDArray[np.float32]
    """(V, 3) camera frame, rounded to the grid."""
    camera: Camera
    labels: Labels


class Pipeline:
    """A scene and the engine that renders it."""

    def __init__(self, scene: Scene, engine: Engine) -> None:
        self.scene = scene
        self.engine = engine

    def sample(self, index: int) -> Sample:
        """Draw, pose and render one sample."""
        return self.render(self.scene.posed(index))

    def samples(self, indices: Iterable[int]) -> Iterator[Sample]:
        """Yield samples in order; the samples of a chunk are all posed, then all rendered.

        The results equal those of `sample`, but posing and Cycles do not evict each other from the processor's caches.
        """
        remaining = map(int, indices)
        while batch := list(islice(remaining, DRAWN)):
            drawn = self.scene.recipes.draw(batch)
            for start in range(0, len(drawn), CHUNK):
                shots = [self._shot(body) for body in self.scene.bodies(drawn[start : start + CHUNK])]
                yield from [self._render(shot) for shot in shots]

    def sample_from(self, recipe: Recipe) -> Sample:
        """Reproduce a sample from its recipe."""
        return self.render(self.scene.posed_from(recipe))

    def render(self, body: PosedBody) -> Sample:
        """Render a posed body."""
        return self._render(self._shot(body))

    def _shot(self, body: PosedBody) -> Shot:
        vertices = body.points_mm[: self.scene.model.n_vertices].astype(np.float32)
        return Shot(body.recipe, vertices, body.camera, body.labels)

    def _render(self, shot: Shot) -> Sample:
        recipe, camera = shot.recipe, shot.camera
        depth = self.engine.render(shot.vertices_mm, camera)
        x, y = camera.mm_per_px
        derived: dict[str, Any] = {
            "projection": camera.projection, "width": camera.width, "height": camera.height,
            "mm_per_px_x": x, "mm_per_px_y": y, "side": self.scene.spec.side,
        }  # fmt: skip
        scale = float(np.sqrt(x * y))
        return Sample(recipe.index, depth, shot.labels, scale, recipe.shape, recipe.pose, recipe.camera | derived)

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


def open_pipeline(spec: ResolvedSpec, engine: str) -> Pipeline:
    """Prepare a spec and an engine for rendering in this process.

    Raises:
        SpecError: The spec names a target, joint or landmark that the model does not have.
        EngineError: The engine cannot run here.
    """
    return with_engine(Scene(spec), engine)


def with_engine(scene: Scene, engine: str) -> Pipeline:
    """Prepare an engine for a scene's bodies.

    Raises:
        EngineError: The engine cannot run here.
    """
    size, projection = scene.spec.image, scene.spec.camera.projection
    opened = _engine(engine)(scene.triangles, scene.model.n_vertices, size.width, size.height, projection)
    return Pipeline(scene, opened)


def _engine(name: str) -> Callable[..., Engine]:
    if name == "blender":
        from synthgen.generator.engines.blender import BlenderEngine  # noqa: PLC0415 (the only import of bpy)

        return BlenderEngine
    if name == "raster":
        return RasterEngine
    msg = f"engine: unknown value {name!r}; use blender or raster"
    raise EngineError(msg)
