"""The exported Blender scene, opened in another process: its armature and camera reproduce the sample."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support.specs import changed_spec

from synthgen.generator.exports.blend_file import write_blend
from synthgen.generator.pipeline import open_pipeline
from synthgen.generator.scene import Scene
from synthgen.geometry import project
from synthgen.specs.files import load_spec

pytestmark = pytest.mark.bpy

HAND_LANDMARKS = {
    "model": "hand",
    "landmarks": [
        {"name": "knuckle", "joint": "finger3-1.L"},
        {"name": "skin", "vertex": 8787},
        {"name": "bone", "vertex": 8929, "towards": "finger3-3.L", "share": 0.185},
    ],
}
FILES = (
    ("hand", {}, (0, 1, 17)),
    ("hand", {"side": "right", "landmarks": HAND_LANDMARKS}, (3,)),
    ("hand", {"camera": {"projection": "perspective", "distance_mm": 350, "yaw_deg": 40, "roll_deg": -25}}, (4,)),
    ("hand", {"framing": {"aspect": "stretch"}, "image": {"width": 128, "height": 64}, "side": "right"}, (5,)),
    ("paper_body", {}, (0,)),
    ("body", {"camera": {"projection": "perspective", "distance_mm": 3000, "pitch_deg": 20}}, (2,)),
)

OPEN = """
import sys
import bpy
import numpy as np
from synthgen.generator.engines.blender_process import exit_process

folder, *names = sys.argv[1:]
for name in names:
    bpy.ops.wm.open_mainfile(filepath=f"{folder}/{name}.blend")
    scene = bpy.context.scene
    scene.cycles.samples = 1
    scene.render.filepath = f"{folder}/{name}.exr"
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode = "OPEN_EXR", "RGBA"
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.array(image.pixels, dtype=np.float32).reshape(image.size[1], image.size[0], 4)[::-1]

    graph = bpy.context.evaluated_depsgraph_get()
    to_camera = np.diag([1, -1, -1, 1]) @ np.linalg.inv(np.array(scene.camera.matrix_world))

    def seen(points, matrix):
        points = np.column_stack([points, np.ones(len(points))]) @ (to_camera @ np.array(matrix)).T
        return points[:, :3] * 1000

    skin = bpy.data.objects["Skin"].evaluated_get(graph)
    mesh = skin.to_mesh()
    vertices = np.empty(3 * len(mesh.vertices), dtype=np.float32)
    mesh.vertices.foreach_get("co", vertices)
    marks = bpy.data.collections["Landmarks"].objects
    rig = bpy.data.objects["Rig"]
    np.savez(
        f"{folder}/{name}.npz",
        vertices=seen(vertices.reshape(-1, 3), skin.matrix_world),
        triangles=np.array([polygon.vertices for polygon in mesh.polygons]),
        landmarks=np.concatenate([seen(np.zeros((1, 3)), mark.evaluated_get(graph).matrix_world) for mark in marks]),
        landmark_names=[mark.name for mark in marks],
        heads=seen(np.array([bone.head for bone in rig.pose.bones]), rig.matrix_world),
        bones=[bone.name for bone in rig.pose.bones],
        lengths=[bone.bone.length for bone in rig.pose.bones],
        keys=[key.name for key in skin.data.shape_keys.key_blocks],
        values=[key.value for key in skin.data.shape_keys.key_blocks],
        mask=pixels[..., 3] > 0.5,
        lit=pixels[..., :3].max(),
        about=scene["synthgen"],
    )
exit_process(0)
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Each file as (scene, index, contents found by another process, the pipeline's depth)."""
    folder = tmp_path_factory.mktemp("blend")
    cases = []
    for n, (name, changes, indices) in enumerate(FILES):
        pipeline = open_pipeline(changed_spec(name, changes), "blender")
        depths = [pipeline.sample(index).depth_mm for index in indices]
        pipeline.close()
        cases += [(f"{n}-{index}", pipeline.scene, index, depth) for index, depth in zip(indices, depths, strict=True)]
    for name, scene, index, _ in cases:
        write_blend(scene, index, folder / f"{name}.blend")
    names = [name for name, *_ in cases]
    assert {path.name for path in folder.iterdir()} == {f"{name}.blend" for name in names}
    child = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder), *names], capture_output=True, text=True, timeout=300, check=False
    )
    assert child.returncode == 0, child.stderr
    return [(scene, index, dict(np.load(folder / f"{name}.npz")), depth) for name, scene, index, depth in cases]


def test_armature_deforms_the_skin_to_the_rendered_mesh(opened):
    for scene, index, found, _ in opened:
        n = scene.model.n_vertices
        points = scene.posed(index).points_mm
        assert np.abs(found["vertices"] - points[:n]).max() < 0.05
        np.testing.assert_allclose(found["heads"], points[n:], atol=0.05)


def test_camera_sees_the_samples_silhouette(opened):
    for _, _, found, depth in opened:
        mask = np.isfinite(depth)
        assert found["mask"].shape == mask.shape
        assert (found["mask"] != mask).mean() < 0.002
        assert (found["mask"] & mask).sum() > 0.99 * (found["mask"] | mask).sum()
        assert found["lit"] > 0.2


def test_landmarks_stand_where_the_labels_are(opened):
    for scene, index, found, _ in opened:
        assert tuple(found["landmark_names"]) == scene.spec.landmarks.names
        body = scene.posed(index)
        np.testing.assert_allclose(found["landmarks"], body.labels.landmarks_mm, atol=0.05)
        np.testing.assert_allclose(project(body.camera, found["landmarks"]), body.labels.landmarks_px, atol=0.05)


def test_skin_faces_outwards_on_either_side(opened):
    for _, _, found, _ in opened:
        a, b, c = (found["vertices"][found["triangles"][:, i]] for i in range(3))
        volume = np.einsum("ij,ij->i", a - found["vertices"].mean(0), np.cross(b, c) - np.cross(b, a) - np.cross(a, c))
        assert volume.sum() > 0


def test_rig_and_shape_carry_the_recipe(opened):
    for scene, index, found, _ in opened:
        recipe = scene.recipe(index)
        names = scene.model.bones
        if scene.spec.side == "right":
            names = tuple(name.replace(".L", ".R") for name in names)
        assert tuple(found["bones"]) == names
        assert found["lengths"].min() > 1e-3
        assert json.loads(str(found["about"]))["pose"] == recipe.pose
        sliders = dict(zip(found["keys"].tolist(), found["values"].tolist(), strict=True))
        assert len(sliders) > 3
        for name in set(sliders) - {"Template", "Phenotypes"}:
            assert sliders[name] == pytest.approx(recipe.shape[name])


def test_unwritable_folder_is_an_os_error_and_leaves_nothing(tmp_path):
    scene = Scene(load_spec("hand"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        write_blend(scene, 0, tmp_path / "file" / "0.blend")
    (tmp_path / "0.blend").mkdir()
    with pytest.raises(OSError, match=r"0\.blend"):
        write_blend(scene, 0, tmp_path / "0.blend")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.blend", "file"]


def test_blender_prints_nothing(tmp_path, capfd):
    write_blend(Scene(load_spec("hand")), 0, tmp_path / "0.blend")
    assert capfd.readouterr() == ("", "")
