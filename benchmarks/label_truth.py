"""Accuracy of the labels and the depth pixels, measured by casting rays at the posed mesh with Blender's BVHTree.

    python -m benchmarks.label_truth --hands 1000 --bodies 200

Every sample is first written to its stored form and read back (rounding, 16-bit depth); the checks use only what is
stored, and the mesh. Exits with status 1 if a bound is exceeded.

- Landmarks: a ray within 1e-4 px of the stored pixel of a visible landmark on the skin hits the mesh at the stored
  point, and no surface lies more than 1 mm nearer on it; of a hidden one, some surface does. Rays that near are tried
  (the exact one and eight around it) because a ray through a vertex of the outline may as well pass beside the mesh. A
  landmark inside is visible where the first triangle hit belongs to its own segment.
- Depth: at each pixel's centre. A pixel lies beside a depth edge where its eight neighbours and itself differ by more
  than ``EDGE`` pixel sizes in depth (more than 80 degrees of slope), or some are background. Mask pixels that differ,
  and depths that differ by more than the bound beside an edge, are counted.
- Reprojection: the stored points, projected by the stored numbers of the camera, against the stored pixels.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from synthgen.generator.bodies.labels import TOLERANCE_MM, LandmarkTable, landmark_table
from synthgen.generator.pipeline import Pipeline, open_pipeline
from synthgen.geometry import Camera, project, unproject
from synthgen.specs.files import load_spec
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import Sample, decode_sample, encode_sample

LANDMARK_MM, DEPTH_MM, REPROJECTION_PX = 0.05, 0.1, 1e-3
NUDGE_PX = 1e-4
EDGE = 5.67
"""Depth range of 3 x 3 pixels in pixel sizes, beyond which a pixel lies beside an edge: the tangent of 80 degrees."""
_STEP_MM = 1e-3
_MOST_HITS = 64
_RING = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]) * NUDGE_PX


@dataclass
class Truth:
    """The largest differences over many samples, and counts."""

    samples: int = 0
    visible: int = 0
    hidden: int = 0
    landmark_mm: list[float] = field(default_factory=list)
    """Of visible landmarks on the skin that are hit at all."""
    missed: int = 0
    """Visible landmarks on the skin that no ray hits."""
    contradicted: list[str] = field(default_factory=list)
    """Landmarks whose visibility no ray confirms."""
    reprojection_px: float = 0.0
    pixels: int = 0
    """Foreground pixels."""
    inner: int = 0
    """Foreground pixels that do not lie beside an edge."""
    depth_mm: float = 0.0
    """At inner pixels."""
    mask_differs: int = 0
    edge_differs: int = 0


class Rays:
    """Casts the rays of a camera's pixels at a mesh."""

    def __init__(self, vertices_mm, triangles, camera: Camera) -> None:
        from mathutils.bvhtree import BVHTree

        self._tree = BVHTree.FromPolygons(vertices_mm.tolist(), triangles.tolist(), all_triangles=True, epsilon=0.0)
        self._camera = camera

    def first(self, pixel):
        """Return depth and triangle of the first surface on a pixel's ray, or infinity and None."""
        origin, way = self._ray(pixel)
        place, _, triangle, _ = self._tree.ray_cast(origin, way)
        return (np.inf, None) if place is None else (place[2], triangle)

    def all(self, pixel):
        """Return all the points that a pixel's ray hits, (N, 3) mm, nearest first."""
        origin, way = self._ray(pixel)
        points = []
        for _ in range(_MOST_HITS):
            place, *_ = self._tree.ray_cast(origin, way)
            if place is None:
                break
            points.append(tuple(place))
            origin = place + way * _STEP_MM
        return np.array(points).reshape(-1, 3)

    def _ray(self, pixel):
        from mathutils import Vector

        x, y, z = unproject(self._camera, np.asarray(pixel, dtype=np.float64), np.float64(1)).tolist()
        if self._camera.projection == "perspective":
            return Vector((0, 0, 0)), Vector((x, y, z)).normalized()
        return Vector((x, y, 0)), Vector((0, 0, 1))


def measure(spec: ResolvedSpec, indices: Iterable[int]) -> Truth:
    """Render samples of a spec, and judge them."""
    truth = Truth()
    pipeline = open_pipeline(spec, "blender")
    table = landmark_table(pipeline.scene.spec.landmarks, pipeline.scene.model)
    for index in indices:
        judge(truth, *stored(pipeline, index), pipeline.scene.triangles, table)
    pipeline.close()
    return truth


def stored(pipeline: Pipeline, index: int):
    """Return a sample as it is stored, and the vertices (V, 3) mm that it shows."""
    body = pipeline.scene.posed(index)
    sample = pipeline.render(body)
    sample = decode_sample(encode_sample(sample, pipeline.scene.spec.depth_steps_per_mm))
    return sample, body.points_mm[: pipeline.scene.model.n_vertices]


def judge(truth: Truth, sample: Sample, vertices_mm, triangles, table: LandmarkTable) -> None:
    """Add one sample to the account."""
    numbers = sample.camera
    mm_per_px = (numbers["mm_per_px_x"], numbers["mm_per_px_y"])
    camera = Camera(numbers["projection"], numbers["width"], numbers["height"], mm_per_px, numbers["distance_mm"])
    rays = Rays(vertices_mm, triangles, camera)
    truth.samples += 1
    labels = sample.labels
    off = np.abs(project(camera, labels.landmarks_mm) - labels.landmarks_px).max()
    truth.reprojection_px = max(truth.reprojection_px, float(off))
    for k, name in enumerate(table.names):
        who = f"{sample.index} {name}"
        pixels = labels.landmarks_px[k] + _RING
        truth.visible += bool(labels.visible[k])
        truth.hidden += not labels.visible[k]
        if table.own[k].any():
            own = [hit is not None and table.own[k][triangles[hit]].any() for _, hit in map(rays.first, pixels)]
            if labels.visible[k] not in own:
                truth.contradicted.append(who)
        else:
            judge_skin(truth, rays, pixels, labels.landmarks_mm[k], visible=bool(labels.visible[k]), who=who)
    judge_depth(truth, rays, sample.depth_mm, min(mm_per_px))


def judge_skin(truth: Truth, rays: Rays, pixels, landmark_mm, *, visible: bool, who: str) -> None:
    """Judge a landmark on the skin by the rays of pixels (N, 2) around it."""
    hits = [rays.all(pixel) for pixel in pixels]
    near = landmark_mm[2] - TOLERANCE_MM
    nearest = [points[0, 2] if len(points) else np.inf for points in hits]
    sure = [depth >= near - LANDMARK_MM if visible else depth < near + LANDMARK_MM for depth in nearest]
    if not any(sure):
        truth.contradicted.append(who)
    if visible:
        off = np.linalg.norm(np.concatenate(hits) - landmark_mm, axis=1)
        truth.missed += not len(off)
        truth.landmark_mm += [float(off.min())] if len(off) else []


def judge_depth(truth: Truth, rays: Rays, depth_mm, mm_per_px: float) -> None:
    """Judge a depth image (H, W), +inf in the background."""
    height, width = depth_mm.shape
    cast = np.array([[rays.first((x + 0.5, y + 0.5))[0] for x in range(width)] for y in range(height)])
    hit, mask = np.isfinite(cast), np.isfinite(depth_mm)
    with np.errstate(invalid="ignore"):
        off = np.where(hit & mask, np.abs(cast - depth_mm), 0.0)
        around = np.lib.stride_tricks.sliding_window_view(np.pad(cast, 1, mode="edge"), (3, 3)).reshape(
            height, width, 9
        )
        inner = hit & (around.max(axis=2) - around.min(axis=2) < EDGE * mm_per_px)
    truth.pixels += int(hit.sum())
    truth.inner += int(inner.sum())
    truth.mask_differs += int((hit != mask).sum())
    truth.edge_differs += int((off[~inner] > DEPTH_MM).sum())
    truth.depth_mm = max(truth.depth_mm, float(off[inner].max(initial=0.0)))


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=1000)
    parser.add_argument("--bodies", type=int, default=200)
    options = parser.parse_args()
    good = True
    for name, count in (("hand", options.hands), ("body", options.bodies)):
        truth = measure(load_spec(name), range(count))
        good &= report(name, truth)
    return good


def report(name: str, truth: Truth) -> bool:
    """Print one account; tell whether it keeps the bounds."""
    worst = max(truth.landmark_mm, default=0.0)
    print(f"{name}: {truth.samples} samples, {truth.visible} landmarks visible, {truth.hidden} hidden")
    print(
        f"  landmark against ray cast: at most {worst:.2g} mm (bound {LANDMARK_MM}), {truth.missed} missed by every ray"
    )
    print(f"  visibility: {len(truth.contradicted)} contradicted {truth.contradicted[:5]}")
    print(f"  reprojection: at most {truth.reprojection_px:.2g} px (bound {REPROJECTION_PX})")
    print(f"  depth: at most {truth.depth_mm:.3f} mm (bound {DEPTH_MM}) at {truth.inner} of {truth.pixels} pixels")
    print(f"  ties: {truth.mask_differs} mask pixels differ, {truth.edge_differs} depths beside edges", flush=True)
    bounds = (worst <= LANDMARK_MM, truth.reprojection_px <= REPROJECTION_PX, truth.depth_mm <= DEPTH_MM)
    return all(bounds) and not truth.contradicted and not truth.missed


if __name__ == "__main__":
    from synthgen.generator.engines.blender_process import exit_process

    exit_process(0 if main() else 1)
