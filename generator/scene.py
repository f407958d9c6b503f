"""From an index to a posed, placed and labelled body: all steps before rendering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.bake import ensure_model
from synthgen.blender_assets.target import add_targets
from synthgen.errors import SpecError
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
from synthgen.geometry import Camera, Floats
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.depth import encode_depth, nearest_depth
from synthgen.storage.sample import Labels

_MIRROR = np.array([[-1.0], [1.0], [1.0]])
MAX_ATTEMPTS = 200


@dataclass(frozen=True)
class Body:
    """A shaped and posed body, body frame."""

    points_mm: Floats
    """(V + B, 3) vertices, then bone heads."""
    axes: Floats | None
    """(3, 3) rows of the posed hand's axes, aligned with its fingers; None for a body, which uses the body frame."""


@dataclass(frozen=True)
class PosedBody:
    """Vertices and labels of one recipe, placed in front of the camera."""

    recipe: Recipe
    points_mm: Floats
    """(V + B, 3) vertices, then bone heads; camera frame, rounded to the grid."""
    camera: Camera
    labels: Labels
    rotation: Floats
    """(3, 3) from the body frame to the camera frame, before any mirroring."""
    translation_mm: Floats
    """(3,) added after the rotation (and after mirroring a right hand)."""


class Scene:
    """Draws and poses the bodies of a spec on plain arrays, without an engine."""

    def __init__(self, spec: ResolvedSpec) -> None:
        """Prepare a spec; loads the baked model, unpacking it first if it is not cached.

        Raises:
            SpecError: The spec names a target, joint or landmark that the model does not have.
        """
        self.spec = spec
        model = add_targets(ensure_model(spec.model), spec.shape)
        ages = [group.age_years.support() for group in spec.shape.groups]
        model = with_targets(model, check_targets(spec.shape, model))
        self.model = with_ages(model, min(low for low, _ in ages), max(high for _, high in ages))
        self.recipes = Recipes(spec, self.model)
        self.rig = Rig(self.model)
        if spec.model == "hand":
            self._wrist, self._knuckle = (self.model.bone(name) for name in ("wrist.L", "finger3-1.L"))
        self._collider = Collider(self.model)
        self._landmarks = landmark_table(spec.landmarks, self.model)
        self._framer = Framer(self.model.triangles, spec.framing, spec.image, spec.camera.projection)

    @property
    def triangles(self) -> NDArray[np.int32]:
        """(T, 3) vertex indices."""
        return self.model.triangles

    def check(self) -> None:
        """Pose the first sample, to find errors that only posing reveals, and to compile the kernels.

        Raises:
            SynthgenError: The spec cannot be rendered.
        """
        depth = self.posed(0).points_mm[: self.model.n_vertices, 2].astype(np.float32)
        steps = self.spec.depth_steps_per_mm
        encode_depth(np.array([[depth.min(), depth.max()]]), nearest_depth(depth, steps), steps)

    def recipe(self, index: int) -> Recipe:
        """Draw the recipe of one sample, redrawing poses in which limbs intersect.

        Raises:
            SpecError: No possible pose was found in the maximum number of attempts.
        """
        return self._possible(self.recipes.draw([index]))[0][0]

    def posed(self, index: int) -> PosedBody:
        """Draw, shape, pose, place and label one sample."""
        return self.bodies(self.recipes.draw([index]))[0]

    def bodies(self, recipes: Sequence[Recipe]) -> list[PosedBody]:
        """Pose and label several recipes together, which is faster than one by one.

        Args:
            recipes: From `Recipes.draw`; impossible poses among them are redrawn.
        """
        return [self._place(recipe, body) for recipe, body in self._possible(recipes)]

    def posed_from(self, recipe: Recipe) -> PosedBody:
        """Shape, pose, place and label an existing recipe, such as one read from a dataset."""
        return self._place(recipe, self._pose(rest_body(self.model, recipe.shape), recipe.pose))

    def _pose(self, rest: RestBody, pose: Mapping[str, float]) -> Body:
        points, turns = skin_points(self.model, rest, self.rig.rotations(rest, pose))
        if self.spec.model == "body":
            return Body(points, None)
        return Body(points, self.rig.hand_axes(rest) @ turns[self._wrist].T)

    def _possible(self, recipes: Sequence[Recipe]) -> list[tuple[Recipe, Body]]:
        """Pose recipes, redrawing those whose limbs intersect until all are possible."""
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
                    pose = recipe.pose | {"redraws": float(attempt)}
                    possible[recipe.index] = replace(recipe, pose=pose), body
            if not waiting:
                return [possible[recipe.index] for recipe in recipes]
        index, where, depth = problem
        msg = (f"pose: sample {index} has no possible pose in {MAX_ATTEMPTS} draws "
               f"({where} overlap by {depth:.1f} mm); narrow the pose space")  # fmt: skip
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
        camera = camera_of(frame, self.spec.camera.projection, draw["distance_mm"])
        placed = shift_to_grid(placed, shift, GRID_MM)
        labels = label(self._landmarks, placed, self.triangles, camera)
        return PosedBody(recipe, placed, camera, labels, view, shift)
