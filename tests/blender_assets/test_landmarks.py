"""Landmarks: the built-in sets, what is refused, and labels judged by an independent ray caster."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.paths import ROOT

from synthgen.blender_assets.bake import ensure_model
from synthgen.errors import SpecError, SynthgenError
from synthgen.generator.bodies.labels import TOLERANCE_MM, label, landmark_table
from synthgen.generator.bodies.shape_and_skin import PHENOTYPES, rest_body
from synthgen.generator.pipeline import Pipeline
from synthgen.generator.scene import Scene
from synthgen.geometry import Camera, project
from synthgen.specs import builtin as named
from synthgen.specs.files import dump_spec, load_spec
from synthgen.specs.landmark_set import Landmark, LandmarkSet
from synthgen.specs.messages import spec_error
from synthgen.specs.spec import CameraSpace, Image, load_part, plain, spec_hash

SETS = ("fingertips", "fingertip_bones", "hand_joints", "body9", "body")
FINGERS = ("thumb", "index", "middle", "ring", "little")
BODY9 = (
    "head_top", "left_shoulder", "right_shoulder", "left_middle_finger", "right_middle_finger",
    "left_knee", "right_knee", "left_big_toe", "right_big_toe",
)  # fmt: skip
SYMMETRIC = {"gender": 0.0, "age": 0.7, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5}
DISTANCES = {"hand": 400.0, "body": 3000.0}


@cache
def built_in(name: str) -> LandmarkSet:
    return load_part("landmarks", name)


@cache
def scene(spec_name: str, landmarks: str, projection: str = "orthographic", side: str = "left") -> Scene:
    spec = load_spec(spec_name)
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
    assert built_in("fingertip_bones").names == tuple(f"{finger}_bone" for finger in FINGERS)
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
        source = defined[mark.mirror_of] if mark.mirror_of else mark
        if source.joint is None:
            assert point in model.triangles
            assert own.any() == (source.towards is not None)
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
        (
            one("hand", vertex=8737, towards="finger2-4.L", share=0.2),
            "hand",
            SpecError,
            ["landmarks.point", "finger2-4.L"],
        ),
        (one("hand", vertex=881, towards="finger2-3.L", share=0.2), "hand", SpecError, ["landmarks.point", "881"]),
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
        ({"name": "a", "vertex": 1, "towards": "head"},),
        ({"name": "a", "vertex": 1, "share": 0.5},),
        ({"name": "a", "vertex": 1, "towards": "head", "share": 0},),
        ({"name": "a", "vertex": 1, "towards": "head", "share": 1},),
        ({"name": "a", "vertex": 1, "towards": "head", "share": float("nan")},),
        ({"name": "a", "vertex": 1, "towards": "head", "share": True},),
        ({"name": "a", "towards": "head", "share": 0.5},),
        ({"name": "a", "joint": "head", "towards": "neck01", "share": 0.5},),
        ({"name": "a", "vertex": 1}, {"name": "b", "mirror_of": "a", "towards": "head", "share": 0.5}),
        ({"name": "a", "vertex": -1},),
        (),
    ],
)
def test_an_invalid_landmark_set_is_refused(marks):
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
    owners = model.weights.toarray().argmax(axis=1)
    landmarks = {mark.name: mark for mark in scene.spec.landmarks.landmarks}
    mark = scene.spec.landmarks.landmarks[k]
    source = landmarks[mark.mirror_of] if mark.mirror_of else mark
    name = source.joint or source.towards
    if name and mark.mirror_of:
        name = name[:-1] + "R"
    target = body.labels.landmarks_mm[k]
    if body.camera.projection == "perspective":
        origin, direction = np.zeros(3), target / target[2]
    else:
        origin, direction = np.array([target[0], target[1], -10000.0]), np.array([0.0, 0, 1])
    depth = origin[2] + first_hits(origin, direction, body.points_mm[: model.n_vertices], model.triangles)
    if name is None:
        return depth.min() >= target[2] - TOLERANCE_MM
    if not np.isfinite(depth).any():
        return False
    bone = model.bones.index(name)
    other = model.parents[bone]
    if source.towards:
        vertex = model.mirror[source.vertex] if mark.mirror_of else source.vertex
        other = owners[model.base_vertices.tolist().index(vertex)]
    return bool(np.isin(owners[model.triangles[depth.argmin()]], [bone, other]).any())


@pytest.mark.slow
@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
@pytest.mark.parametrize(
    ("spec", "landmarks", "count"), [("hand", "hand_joints", 15), ("hand", "fingertip_bones", 40), ("body", "body", 8)]
)
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


@pytest.mark.slow
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


SOFT_AND_PHALANX_MM = ((5.67, 21.67), (3.84, 15.82), (3.95, 17.40), (3.95, 17.30), (3.73, 15.96))
"""Buryanov and Kotiuk 2010: soft tissue beyond the bone and distal phalanx of the five fingers, means."""
LAST_JOINTS = ("thumb_ip", "index_dip", "middle_dip", "ring_dip", "little_dip")


def test_shares_are_those_of_the_source_between_the_tips_and_the_last_joints():
    joints = {mark.name: mark for mark in built_in("hand_joints").landmarks}
    rows = zip(built_in("fingertip_bones").landmarks, FINGERS, LAST_JOINTS, SOFT_AND_PHALANX_MM, strict=True)
    for mark, finger, joint, (soft, phalanx) in rows:
        assert mark.vertex == joints[f"{finger}_tip"].vertex
        assert mark.towards == joints[joint].joint
        assert mark.share == round(soft / (soft + phalanx), 3)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_bone_ends_divide_the_way_from_the_tip_to_the_last_joint(projection, side):
    bones, tips, joints = (
        scene("hand", name, projection, side) for name in ("fingertip_bones", "fingertips", "hand_joints")
    )
    last = [joints.spec.landmarks.names.index(name) for name in LAST_JOINTS]
    shares = np.array([[mark.share] for mark in built_in("fingertip_bones").landmarks])
    for index in range(10):
        found, tip, joint = (subject.posed(index) for subject in (bones, tips, joints))
        start, end = tip.labels.landmarks_mm, joint.labels.landmarks_mm[last]
        assert found.labels.landmarks_mm.dtype == np.float64
        np.testing.assert_allclose(found.labels.landmarks_mm, start + shares * (end - start), rtol=0, atol=1e-10)
        assert np.array_equal(found.labels.landmarks_px, project(found.camera, found.labels.landmarks_mm))
        if projection == "orthographic":
            start, end = tip.labels.landmarks_px, joint.labels.landmarks_px[last]
            np.testing.assert_allclose(found.labels.landmarks_px, start + shares * (end - start), rtol=0, atol=1e-9)


def test_bone_ends_of_open_hands_are_visible_and_lie_between_back_and_front():
    subject = scene("paper_hand", "fingertip_bones")
    bodies = subject.bodies(subject.recipes.draw(range(100)))
    visible = np.array([body.labels.visible for body in bodies])
    assert visible[:, 1:].all()
    assert visible[:, 0].mean() > 0.85  # the index finger lies before the other thumbs
    for body in bodies[:20]:
        vertices = body.points_mm[: subject.model.n_vertices]
        for place in body.labels.landmarks_mm[body.labels.visible]:
            depths = (
                place[2] + first_hits(place - [0, 0, 1000], np.array([0, 0, 1.0]), vertices, subject.triangles) - 1000
            )
            depths = depths[np.isfinite(depths)]
            # The tips are on the nail's side, and the way from the little finger's runs along the nail.
            assert depths.min() - 0.3 < place[2] < depths.max() - 3


def test_a_point_below_the_skin_is_mirrored_with_its_bone(body):
    marks = (
        Landmark(name="left_end", vertex=8787, towards="lowerarm01.L", share=0.3),
        Landmark(name="right_end", mirror_of="left_end"),
    )
    table = landmark_table(LandmarkSet(model="body", landmarks=marks), body)
    rest = rest_body(body, SYMMETRIC)
    left, right = table.places(np.concatenate([rest.vertices_mm, rest.heads_mm]))
    tip, elbow = rest.vertices_mm[body.vertex(8787)], rest.heads_mm[body.bone("lowerarm01.L")]
    np.testing.assert_allclose(left, 0.7 * tip + 0.3 * elbow, atol=1e-9)
    np.testing.assert_allclose(right, left * [-1, 1, 1], atol=1e-3)
    segments = [{body.bones[bone] for bone in body.owners[own]} for own in table.own]
    assert segments == [{"finger3-3.L", "lowerarm01.L"}, {"finger3-3.R", "lowerarm01.R"}]


def test_a_finger_before_the_bones_end_hides_it():
    subject = scene("paper_hand", "fingertip_bones")
    posed = next(p for p in map(subject.posed, range(20)) if p.labels.visible.all())
    n = subject.model.n_vertices
    table = landmark_table(subject.spec.landmarks, subject.model)
    plate = posed.labels.landmarks_mm[2] + np.array([[-3, -3, -30], [4, -3, -30], [0, 5, -30]])
    points = np.insert(posed.points_mm, n, plate, axis=0)
    triangles = np.concatenate([subject.triangles, [[n, n + 1, n + 2]]]).astype(np.int32)
    for bone, visible in (("finger3-3.L", True), ("finger3-2.L", False), ("finger2-3.L", False)):
        carried = table.own[:, [subject.model.owners.tolist().index(subject.model.bone(bone))] * 3]
        wide = replace(table, own=np.hstack([table.own, carried]), heads=table.heads + 3)
        labels = label(wide, points, triangles, posed.camera)
        assert np.array_equal(labels.landmarks_mm, posed.labels.landmarks_mm)
        assert labels.visible.tolist() == [True, True, visible, True, True]


def test_errors_about_a_share_name_the_fix():
    marks = built_in("fingertip_bones").landmarks
    for changes, texts in (
        ({"share": None}, ["landmark thumb_bone", "towards and share go together", "add share"]),
        ({"towards": None}, ["landmark thumb_bone", "towards and share go together", "add towards"]),
        ({"vertex": None, "joint": "wrist.L"}, ["landmark thumb_bone", "start from a vertex", "remove"]),
        ({"share": 0}, ["landmarks[0].share", "value 0", "above 0"]),
        ({"share": 1}, ["landmarks[0].share", "value 1", "below 1"]),
        ({"share": "half"}, ["landmarks[0].share", '"half"', "give a number"]),
    ):
        mark = {key: value for key, value in (marks[0].model_dump() | changes).items() if value is not None}
        data = {"model": "hand", "landmarks": [mark]}
        with pytest.raises(ValidationError) as caught:
            LandmarkSet.model_validate(data)
        text = str(spec_error(caught.value, LandmarkSet, data, lambda _: ""))
        assert "\n" not in text
        assert all(part in text for part in texts), text


@pytest.mark.parametrize("name", SETS)
def test_a_resolved_set_is_written_as_its_file_has_it(name):
    written = plain(built_in(name))
    assert written == named.read_named("landmarks", name).data
    keys = {key for mark in written["landmarks"] for key in mark}
    assert ({"towards", "share"} & keys == set()) == (name != "fingertip_bones")
    assert list(written) == ["model", "description", "landmarks"]


def test_points_below_the_skin_are_read_back_as_they_were_written(tmp_path):
    resolved = scene("hand", "fingertip_bones").spec
    (tmp_path / "spec.yaml").write_text(dump_spec(resolved), encoding="utf-8")
    assert load_spec(tmp_path / "spec.yaml") == resolved
    assert spec_hash(resolved) != spec_hash(scene("hand", "fingertips").spec)


def test_bodies_show_their_nine_landmarks():
    subject = scene("paper_body", "body9")
    visible = np.array([subject.posed(index).labels.visible for index in range(20)])
    assert visible.mean() > 0.9


def test_the_image_size_changes_no_millimetre():
    spec = load_spec("paper_body")
    large = Scene(spec.model_copy(update={"image": Image(width=152, height=320)}))
    for index in range(3):
        a, b = scene("paper_body", "body9").posed(index).labels, large.posed(index).labels
        np.testing.assert_allclose(a.landmarks_mm, b.landmarks_mm, atol=0.002)
        np.testing.assert_allclose(a.landmarks_px * 2, b.landmarks_px, atol=0.01)


def test_phenotypes_of_the_symmetric_shape_are_complete():
    assert set(SYMMETRIC) == set(PHENOTYPES)


def test_the_page_defines_every_landmark_as_the_files_do():
    page = (ROOT / "docs" / "landmarks.md").read_text()
    sections = {text.split("`")[0]: text for text in page.split("\n## `")[1:]}
    assert tuple(sections) == SETS
    for name, text in sections.items():
        assert f"images/landmarks_{name}.png" in text
        for mark in built_in(name).landmarks:
            shown = mark.name.replace("left_", "left_, right_", 1)
            where = str(mark.vertex) if mark.joint is None else mark.joint
            if mark.towards is not None:
                where += f", {mark.share * 100:.1f} % to {mark.towards}"
            assert mark.mirror_of or f"| {shown} | {where} |" in text, mark.name
