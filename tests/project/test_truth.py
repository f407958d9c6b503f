"""The truth of stored labels and depths, by rays that Blender's BVHTree casts at the posed mesh."""

from dataclasses import replace

import numpy as np
import pytest
from support.specs import changed_spec

from benchmarks import label_truth
from synthgen.generator.bodies.labels import landmark_table
from synthgen.generator.pipeline import open_pipeline
from synthgen.specs.files import load_spec

pytestmark = pytest.mark.bpy

JOINTS = {
    "model": "hand",
    "landmarks": [{"name": f"joint_{n}", "joint": f"finger{n}-{m}.L"} for n, m in ((1, 3), (2, 2), (3, 1), (5, 3))]
    + [{"name": f"skin_{vertex}", "vertex": vertex} for vertex in (8595, 9348, 8787)],
}
CASES = {
    "hands": ("hand", {}, range(40)),
    "paper hands": ("paper_hand", {}, range(1000, 1010)),
    "right hands, stretched": (
        "hand",
        {"side": "right", "framing": {"aspect": "stretch"}, "image": {"width": 96, "height": 48}},
        range(10),
    ),
    "hands in perspective": (
        "hand",
        {"camera": {"projection": "perspective", "distance_mm": 350, "yaw_deg": 30}, "depth_steps_per_mm": 50},
        range(10),
    ),
    "hands from all sides, with joints": (
        "hand",
        {"camera": {"yaw_deg": {"kind": "uniform", "low": -180, "high": 180}}, "landmarks": JOINTS},
        range(10),
    ),
    "bodies": ("body", {}, range(8)),
    "bodies in perspective, stretched": (
        "paper_body",
        {"camera": {"projection": "perspective", "distance_mm": 2500}, "framing": {"aspect": "stretch"}},
        range(4),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_and_depths_are_where_the_rays_hit(case):
    name, changes, indices = CASES[case]
    truth = label_truth.measure(changed_spec(name, changes), indices)
    assert truth.samples == len(indices)
    assert truth.visible > len(indices)
    assert max(truth.landmark_mm) < 0.05
    assert truth.missed == 0
    assert truth.contradicted == []
    assert truth.reprojection_px < 1e-3
    assert truth.depth_mm < 0.1
    assert truth.inner > 0.5 * truth.pixels
    # Rays that pass exactly through an edge may go either way.
    assert truth.mask_differs + truth.edge_differs <= max(2, 1e-4 * truth.pixels)


def test_both_sides_of_visibility_are_judged():
    name, changes, indices = CASES["hands from all sides, with joints"]
    truth = label_truth.measure(changed_spec(name, changes), indices)
    assert truth.hidden > 10
    assert truth.visible > 10


@pytest.fixture(scope="module")
def one():
    """A sample with everything that the judge wants to know of it."""
    spec = load_spec("hand")
    pipeline = open_pipeline(spec, "blender")
    body = pipeline.scene.posed(1)
    sample = pipeline.render(body)
    pipeline.close()
    model = pipeline.scene.model
    return sample, (body.points_mm[: model.n_vertices], model.triangles, landmark_table(spec.landmarks, model))


def judged(one, **changes):
    sample, rest = one
    labels = {key: changes.pop(key) for key in list(changes) if hasattr(sample.labels, key)}
    truth = label_truth.Truth()
    label_truth.judge(truth, replace(sample, labels=replace(sample.labels, **labels), **changes), *rest)
    return truth


def test_wrong_labels_and_depths_are_found(one):
    sample, _ = one
    right = judged(one)
    assert (right.missed, right.contradicted, right.mask_differs) == (0, [], 0)
    labels = sample.labels
    assert max(judged(one, landmarks_mm=labels.landmarks_mm + np.array([0, 0, 0.06])).landmark_mm) > 0.05
    assert judged(one, landmarks_px=labels.landmarks_px + 0.002).reprojection_px > 1e-3
    assert max(judged(one, landmarks_px=labels.landmarks_px + 0.1).landmark_mm) > 0.05
    assert len(judged(one, visible=~labels.visible).contradicted) == len(labels.visible)
    assert judged(one, depth_mm=sample.depth_mm + np.float32(0.11)).depth_mm > 0.1
    shifted = judged(one, depth_mm=np.roll(sample.depth_mm, 1, axis=1))
    assert shifted.depth_mm > 0.1
    assert shifted.mask_differs > 50
