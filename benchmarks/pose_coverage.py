"""What the built-in pose spaces cover, and how often limbs intersect.

    python -m benchmarks.pose_coverage --count 2000

Prints the redraw rate of each space; for hands, the angle index tip - wrist - little tip, and the share of draws in
which Blender's BVHTree finds two fingers overlapping by more than 1 mm; for bodies, the positions of hands, legs and
feet.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from synthgen.generator.bodies.shape_and_skin import rest_body, skin
from synthgen.generator.scene import Scene
from synthgen.specs.files import load_spec

FINGERS = ("finger1-2 finger1-3", "finger2", "finger3", "finger4", "finger5")


def spread_deg(scene: Scene, points) -> float:
    """Angle index tip - wrist - little tip in the image, degrees."""
    n, table = scene.model.n_vertices, scene._landmarks
    wrist = points[n + scene.model.bone("wrist.L"), :2]
    index, little = (points[table.points[table.names.index(name)], :2] - wrist for name in ("index", "little"))
    return float(np.degrees(np.arccos(index @ little / np.linalg.norm(index) / np.linalg.norm(little))))


class OverlapJudge:
    """Depth to which two fingers overlap, by Blender's BVHTree."""

    def __init__(self, model) -> None:
        owner = model.owners
        self.parts = []
        for starts in FINGERS:
            bones = [i for i, name in enumerate(model.bones) if name.startswith(tuple(starts.split()))]
            faces = model.triangles[np.isin(owner[model.triangles], bones).all(axis=1)]
            used, faces = np.unique(faces, return_inverse=True)
            self.parts.append((used, faces.reshape(-1, 3)))

    def depth(self, vertices) -> float:
        """How far, in mm, any vertex of an overlapping triangle lies behind the other finger's surface."""
        from mathutils import Vector
        from mathutils.bvhtree import BVHTree

        meshes = [(vertices[used], faces) for used, faces in self.parts]
        boxes = [(points.min(axis=0), points.max(axis=0)) for points, _ in meshes]
        trees: dict[int, BVHTree] = {}
        worst = 0.0
        for a in range(5):
            for b in range(a + 1, 5):
                if not ((boxes[a][0] < boxes[b][1]) & (boxes[b][0] < boxes[a][1])).all():
                    continue
                for i in (a, b):
                    if i not in trees:
                        trees[i] = BVHTree.FromPolygons(meshes[i][0].tolist(), meshes[i][1].tolist())
                pairs = trees[a].overlap(trees[b])
                if not pairs:
                    continue
                for own, other, column in ((a, b, 0), (b, a, 1)):
                    near = set(meshes[own][1][[pair[column] for pair in pairs]].ravel().tolist())
                    ring = {int(v) for f in meshes[own][1] if near & set(f.tolist()) for v in f}
                    for vertex in ring:
                        point = Vector(meshes[own][0][vertex])
                        place, normal, _, _ = trees[other].find_nearest(point)
                        worst = max(worst, (place - point).dot(normal))
        return worst


def percentiles(values) -> str:
    return ", ".join(f"p{p} {np.percentile(values, p):.1f}" for p in (1, 5, 50, 95, 99))


def hands(name: str, count: int) -> None:
    scene = Scene(load_spec(name))
    judge = OverlapJudge(scene.model)
    bodies = [scene.posed(i) for i in range(count)]
    angles = np.array([spread_deg(scene, body.points_mm) for body in bodies])
    redraws = np.array([body.recipe.pose["redraws"] for body in bodies])
    depths = np.array([judge.depth(body.points_mm[: scene.model.n_vertices]) for body in bodies])
    print(f"{name}: index-little angle {percentiles(angles)}, min {angles.min():.1f}, max {angles.max():.1f} degrees")
    print(f"{name}: poses redrawn {redraws.sum() / (redraws.sum() + count):.1%}")
    deep = np.mean(depths > 1)
    print(f"{name}: fingers overlapping by over 1 mm in {deep:.2%} of {count} draws (largest {depths.max():.2f} mm)")


def bodies(name: str, count: int) -> None:
    scene = Scene(load_spec(name))
    model, rig = scene.model, scene.rig
    owner = model.owners
    redraws, distances, facing, legs, feet = [], [], [], [], []
    for index in range(count):
        recipe = scene.recipe(index)
        rest = rest_body(model, recipe.shape)
        vertices, heads, world = skin(model, rest, rig.rotations(rest, recipe.pose))
        redraws.append(recipe.pose["redraws"])
        for side, sign in (("L", 1), ("R", -1)):
            at = {
                bone: heads[model.bone(f"{bone}.{side}")]
                for bone in ("finger3-1", "upperleg01", "lowerleg01", "foot", "toe3-1")
            }
            hip = [model.bone(f"{bone}.{side}") for bone in ("pelvis", "upperleg01")]
            surface = vertices[np.isin(owner, hip)]
            distances.append(np.linalg.norm(surface - at["finger3-1"], axis=1).min())
            normal = world[model.bone(f"wrist.{side}")] @ rig.hand_axes(rest, side)[2]
            facing.append(np.degrees(np.arccos(np.clip(normal @ [sign, 0, 0], -1, 1))))
            thigh = at["lowerleg01"] - at["upperleg01"]
            legs.append(np.degrees(np.arctan2(sign * thigh[0], -thigh[2])))
            toe = at["toe3-1"] - at["foot"]
            feet.append(
                (
                    np.degrees(np.arctan2(-toe[2], np.hypot(toe[0], toe[1]))),
                    np.degrees(np.arctan2(sign * toe[0], -toe[1])),
                )
            )
    redraws, distances, facing, legs, feet = (np.array(one) for one in (redraws, distances, facing, legs, feet))
    print(f"{name}: poses redrawn {redraws.sum() / (redraws.sum() + count):.1%}")
    print(
        f"{name}: within 150 mm of the hip and 30 degrees of lateral {np.mean((distances <= 150) & (facing <= 30)):.1%}"
    )
    print(f"{name}: knuckle to the hip's skin {percentiles(distances)} mm")
    print(f"{name}: back of the hand from lateral {percentiles(facing)} degrees")
    print(f"{name}: thigh from straight down, outwards {percentiles(legs)} degrees")
    print(f"{name}: foot below horizontal {percentiles(feet[:, 0])}; outwards {percentiles(feet[:, 1])} degrees")


def radiographs(folder: Path) -> None:
    path = folder / "hand_xray" / "landmarks_half.csv"
    if not path.exists():
        print(f"{path}: not found; skipping the angle of real hands")
        return
    rows = np.array(
        [[float(x) for x in line.split(",")[1:]] for line in path.read_text().splitlines() if line[:1].isdigit()]
    )
    points = rows.reshape(len(rows), -1, 2)
    wrist = points[:, [1, 5]].mean(axis=1)
    a, b = points[:, 24] - wrist, points[:, 36] - wrist
    angles = np.degrees(np.arccos((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))
    print(f"radiographs of {len(rows)} left hands: index-little angle {percentiles(angles)} degrees")


if __name__ == "__main__":
    import bpy  # noqa: F401  # mathutils comes with it

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SYNTHGEN_REAL_DATA", "../shared/data")))
    options = parser.parse_args()
    radiographs(options.data)
    for name in ("paper_hand", "hand"):
        hands(name, options.count)
    for name in ("paper_body", "body"):
        bodies(name, max(options.count // 4, 1))
    sys.stdout.flush()
    os._exit(0)  # Blender may crash while the interpreter shuts down
