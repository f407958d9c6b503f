"""From an index to a sample: draw, shape, pose, place, label, render."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.bake import ensure_model
from synthgen.blender_assets.target import add_targets
from synthgen.errors import EngineError, SpecError
from synthgen.generator.bodies.collision import Collider
from synthgen.generator.bodies.draw import POSES_PER_SHAPE, Recipe, Recipes, check_targets
from synthgen.generator.bodies.labels import label, landmark_table
from synthgen.generator.bodies.mesh_kernels import move, shift_to_grid
from synthgen.generator.bodies.placement import CREASE, GRID_MM, Framer, camera_of, dorsal_view, front_view, turned
from synthgen.generator.bodies.posing import Rig
from synthgen.generator.bodies.shape_and_skin import (
    RestBody,
    rest_bodies,
    rest_body,
    skin_points,
    with_ages,
    with_targets,
)
from synthgen.generator.engines.compile_ahead import compiling_ahead
from synthgen.generator.engines.raster import RasterEngine
from synthgen.geometry import Camera, Floats
from synthgen.specs.files import load_spec
from synthgen.specs.landmark_set import LandmarkSet
from synthgen.specs.shape_space import ShapeSpace
from synthgen.specs.spec import CameraSpace, Framing, Spec, resolve
from synthgen.storage.depth import encode_depth, nearest_depth
from synthgen.storage.sample import Labels, Sample

DRAWN = 256
"""Samples that are drawn at once: numpy's calls are shared among them, and their numbers take 2 MB."""
CHUNK = 32
"""Samples that are posed before any of them is rendered: 6 MB of bodies, 15 MB at rest."""
_MIRROR = np.array([[-1.0], [1.0], [1.0]])
MAX_ATTEMPTS = 200


class Engine(Protocol):
    """What renders: vertices (V, 3) float32 mm in the camera frame to depth (H, W) float32 mm, +inf background."""

    def render(self, vertices: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
        """Render one image."""

    def close(self) -> None:
        """Free what the engine holds."""


@dataclass(frozen=True)
class Body:
    """A shaped and posed body, body frame."""

    points_mm: Floats
    """(V + B, 3) vertices, then bone heads."""
    axes: Floats | None
    """(3, 3) rows of the posed hand's axes, along which its fingers lie; a body stands along its own."""


@dataclass(frozen=True)
class PosedBody:
    """Vertices, triangles and landmarks of one recipe before the camera."""

    recipe: Recipe
    points_mm: Floats
    """(V + B, 3) vertices, then bone heads; camera frame, on the grid."""
    camera: Camera
    labels: Labels
    rotation: Floats
    """(3, 3) from the body frame to the camera frame, before any mirroring."""
    translation_mm: Floats
    """(3,) added after the rotation (and after mirroring a right hand)."""


@dataclass(frozen=True)
class Shot:
    """What is left to render of a posed body: all that waits for the engine."""

    recipe: Recipe
    vertices_mm: NDArray[np.float32]
    """(V, 3) camera frame, on the grid."""
    camera: Camera
    labels: Labels


class Scene:
    """The part before the pixels: pure arrays, no engine."""

    def __init__(self, spec: Spec) -> None:
        """Prepare a spec; loads the baked model (and bakes it where the cache has none).

        Raises:
            SpecError: The spec names what the model does not have.
        """
        self.spec = resolve(spec)
        camera, framing, landmarks = self.spec.camera, self.spec.framing, self.spec.landmarks
        shape = self.spec.shape
        if (
            not isinstance(camera, CameraSpace)
            or not isinstance(framing, Framing)
            or not isinstance(landmarks, LandmarkSet)
            or not isinstance(shape, ShapeSpace)
        ):
            msg = "spec: resolve() left a name"
            raise TypeError(msg)
        model = add_targets(ensure_model(self.spec.model), shape)
        ages = [group.age_years.support() for group in shape.groups]
        model = with_targets(model, check_targets(shape, model))
        self.model = with_ages(model, min(low for low, _ in ages), max(high for _, high in ages))
        self.recipes = Recipes(self.spec, self.model)
        self.rig = Rig(self.model)
        if self.spec.model == "hand":
            self._wrist, self._knuckle = (self.model.bone(name) for name in ("wrist.L", "finger3-1.L"))
        self._collider = Collider(self.model)
        self._landmarks = landmark_table(landmarks, self.model)
        self._projection = camera.projection
        self._framer = Framer(self.model.triangles, framing, self.spec.image, camera.projection)

    @property
    def triangles(self) -> NDArray[np.int32]:
        """(T, 3) vertex indices."""
        return self.model.triangles

    def check(self) -> None:
        """Make the first sample up to its pixels: finds what only shows in posing, and compiles the kernels.

        Raises:
            SynthgenError: The spec cannot be rendered.
        """
        depth = self.posed(0).points_mm[: self.model.n_vertices, 2].astype(np.float32)
        steps = self.spec.depth_steps_per_mm
        encode_depth(np.array([[depth.min(), depth.max()]]), nearest_depth(depth, steps), steps)

    def recipe(self, index: int) -> Recipe:
        """Draw the recipe of one sample, redrawing poses in which limbs pass through each other.

        Raises:
            SpecError: The pose space hardly has a possible pose for this shape.
        """
        return self._possible(self.recipes.draw([index]))[0][0]

    def posed(self, index: int) -> PosedBody:
        """Draw, shape, pose, place and label one sample."""
        return self.bodies(self.recipes.draw([index]))[0]

    def bodies(self, recipes: Sequence[Recipe]) -> list[PosedBody]:
        """Make several samples up to their pixels, step by step, which is quicker than one by one.

        Args:
            recipes: As `Recipes.draw` gives them: impossible poses among them are drawn again.
        """
        return [self._place(recipe, body) for recipe, body in self._possible(recipes)]

    def posed_from(self, recipe: Recipe) -> PosedBody:
        """Shape, pose, place and label a recipe that was drawn before, such as one read from a dataset."""
        return self._place(recipe, self._pose(rest_body(self.model, recipe.shape), recipe.pose))

    def _pose(self, rest: RestBody, pose: Mapping[str, float]) -> Body:
        points, turns = skin_points(self.model, rest, self.rig.rotations(rest, pose))
        if self.spec.model == "body":
            return Body(points, None)
        return Body(points, self.rig.hand_axes(rest) @ turns[self._wrist].T)

    def _possible(self, recipes: Sequence[Recipe]) -> list[tuple[Recipe, Body]]:
        """Pose recipes, and again with other poses those whose limbs pass through each other, until none is left."""
        possible: dict[int, tuple[Recipe, Body]] = {}
        rests: dict[int, RestBody] = {}
        waiting = list(recipes)
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                waiting = self.recipes.draw_again(waiting, attempt)
            if attempt % POSES_PER_SHAPE == 0:
                bare = rest_bodies(self.model, [recipe.shape for recipe in waiting])
                rests = {recipe.index: rest for recipe, rest in zip(waiting, bare, strict=True)}
            bodies = [(recipe, self._pose(rests[recipe.index], recipe.pose)) for recipe in waiting]
            waiting = []
            for recipe, body in bodies:
                depth, where = self._collider.deepest(body.points_mm, body.axes)
                if depth > 0:
                    waiting.append(recipe)
                    problem = (recipe.index, where, depth)
                else:
                    recipe.pose["redraws"] = float(attempt)
                    possible[recipe.index] = recipe, body
            if not waiting:
                return [possible[recipe.index] for recipe in recipes]
        index, where, depth = problem
        msg = (f"pose: sample {index} has no possible pose in {MAX_ATTEMPTS} draws ({where} pass through each other by "
               f"{depth:.1f} mm); narrow the pose space")  # fmt: skip
        raise SpecError(msg)

    def _place(self, recipe: Recipe, body: Body) -> PosedBody:
        n, draw, points = self.model.n_vertices, recipe.camera, body.points_mm
        axes, crease = body.axes, None
        view = turned(front_view() if axes is None else dorsal_view(axes), draw)
        origin = points[n]
        if axes is not None:
            origin = points[n + self._wrist]
            crease = float((view @ (points[n + self._knuckle] - origin))[1]) * CREASE
        matrix = view
        if axes is not None and self.spec.side == "right":
            matrix, draw = view * _MIRROR, draw | {"offset_x": -draw["offset_x"]}
        placed = move(points, matrix, -matrix @ origin)
        frame, shift = self._framer.frame(placed[:n], draw, crease)
        camera = camera_of(frame, self._projection, draw["distance_mm"])
        placed = shift_to_grid(placed, shift, GRID_MM)
        labels = label(self._landmarks, placed, self.triangles, camera)
        return PosedBody(recipe, placed, camera, labels, view, shift)


class Pipeline:
    """A scene and an engine."""

    def __init__(self, scene: Scene, engine: Engine) -> None:
        self.scene = scene
        self.engine = engine

    def sample(self, index: int) -> Sample:
        """Make one sample."""
        return self.render(self.scene.posed(index))

    def samples(self, indices: Iterable[int]) -> Iterator[Sample]:
        """Make samples in order, some at a time: all are posed, then all are rendered.

        The numbers are those of `sample`; posing and Cycles only stop pushing each other out of the processor's caches.
        """
        waiting = map(int, indices)
        while some := list(islice(waiting, DRAWN)):
            drawn = self.scene.recipes.draw(some)
            for start in range(0, len(drawn), CHUNK):
                shots = [self._shot(body) for body in self.scene.bodies(drawn[start : start + CHUNK])]
                yield from [self._render(shot) for shot in shots]

    def sample_from(self, recipe: Recipe) -> Sample:
        """Make a sample again from its recipe."""
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


def open_pipeline(spec: Spec, engine: str) -> Pipeline:
    """Prepare a spec and an engine for rendering in this process.

    Raises:
        SpecError: The spec names what the model does not have.
        EngineError: The engine cannot run here.
    """
    return with_engine(Scene(spec), engine)


def with_engine(scene: Scene, engine: str) -> Pipeline:
    """Prepare an engine for what a scene poses.

    Raises:
        EngineError: The engine cannot run here.
    """
    size = scene.spec.image
    projection = scene.spec.camera.projection  # type: ignore[union-attr]  # Scene resolved it
    return Pipeline(
        scene, _engine(engine)(scene.triangles, scene.model.n_vertices, size.width, size.height, projection)
    )


def compile_kernels() -> None:
    """Make an image of each model by the raster engine, so that whatever numba compiles lies in its cache."""
    with compiling_ahead():
        for name in ("hand", "body"):
            open_pipeline(load_spec(name), RasterEngine.name).sample(0)


def _engine(name: str) -> Callable[..., Engine]:
    if name == "blender":
        from synthgen.generator.engines.blender import BlenderEngine  # noqa: PLC0415  # the only way to bpy

        return BlenderEngine
    if name == "raster":
        return RasterEngine
    msg = f"engine: {name!r} is not known; use blender or raster"
    raise EngineError(msg)
