import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy.spatial import ConvexHull

from synthgen.errors import SpecError
from synthgen.generator.bodies.collision import Collider, triangles_around
from synthgen.generator.bodies.penetration import penetration
from synthgen.generator.bodies.posing import Rig
from synthgen.generator.bodies.shape_and_skin import rest_body, skin
from synthgen.generator.scene import Scene
from synthgen.geometry import normalize
from synthgen.pose_spaces.draw import PoseDrawer, interpolate_joint, joint_limits
from synthgen.randomness.seeding import Streams
from synthgen.specs.files import load_spec
from synthgen.specs.pose_space import PoseSpace
from synthgen.specs.spec import load_part

space = TypeAdapter(PoseSpace).validate_python
BUILT_IN = [("mr_hand", "hand"), ("hand_any", "hand"), ("ct_body", "body"), ("body_any", "body")]
EXAMPLES = {
    "kind": "examples",
    "examples": [
        {"name": "flat", "angles": {"index_mcp.abduction_deg": 10, "index_pip.flexion_deg": 0}},
        {"name": "bent", "angles": {"index_mcp.flexion_deg": 40, "index_pip.flexion_deg": 60}},
    ],
    "position": {"kind": "uniform", "low": 0, "high": 1},
    "jitter_deg": {"kind": "normal", "mean": 0, "sd": 1, "low": -3, "high": 3},
}


@pytest.mark.parametrize(("name", "model"), BUILT_IN)
def test_draws_keep_to_the_joint_limits(name, model):
    drawer = PoseDrawer(load_part("pose", name), model)
    limits = joint_limits(model)
    poses = drawer.draw(Streams(0, tuple(range(200)), "pose"))

    assert poses[0] == drawer.draw(Streams(0, (0,), "pose"))[0]
    assert all(pose.keys() == poses[0].keys() for pose in poses)
    for pose in poses:
        for angle, value in pose.items():
            low, high = limits[angle.removeprefix("left_").removeprefix("right_") if model == "body" else angle]
            assert low <= value <= high


def test_factors_move_the_fingers_together():
    drawer = PoseDrawer(load_part("pose", "mr_hand"), "hand")
    poses = drawer.draw(Streams(0, tuple(range(400)), "pose"))
    index, little, pip = (
        np.array([pose[name] for pose in poses])
        for name in ("index_mcp.abduction_deg", "little_mcp.abduction_deg", "index_pip.flexion_deg")
    )

    assert np.corrcoef(index, little)[0, 1] < -0.8
    assert abs(np.corrcoef(index, pip)[0, 1]) < 0.2


@given(st.floats(0, 1), st.floats(-60, 60), st.floats(-60, 60), st.floats(-60, 60), st.floats(-60, 60))
def test_interpolation_is_spherical(position, a, b, c, d):
    first, second = {"abduction_deg": a, "flexion_deg": b}, {"abduction_deg": c, "flexion_deg": d}

    def direction(angles):
        x, y = np.radians(angles["abduction_deg"]), np.radians(angles["flexion_deg"])
        return np.array([np.sin(x) * np.cos(y), np.cos(x) * np.cos(y), -np.sin(y)])

    def between(u, v):
        return np.arccos(np.clip(direction(u) @ direction(v), -1, 1))

    middle = interpolate_joint(first, second, position)

    assert between(first, middle) == pytest.approx(position * between(first, second), abs=1e-5)
    assert between(middle, second) == pytest.approx((1 - position) * between(first, second), abs=1e-5)


def test_example_poses_lie_between_their_examples():
    drawer = PoseDrawer(space(EXAMPLES), "hand")
    poses = drawer.draw(Streams(0, tuple(range(100)), "pose"))
    bends = np.array([pose["index_pip.flexion_deg"] for pose in poses])

    assert (bends > -3.01).all()
    assert (bends < 63.01).all()
    assert bends.std() > 10
    assert poses[3] == drawer.draw(Streams(0, (3,), "pose"))[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"angles": {"index_mpc.flexion_deg": {"draw": 0}}},
            r"index_mpc.flexion_deg.*did you mean 'index_mcp.flexion_deg'",
        ),
        (
            {"angles": {"index_pip.flexion_deg": {"draw": 0, "limits_deg": [-40, 50]}}},
            r"-40 to 50 exceeds .* -7 to 110",
        ),
        ({"angles": {"index_pip.flexion_deg": {"draw": 0, "limits_deg": [50, 20]}}}, r"low 50 is above high 20"),
        ({"angles": {"index_pip.flexion_deg": {"draw": 0, "factors": {"curl": 3}}}}, r"'curl' is not a factor"),
    ],
)
def test_mistakes_in_a_pose_space_are_named(change, message):
    with pytest.raises(SpecError, match=message):
        PoseDrawer(space({"kind": "joints", **change}), "hand")


def test_an_example_beyond_the_joint_is_named():
    examples = [*EXAMPLES["examples"], {"name": "broken", "angles": {"index_pip.flexion_deg": 170}}]
    with pytest.raises(SpecError, match=r"broken.index_pip.flexion_deg: 170 exceeds"):
        PoseDrawer(space(EXAMPLES | {"examples": examples}), "hand")


def test_penetration_measures_depth():
    rng = np.random.Generator(np.random.Philox(1))
    hull = ConvexHull(10 * normalize(rng.normal(size=(3000, 3))))
    a, b, c = (hull.points[hull.simplices[:, i]] for i in range(3))
    outwards = np.einsum("ti,ti->t", a, np.cross(b - a, c - a)) > 0
    triangles = np.where(outwards[:, None], hull.simplices, hull.simplices[:, ::-1]).astype(np.int32)
    mesh = (triangles, triangles_around(triangles, 3003))

    def depth(*points):
        everything = np.concatenate([hull.points, np.array(points, dtype=float)])
        return penetration(everything, mesh, np.arange(3000, 3000 + len(points)), np.arange(3000))

    assert depth([7, 0, 0]) == pytest.approx(3, abs=0.1)
    assert depth([0, 0, -9.5], [12, 0, 0]) == pytest.approx(0.5, abs=0.05)
    assert depth([10.5, 0, 0], [0, 12, 0]) == 0


def test_a_finger_pushed_through_another_is_found(hand):
    rest = rest_body(hand, {"gender": 0, "age": 0.7, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5})
    rig, collider = Rig(hand), Collider(hand)
    flat = dict.fromkeys(joint_limits("hand"), 0.0) | {"thumb_cmc.abduction_deg": 45, "thumb_cmc.flexion_deg": 25}
    crossed = flat | {"index_mcp.abduction_deg": -18, "middle_mcp.abduction_deg": 8}

    def worst(pose):
        return collider.deepest(skin(hand, rest, rig.rotations(rest, pose))[0])

    assert (
        worst(flat | {"index_mcp.abduction_deg": 12, "little_mcp.abduction_deg": -14, "ring_mcp.abduction_deg": -5})[0]
        == 0
    )
    assert worst(crossed)[0] > 3
    assert worst(crossed)[1] == "index-middle"


@pytest.mark.bpy
@pytest.mark.slow
def test_fingers_rarely_intersect_according_to_blender():
    import bpy  # noqa: F401  # mathutils comes with it

    from benchmarks.pose_coverage import OverlapJudge, spread_deg

    for name, low, high in (("paper_hand", 22, 45), ("hand", 22, 50)):
        scene = Scene(load_spec(name))
        judge = OverlapJudge(scene.model)
        bodies = [scene.posed(i) for i in range(150)]
        depths = np.array([judge.depth(body.points_mm[: scene.model.n_vertices]) for body in bodies])
        redraws = np.array([body.recipe.pose["redraws"] for body in bodies])
        angles = np.array([spread_deg(scene, body.points_mm) for body in bodies])

        assert np.mean(depths > 1) < 0.02  # under 1 % of 2,000: benchmarks/pose_coverage.py
        assert 0 < redraws.sum() / (redraws.sum() + len(redraws)) < 0.4
        assert angles.min() < low
        assert angles.max() > high


def test_a_space_without_a_possible_pose_says_so():
    pose = {
        "kind": "joints",
        "angles": {"index_mcp.abduction_deg": {"draw": -20}, "middle_mcp.abduction_deg": {"draw": 20}},
    }
    scene = Scene(load_spec("hand").model_copy(update={"pose": space(pose)}))
    with pytest.raises(SpecError, match=r"index-middle overlap by .* narrow the pose space"):
        scene.recipe(0)


@pytest.mark.parametrize("name", ["hand", "body"])
def test_recipes_are_independent_of_count_and_reproducible(name):
    spec = load_spec(name)
    one, other = Scene(spec), Scene(spec.model_copy(update={"count": 7}))
    for index in (0, 3, 123_456):
        body = one.posed(index)
        again = other.posed_from(body.recipe)

        assert body.recipe == other.recipe(index)
        assert (body.points_mm == again.points_mm).all()
        assert (body.labels.landmarks_px == again.labels.landmarks_px).all()


def test_samples_do_not_depend_on_those_made_with_them():
    scene = Scene(load_spec("hand"))
    indices = [5, 3, 2**31, *range(40)]
    together = scene.bodies(scene.recipes.draw(indices))

    assert any(body.recipe.pose["redraws"] for body in together)
    for index, body in zip(indices, together, strict=True):
        alone = scene.posed(index)
        assert body.recipe == alone.recipe
        assert (body.points_mm == alone.points_mm).all()
        assert (body.labels.visible == alone.labels.visible).all()
