"""Landmarks: the built-in sets, what is refused, and labels judged by an independent ray caster."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen import named
from synthgen.blender_assets.bake import ensure_model
from synthgen.errors import SpecError, SynthgenError
from synthgen.generator.body import PHENOTYPES, rest_body
from synthgen.generator.labels import TOLERANCE_MM, label, landmark_table
from synthgen.generator.pipeline import Pipeline, Scene
from synthgen.geometry import Camera, project
from synthgen.landmark_set import Landmark, LandmarkSet
from synthgen.spec import CameraSpace, Image, resolve
from synthgen.specfile import load_spec

SETS = ("fingertips", "hand_joints", "body9", "body")
FINGERS = ("thumb", "index", "middle", "ring", "little")
BODY9 = (
    "head_top", "left_shoulder", "right_shoulder", "left_middle_finger", "right_middle_finger",
    "left_knee", "right_knee", "left_big_toe", "right_big_toe",
)  # fmt: skip
SYMMETRIC = {"gender": 0.0, "age": 0.7, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5}
DISTANCES = {"hand": 400.0, "body": 3000.0}


@cache
def built_in(name: str) -> LandmarkSet:
    model = named.read_named("landmarks", name).data["model"]
    landmarks = resolve(load_spec(model).model_copy(update={"landmarks": name})).landmarks
    assert isinstance(landmarks, LandmarkSet)
    return landmarks


@cache
def scene(spec_name: str, landmarks: str, projection: str = "orthographic", side: str = "left") -> Scene:
    spec = resolve(load_spec(spec_name))
    assert isinstance(spec.camera, CameraSpace)
    changes = {"projection": projection}
    if projection == "perspective":
        changes["distance_mm"] = DISTANCES[spec.model]
    camera = CameraSpace.model_validate(spec.camera.model_dump() | changes)
    return Scene(spec.model_copy(update={"landmarks": built_in(landmarks), "camera": camera, "side": side}))


def one(model: str, **definition: object) -> LandmarkSet:
    return LandmarkSet(model=model, landmarks=(Landmark(name="point", **definition),))


def test_every_built_in_set_loads_and_no_other_is_there():
    assert named.names("landmarks") == tuple(sorted(SETS))
    for name in SETS:
        landmarks = built_in(name)
        table = landmark_table(landmarks, ensure_model(landmarks.model))
        assert table.names == landmarks.names
        assert len(set(table.points.tolist())) == len(table.names)


def test_names_and_order_are_the_agreed_ones():
    assert built_in("fingertips").names == FINGERS
    assert built_in("body9").names == BODY9
    joints = built_in("hand_joints").names
    assert len(joints) == 21
    assert joints[:5] == ("wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip")
    assert joints[5:] == tuple(f"{f}_{j}" for f in FINGERS[1:] for j in ("mcp", "pip", "dip", "tip"))
    assert built_in("body").names[:9] == BODY9
    assert len(built_in("body").names) >= 25


def test_sets_agree_where_they_name_the_same_point():
    joints = {mark.name: mark for mark in built_in("hand_joints").landmarks}
    assert [joints[f"{f}_tip"].vertex for f in FINGERS] == [mark.vertex for mark in built_in("fingertips").landmarks]
    assert built_in("body").landmarks[:9] == built_in("body9").landmarks


@pytest.mark.parametrize("name", ["body9", "body"])
def test_the_right_mirrors_the_left_on_a_symmetric_body(body, name):
    table = landmark_table(built_in(name), body)
    rest = rest_body(body, SYMMETRIC)
    points = np.concatenate([rest.vertices_mm, rest.heads_mm])[table.points]
    for k, point in enumerate(table.names):
        if point.startswith("left_"):
            other = points[table.names.index(f"right_{point.removeprefix('left_')}")]
            assert points[k, 0] > 10
            np.testing.assert_allclose(points[k], other * [-1, 1, 1], atol=1e-3, err_msg=point)
        elif not point.startswith("right_"):
            assert abs(points[k, 0]) < 1e-3, point


@pytest.mark.parametrize("name", SETS)
def test_landmarks_lie_on_the_rendered_skin_or_are_joints(name):
    landmarks = built_in(name)
    model = ensure_model(landmarks.model)
    table = landmark_table(landmarks, model)
    defined = {mark.name: mark for mark in landmarks.landmarks}
    for mark, point, own in zip(landmarks.landmarks, table.points, table.own, strict=True):
        joint = (defined[mark.mirror_of] if mark.mirror_of else mark).joint
        if joint is None:
            assert point in model.triangles
            assert not own.any()
        else:
            assert point >= model.n_vertices
            assert own.any()


def test_hand_joints_follow_each_other_along_the_fingers(hand):
    rest = rest_body(hand, SYMMETRIC)
    table = landmark_table(built_in("hand_joints"), hand)
    points = np.concatenate([rest.vertices_mm, rest.heads_mm])[table.points]
    chains = points[1:].reshape(5, 4, 3)
    lengths = np.linalg.norm(np.diff(chains, axis=1), axis=2)
    assert (lengths > 12).all()
    assert (lengths < 70).all()
    assert (np.diff(np.linalg.norm(chains - points[0], axis=2), axis=1) > 0).all()


@pytest.mark.parametrize(
    ("landmarks", "model", "kind", "names"),
    [
        (one("body", vertex=20000), "body", SpecError, ["20000"]),
        (one("hand", vertex=881), "hand", SpecError, ["881", "hand"]),
        (one("body", joint="knee.L"), "body", SpecError, ["knee.L", "lowerleg01.L"]),
        (one("hand", vertex=8737), "body", SpecError, ["landmarks", "hand", "body"]),
    ],
)
def test_what_a_model_lacks_is_refused_in_one_line(landmarks, model, kind, names):
    with pytest.raises(SynthgenError) as caught:
        landmark_table(landmarks, ensure_model(model))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert all(text in str(caught.value) for text in names)


@pytest.mark.parametrize(
    "marks",
    [
        ({"name": "a"},),
        ({"name": "a", "vertex": 1, "joint": "head"},),
        ({"name": "a", "vertex": 1}, {"name": "a", "vertex": 2}),
        ({"name": "a", "vertex": 1}, {"name": "b", "mirror_of": "c"}),
        ({"name": "a", "mirror_of": "b"}, {"name": "b", "mirror_of": "a"}),
        ({"name": "A", "vertex": 1},),
        ({"name": "a", "vertex": -1},),
        (),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(marks):
    with pytest.raises(ValueError, match="landmark"):
        LandmarkSet.model_validate({"model": "body", "landmarks": marks})


def first_hits(origin, direction, vertices, triangles):
    """Distances (T,) along a ray to all triangles, +inf where it misses (Möller and Trumbore, in mm, no projection)."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    p = np.cross(direction, c - a)
    det = ((b - a) * p).sum(1)
    safe = np.where(np.abs(det) < 1e-12, 1.0, det)
    u = ((origin - a) * p).sum(1) / safe
    q = np.cross(origin - a, b - a)
    v = (q @ direction) / safe
    t = ((c - a) * q).sum(1) / safe
    eps = 1e-9
    return np.where((np.abs(det) > 1e-12) & (u >= -eps) & (v >= -eps) & (u + v <= 1 + eps) & (t > 0), t, np.inf)


def truly_visible(scene, body, k):
    """The definition of `visible`, from the specification of the landmark and the mesh alone."""
    model = scene.model
    landmarks = {mark.name: mark for mark in scene.spec.landmarks.landmarks}
    mark = scene.spec.landmarks.landmarks[k]
    joint = (landmarks[mark.mirror_of] if mark.mirror_of else mark).joint
    if joint and mark.mirror_of:
        joint = joint[:-1] + "R"
    target = body.labels.landmarks_mm[k]
    if body.camera.projection == "perspective":
        origin, direction = np.zeros(3), target / target[2]
    else:
        origin, direction = np.array([target[0], target[1], -10000.0]), np.array([0.0, 0, 1])
    depth = origin[2] + first_hits(origin, direction, body.points_mm[: model.n_vertices], model.triangles)
    if joint is None:
        return depth.min() >= target[2] - TOLERANCE_MM
    if not np.isfinite(depth).any():
        return False
    bone = model.bones.index(joint)
    carriers = model.weights[model.triangles[depth.argmin()]].toarray().argmax(axis=1)
    return bool(np.isin(carriers, [bone, model.parents[bone]]).any())


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
@pytest.mark.parametrize(("spec", "landmarks", "count"), [("hand", "hand_joints", 15), ("body", "body", 8)])
def test_visible_agrees_with_an_independent_ray_caster(spec, landmarks, count, projection):
    subject = scene(spec, landmarks, projection)
    seen = []
    for index in range(count):
        posed = subject.posed(index)
        expected = [truly_visible(subject, posed, k) for k in range(len(posed.labels.visible))]
        assert posed.labels.visible.tolist() == expected, index
        seen += expected
    assert any(seen)
    assert not all(seen)


@pytest.mark.parametrize("spec", ["paper_hand", "paper_body"])
def test_visible_agrees_on_the_papers_sets(spec):
    subject = scene(spec, "fingertips" if spec == "paper_hand" else "body9")
    for index in range(15):
        posed = subject.posed(index)
        assert posed.labels.visible.tolist() == [
            truly_visible(subject, posed, k) for k in range(len(posed.labels.visible))
        ]


def test_a_plate_before_a_landmark_hides_it_beyond_the_tolerance():
    subject = scene("paper_hand", "fingertips")
    posed = next(p for p in map(subject.posed, range(20)) if p.labels.visible.all())
    n = subject.model.n_vertices
    table = landmark_table(subject.spec.landmarks, subject.model)
    tip = posed.points_mm[table.points[2]]
    for gap, visible in ((0.9, True), (1.1, False), (-5.0, True)):
        plate = tip + np.array([[-3, -3, -gap], [4, -3, -gap], [0, 5, -gap]])
        points = posed.points_mm.copy()
        points[n : n + 3] = plate  # in the place of bone heads, which no fingertip uses
        triangles = np.concatenate([subject.triangles, [[n, n + 1, n + 2]]]).astype(np.int32)
        wide = replace(table, own=np.zeros((len(table.names), n + 3), dtype=bool))
        assert label(wide, points, triangles, posed.camera).visible[2] == visible, gap


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
@pytest.mark.parametrize(("spec", "landmarks"), [("paper_hand", "hand_joints"), ("paper_body", "body")])
def test_labels_are_the_rendered_vertices_projected(spec, landmarks, projection):
    rendered = []

    class Recorder:
        def render(self, vertices, camera):
            rendered.append((vertices, camera))
            return np.full((camera.height, camera.width), 1000, dtype=np.float32)

        def close(self):
            pass

    subject = scene(spec, landmarks, projection)
    table = landmark_table(subject.spec.landmarks, subject.model)
    skin = table.points < subject.model.n_vertices
    for index in range(5):
        sample = Pipeline(subject, Recorder()).sample(index)
        vertices, camera = rendered[-1]
        labels = sample.labels
        assert vertices.dtype == np.float32
        assert np.array_equal(labels.landmarks_mm[skin], vertices[table.points[skin]].astype(float))
        assert np.array_equal(labels.landmarks_px, project(camera, labels.landmarks_mm))
        stored = sample.camera
        focal = stored["distance_mm"] / labels.landmarks_mm[:, 2] if projection == "perspective" else np.ones(len(skin))
        for axis, (size, spacing) in enumerate((("width", "mm_per_px_x"), ("height", "mm_per_px_y"))):
            again = stored[size] / 2 + labels.landmarks_mm[:, axis] * focal / stored[spacing]
            np.testing.assert_allclose(again, labels.landmarks_px[:, axis], atol=1e-3)


@given(st.integers(16, 200), st.integers(16, 200), st.floats(0.3, 3))
def test_in_frame_is_inside_the_image(width, height, mm_per_px):
    subject = scene("paper_hand", "hand_joints")
    posed = subject.posed(0)
    table = landmark_table(subject.spec.landmarks, subject.model)
    camera = Camera("orthographic", width, height, (mm_per_px, mm_per_px), 1000.0)
    labels = label(table, posed.points_mm, subject.triangles, camera)
    half = np.array([width, height]) * mm_per_px / 2
    inside = [bool(abs(x) <= half[0] and abs(y) <= half[1]) for x, y, _ in labels.landmarks_mm]
    assert labels.in_frame.tolist() == inside


def test_a_right_hand_is_the_mirror_image_of_the_left():
    left, right = scene("hand", "hand_joints"), scene("hand", "hand_joints", side="right")
    for index in range(8):
        a, b = left.posed(index), right.posed(index)
        assert a.recipe == b.recipe
        assert b.camera.mm_per_px == pytest.approx(a.camera.mm_per_px)
        # The frame's place in the image is drawn alike for both, so that mirroring holds up to a shift in x.
        shift = b.labels.landmarks_mm + a.labels.landmarks_mm * [1, -1, -1]
        np.testing.assert_allclose(shift[:, 0], shift[0, 0], atol=0.005)
        np.testing.assert_allclose(shift[:, 1:], 0, atol=0.005)
        assert a.labels.visible.tolist() == b.labels.visible.tolist()


@pytest.mark.parametrize(("spec", "share"), [("paper_hand", 0.95), ("hand", 0.8)])
def test_fingertips_are_seen_and_lie_at_the_end_of_the_finger(spec, share):
    subject = scene(spec, "fingertips")
    model = subject.model
    owner = np.asarray(model.weights.argmax(axis=1)).ravel()
    seen, gaps = [], []
    for index in range(30):
        posed = subject.posed(index)
        for k, number in enumerate((2, 3, 4, 5), 1):
            bone = model.bone(f"finger{number}-3.L")
            head = posed.points_mm[model.n_vertices + bone, :2]
            along = posed.labels.landmarks_mm[k, :2] - head
            along = along / np.linalg.norm(along)
            reach = (posed.points_mm[: model.n_vertices, :2][owner == bone] - head) @ along
            gaps.append(reach.max() - (posed.labels.landmarks_mm[k, :2] - head) @ along)
            seen.append(posed.labels.visible[k])
    assert np.mean(seen) >= share
    assert np.median(gaps) < 1.0


def test_bodies_show_their_nine_landmarks():
    subject = scene("paper_body", "body9")
    visible = np.array([subject.posed(index).labels.visible for index in range(20)])
    assert visible.mean() > 0.9


def test_the_image_size_changes_no_millimetre():
    spec = resolve(load_spec("paper_body"))
    large = Scene(spec.model_copy(update={"image": Image(width=152, height=320)}))
    for index in range(3):
        a, b = scene("paper_body", "body9").posed(index).labels, large.posed(index).labels
        np.testing.assert_allclose(a.landmarks_mm, b.landmarks_mm, atol=0.002)
        np.testing.assert_allclose(a.landmarks_px * 2, b.landmarks_px, atol=0.01)


def test_phenotypes_of_the_symmetric_shape_are_complete():
    assert set(SYMMETRIC) == set(PHENOTYPES)


def test_the_page_defines_every_landmark_as_the_files_do():
    page = (Path(__file__).parents[1] / "docs" / "landmarks.md").read_text()
    sections = {text.split("`")[0]: text for text in page.split("\n## `")[1:]}
    assert tuple(sections) == SETS
    for name, text in sections.items():
        assert f"images/landmarks_{name}.png" in text
        for mark in built_in(name).landmarks:
            shown = mark.name.replace("left_", "left_, right_", 1)
            where = str(mark.vertex) if mark.joint is None else mark.joint
            assert mark.mirror_of or f"| {shown} | {where} |" in text, mark.name
