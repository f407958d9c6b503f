import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.blender_assets.model import BodyModel
from synthgen.generator.bodies.posing import FINGERS, TIPS, Rig
from synthgen.generator.bodies.shape_and_skin import (
    PHENOTYPES,
    phenotype_coefficients,
    rest_bodies,
    rest_body,
    skin,
    with_ages,
)
from synthgen.generator.bodies.vectors import about
from synthgen.pose_spaces.draw import joint_limits

unit = st.floats(0, 1)
shapes = st.fixed_dictionaries(dict.fromkeys(PHENOTYPES, unit))
AVERAGE = dict.fromkeys(PHENOTYPES, 0.5) | {"age": 0.7}


def poses(model: str, share: float = 0.6):
    limits = joint_limits(model)
    return st.fixed_dictionaries({name: st.floats(share * low, share * high) for name, (low, high) in limits.items()})


def angle(a, b):
    return np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


@pytest.fixture(scope="module")
def anny_model():
    import anny

    targets = ["l-hand-scale-incr", "r-hand-scale-incr", "l-hand-fingers-length-incr", "measure-shoulder-dist-incr"]
    return anny.Anny(rig="anny", topology="anny", local_changes=targets, phenotype_blendshapes="original")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hand", "body"])
def test_posed_vertices_agree_with_anny(name, request, anny_model):
    import torch

    model: BodyModel = request.getfixturevalue(name)
    rng = np.random.Generator(np.random.Philox(7))
    rig = Rig(model)
    place = np.searchsorted(anny_model.base_mesh_vertex_indices.numpy(), model.base_vertices)
    bones = [anny_model.bone_labels.index(bone) for bone in model.bones]
    for _ in range(6):
        shape = {phenotype: float(rng.random()) for phenotype in PHENOTYPES} | {"age": float(rng.uniform(-1 / 3, 1))}
        targets = {
            "l-hand-scale-incr": float(rng.uniform(-1, 1)),
            "l-hand-fingers-length-incr": float(rng.uniform(-1, 1)),
            "measure-shoulder-dist-incr": float(rng.uniform(-1, 1)),
        }
        rest = rest_body(model, shape | targets)
        limits = joint_limits(name)
        pose = {
            n if name == "hand" or n.startswith(("spine", "neck")) else f"{side}{n}": float(rng.uniform(a, b)) * 0.7
            for n, (a, b) in limits.items()
            for side in ("left_", "right_")
        }
        vertices, heads, world = skin(model, rest, rig.rotations(rest, pose))
        theirs = anny_model(phenotype_kwargs=shape, local_changes_kwargs=targets)
        rest_poses = theirs["rest_bone_poses"][0].numpy()
        transforms = np.tile(np.eye(4), (len(rest_poses), 1, 1))
        transforms[bones, :3, :3] = world
        transforms[bones, :3, 3] = (heads - np.einsum("bij,bj->bi", world, rest.heads_mm)) / 1000
        posed = anny_model(
            pose_parameters=torch.from_numpy(transforms @ rest_poses)[None],
            phenotype_kwargs=shape,
            local_changes_kwargs=targets,
            pose_parameterization="world",
        )
        assert np.abs(rest.heads_mm - theirs["rest_bone_heads"][0].numpy()[bones] * 1000).max() < 1e-3
        assert np.abs(rest.vertices_mm - theirs["rest_vertices"][0].numpy()[place] * 1000).max() < 1e-3
        assert np.abs(vertices - posed["vertices"][0].numpy()[place] * 1000).max() < 1e-3


@given(age=st.floats(0, 1), shape=shapes)
def test_a_model_without_unreachable_ages_gives_the_same_bodies(hand, age, shape):
    years = {"age_years": 18 + age * 42}
    shape = shape | {"age": float(np.interp(years["age_years"], *hand.calibration["age_map"].T))}
    adults = with_ages(hand, 18, 60)

    assert len(adults.phenotype_mm) < len(hand.phenotype_mm) / 2
    assert (rest_body(adults, shape).vertices_mm == rest_body(hand, shape).vertices_mm).all()


@given(shape=shapes)
def test_phenotype_weights_are_a_partition_for_each_family(hand, shape):
    coefficients = phenotype_coefficients(hand, [shape])[0]
    of_age_and_gender = (hand.phenotype_factors == 17).sum(axis=1) == 4

    assert (coefficients >= 0).all()
    assert coefficients[of_age_and_gender].sum() == pytest.approx(1)  # anny's races, merged: a partition of unity


@given(shape=shapes, pose=poses("hand"))
def test_hand_joints_have_the_angles_that_were_asked_for(hand, shape, pose):
    rest = rest_body(hand, shape)
    rig = Rig(hand)
    vertices, heads, world = skin(hand, rest, rig.rotations(rest, pose))
    at = {bone: heads[i] for i, bone in enumerate(hand.bones)}
    axes = world[hand.bone("wrist.L")] @ rig.hand_axes(rest).T
    for finger, number in FINGERS.items():
        points = [at[f"finger{number}-{i}.L"] for i in (1, 2, 3)] + [vertices[hand.vertex(TIPS[finger])]]
        along = np.diff(points, axis=0)
        x, y, n = along[0] @ axes
        base = "cmc" if finger == "thumb" else "mcp"
        assert np.degrees(np.arctan2(x, y)) == pytest.approx(pose[f"{finger}_{base}.abduction_deg"], abs=1e-6)
        assert np.degrees(np.arctan2(-n, np.hypot(x, y))) == pytest.approx(
            pose[f"{finger}_{base}.flexion_deg"], abs=1e-6
        )
        if finger != "thumb":
            assert angle(along[0], along[1]) >= abs(pose[f"{finger}_pip.flexion_deg"]) - 1e-6


def test_fingers_bend_towards_the_palm(hand):
    rest, rig = rest_body(hand, AVERAGE), Rig(hand)
    flat = dict.fromkeys(joint_limits("hand"), 0.0) | {"thumb_cmc.abduction_deg": 40}
    dorsal = rig.hand_axes(rest)[2]
    straight, _, _ = skin(hand, rest, rig.rotations(rest, flat))
    for finger, tip in TIPS.items():
        joint = "ip" if finger == "thumb" else "pip"
        bent, _, _ = skin(hand, rest, rig.rotations(rest, flat | {f"{finger}_{joint}.flexion_deg": 40}))
        moved = bent[hand.vertex(tip)] - straight[hand.vertex(tip)]
        assert moved @ dorsal < -5 if finger != "thumb" else moved @ rig.hand_axes(rest)[0] < -5


@pytest.mark.parametrize("side", ["left_", "right_"])
def test_limbs_move_the_way_their_angles_say(body, side):
    rest, rig = rest_body(body, AVERAGE), Rig(body)
    sign, letter = (1, "L") if side == "left_" else (-1, "R")
    hanging = {
        f"{side}{name}": 0.0
        for name in (
            "shoulder.abduction_deg",
            "shoulder.flexion_deg",
            "shoulder.rotation_deg",
            "elbow.flexion_deg",
            "forearm.pronation_deg",
            "wrist.flexion_deg",
            "wrist.abduction_deg",
            "hip.abduction_deg",
            "hip.flexion_deg",
            "hip.rotation_deg",
            "knee.flexion_deg",
            "ankle.flexion_deg",
        )
    }

    def posed(**change: float):
        pose = hanging | {f"{side}{name.replace('__', '.')}_deg": value for name, value in change.items()}
        _, heads, world = skin(body, rest, rig.rotations(rest, pose))
        axes = world[body.bone(f"wrist.{letter}")] @ rig.hand_axes(rest, letter).T
        return {bone: heads[i] for i, bone in enumerate(body.bones)}, axes

    def limb(at, a, b):
        return (at[f"{b}.{letter}"] - at[f"{a}.{letter}"]) / np.linalg.norm(at[f"{b}.{letter}"] - at[f"{a}.{letter}"])

    at, axes = posed()
    assert limb(at, "upperarm01", "lowerarm01") == pytest.approx([0, 0, -1], abs=1e-6)
    assert limb(at, "lowerarm01", "wrist") == pytest.approx([0, 0, -1], abs=1e-2)
    assert axes[:, 2] == pytest.approx([sign, 0, 0], abs=0.06)  # neutral: the back of the hand faces outwards
    assert posed(forearm__pronation=80)[1][:, 2] @ [0, -1, 0] > 0.9  # pronated: the palm faces back
    assert limb(posed(shoulder__abduction=30)[0], "upperarm01", "lowerarm01")[0] == pytest.approx(sign * 0.5, abs=1e-6)
    assert limb(posed(elbow__flexion=90)[0], "lowerarm01", "wrist") == pytest.approx([0, -1, 0], abs=0.02)
    assert limb(posed(elbow__flexion=90, shoulder__rotation=40)[0], "lowerarm01", "wrist")[0] * sign > 0.5
    assert limb(posed(hip__abduction=30)[0], "upperleg01", "lowerleg01")[0] == pytest.approx(sign * 0.5, abs=1e-6)
    assert limb(posed(knee__flexion=90)[0], "lowerleg01", "foot") == pytest.approx([0, 1, 0], abs=0.1)
    toes = limb(at, "foot", "toe3-1")
    assert (limb(posed(hip__rotation=30)[0], "foot", "toe3-1") - toes)[0] * sign > 0.3
    assert (limb(posed(ankle__flexion=30)[0], "foot", "toe3-1") - toes)[2] < -0.3


def test_a_mirrored_pose_gives_the_mirrored_body(body):
    rest, rig = rest_body(body, AVERAGE), Rig(body)
    rng = np.random.Generator(np.random.Philox(3))
    limits = {name: ends for name, ends in joint_limits("body").items() if not name.startswith(("spine", "neck"))}
    one = {name: float(rng.uniform(*ends)) * 0.5 for name, ends in limits.items()}
    left, _, _ = skin(body, rest, rig.rotations(rest, {f"left_{name}": v for name, v in one.items()}))
    right, _, _ = skin(body, rest, rig.rotations(rest, {f"right_{name}": v for name, v in one.items()}))
    place = {int(base): i for i, base in enumerate(body.base_vertices)}
    pairs = [(i, place[int(body.mirror[b])]) for i, b in enumerate(body.base_vertices) if int(body.mirror[b]) in place]
    a, b = np.array(pairs).T
    limb = np.abs(rest.vertices_mm[a, 0]) > 150

    assert (
        np.abs(left[a[limb]] * [-1, 1, 1] - right[b[limb]]).max() < 2.0
    )  # MakeHuman's weights differ a little by side


@given(st.floats(-3, 3), st.integers(0, 2))
def test_no_rotation_leaves_the_rest_body_and_a_root_turn_turns_it(hand, turn, axis):
    rest = rest_body(hand, AVERAGE)
    still = np.tile(np.eye(3), (len(hand.bones), 1, 1))
    vertices, heads, _ = skin(hand, rest, still)
    rotation = np.array(about(tuple(np.eye(3)[axis].tolist()), turn))
    turned = still.copy()
    turned[0] = rotation
    root = rest.heads_mm[0]

    assert np.abs(vertices - rest.vertices_mm).max() < 1e-9
    assert np.abs(heads - rest.heads_mm).max() < 1e-9
    assert np.abs(skin(hand, rest, turned)[0] - ((rest.vertices_mm - root) @ rotation.T + root)).max() < 1e-9


@given(st.lists(shapes, min_size=1, max_size=6))
def test_a_body_does_not_depend_on_those_shaped_with_it(hand, several):
    several = [shape | {"hand-scale-incr": shape["height"] - 0.5} for shape in several]

    for rest, shape in zip(rest_bodies(hand, several), several, strict=True):
        alone = rest_body(hand, shape)
        assert np.array_equal(rest.vertices_mm, alone.vertices_mm)
        assert np.array_equal(rest.heads_mm, alone.heads_mm)
