"""Writes a sample as a Blender scene: a rigged, shaped, posed figure, viewed by the sample's camera.

World frame: Blender's, in metres (displayed in mm): the figure's left is at +x, its front at -y, up is +z, and its
lowest point is at z = 0. The rest pose is MakeHuman's. A right hand is written as mirrored data with bones named
``.R``, not as a mirrored left hand.

Editable are the bones (the recipe's rotations, as quaternions) and the shape keys (one for all phenotypes, and one for
each target of the recipe, with its name and value); the landmarks follow both. The bones are positioned for the
recipe's shape and do not follow the sliders.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import EngineError
from synthgen.generator.bodies.labels import LandmarkTable, landmark_table
from synthgen.generator.bodies.shape_and_skin import rest_body
from synthgen.generator.engines.blender import import_bpy
from synthgen.generator.engines.blender_process import stdout_to
from synthgen.generator.exports.rigged_body import Figure, WorldPlacement, figure_of, place_of
from synthgen.generator.scene import PosedBody, Scene
from synthgen.geometry import Camera, Floats, normalize
from synthgen.storage.atomic_files import atomic_file

_M_PER_MM = 1e-3
_LEAST_WEIGHT = 1e-7
_SKIN = (0.65, 0.45, 0.36, 1.0)
_SENSOR_MM = 36.0


def write_blend(scene: Scene, index: int, path: Path) -> None:
    """Write one sample as a Blender file; the module's docstring describes its frame and contents.

    The file's mesh, deformed by Blender's armature, is the mesh that is rendered for the sample, and rendering it from
    the file's camera gives the sample's silhouette. The file is written atomically. It replaces Blender's scene in this
    process, so an engine that was opened before cannot be used afterwards.

    Args:
        scene: The scene of the spec.
        index: The sample's index.
        path: The file to write; should end in ``.blend``.

    Raises:
        EngineError: Blender cannot be loaded or failed to write.
        OSError: The folder cannot be written.

    """
    posed = scene.posed(index)
    rest = rest_body(scene.model, posed.recipe.shape)
    figure = figure_of(scene, posed, rest)
    place = place_of(scene, posed, rest)
    bpy = import_bpy(raster=False)
    with tempfile.TemporaryDirectory(prefix="synthgen-") as folder:
        whole = Path(folder) / "scene.blend"
        with _silence():
            try:
                _build(bpy, scene, posed, figure, place)
                bpy.ops.wm.save_as_mainfile(filepath=str(whole), compress=True, check_existing=False)
            except RuntimeError as error:
                raise EngineError(f"blend: Blender could not write {path}: {' '.join(str(error).split())}") from error
        with atomic_file(path) as file:
            file.write(whole.read_bytes())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress Blender's output: its library's on file descriptor 1, and its operators' through Python."""
    with tempfile.TemporaryFile() as log, stdout_to(log.fileno()), contextlib.redirect_stdout(io.StringIO()):
        yield


def _build(bpy: Any, scene: Scene, posed: PosedBody, figure: Figure, place: WorldPlacement) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    world = bpy.context.scene
    world.unit_settings.system = "METRIC"
    world.unit_settings.length_unit = "MILLIMETERS"
    world["synthgen"] = json.dumps({"spec": scene.spec.name, "side": scene.spec.side, **asdict(posed.recipe)})
    rig = _add_armature(bpy, figure, place)
    skin = _add_skin(bpy, figure, rig)
    size_mm = float(np.ptp(figure.template_mm, axis=0).max())
    _add_landmarks(bpy, skin, rig, landmark_table(scene.spec.landmarks, scene.model), size_mm)
    _add_camera(bpy, posed.camera, place)
    _add_lights(bpy, place)
    _set_render(world, posed.camera)
    _look_through_camera(bpy)


def _add_armature(bpy: Any, figure: Figure, place: WorldPlacement) -> Any:
    data = bpy.data.armatures.new("Rig")
    data.display_type = "STICK"
    rig = bpy.data.objects.new("Rig", data)
    rig.show_in_front = True
    rig.location = place.offset_mm * _M_PER_MM
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bones: list[Any] = []
    ends = zip(figure.heads_mm * _M_PER_MM, figure.tails_mm * _M_PER_MM, strict=True)
    for name, parent, (head, tail) in zip(figure.bones, figure.parents, ends, strict=True):
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = head, tail
        bone.parent = bones[parent] if parent >= 0 else None
        bones.append(bone)
    bpy.ops.object.mode_set(mode="OBJECT")
    for name, turn in zip(figure.bones, figure.turns, strict=True):
        _turn_bone(rig.pose.bones[name], turn)
    return rig


def _turn_bone(bone: Any, turn: Floats) -> None:
    """Pose a bone by a rotation in body axes, converted to the bone's rest axes."""
    axes = np.array(bone.bone.matrix_local.to_3x3(), dtype=np.float64)
    bone.rotation_mode = "QUATERNION"
    bone.rotation_quaternion = _quaternion(np.linalg.inv(axes) @ turn @ axes)


def _quaternion(turn: Floats) -> Floats:
    """Return the unit quaternion (w, x, y, z) of a rotation (3, 3)."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415  # only here

    return np.roll(Rotation.from_matrix(turn).as_quat(canonical=True), 1)


def _add_skin(bpy: Any, figure: Figure, rig: Any) -> Any:
    mesh = bpy.data.meshes.new("Skin")
    mesh.from_pydata((figure.template_mm * _M_PER_MM).tolist(), [], figure.triangles.tolist())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(figure.triangles), dtype=bool))
    mesh.materials.append(_skin_material(bpy))
    skin = bpy.data.objects.new("Skin", mesh)
    bpy.context.scene.collection.objects.link(skin)
    skin.parent = rig
    _add_shape_keys(skin, figure)
    weights = figure.weights.tocsc()
    for bone, name in enumerate(figure.bones):
        group = skin.vertex_groups.new(name=name)
        span = slice(weights.indptr[bone], weights.indptr[bone + 1])
        for vertex, weight in zip(weights.indices[span].tolist(), weights.data[span].tolist(), strict=True):
            if weight > _LEAST_WEIGHT:
                group.add([vertex], weight, "REPLACE")
    modifier = skin.modifiers.new("Rig", "ARMATURE")
    modifier.object = rig
    modifier.use_vertex_groups = True
    modifier.use_bone_envelopes = False
    modifier.use_deform_preserve_volume = False
    return skin


def _add_shape_keys(skin: Any, figure: Figure) -> None:
    skin.shape_key_add(name="Template", from_mix=False)
    for key in figure.keys:
        block = skin.shape_key_add(name=key.name, from_mix=False)
        points = (figure.template_mm + key.offsets_mm) * _M_PER_MM
        block.data.foreach_set("co", points.astype(np.float32).ravel())
        # Blender would clip a value outside the slider's range.
        end = max(1.0, abs(key.value))
        block.slider_min, block.slider_max = (0.0, end) if key.value > 0 else (-end, 0.0)
        block.value = key.value
    skin.active_shape_key_index = 0


def _skin_material(bpy: Any) -> Any:
    material = bpy.data.materials.new("Skin")
    material.diffuse_color = _SKIN
    material.roughness = 0.6
    if bpy.app.version < (5, 0):  # Later versions always have nodes and drop the switch.
        material.use_nodes = True
    for node in material.node_tree.nodes:
        if node.type == "BSDF_PRINCIPLED":
            node.inputs["Base Color"].default_value = _SKIN
            node.inputs["Roughness"].default_value = 0.6
    return material


def _add_landmarks(bpy: Any, skin: Any, rig: Any, table: LandmarkTable, size_mm: float) -> None:
    """Add an empty per landmark that follows its vertex or bones; its lower-case name clashes with no other object."""
    collection = bpy.data.collections.new("Landmarks")
    bpy.context.scene.collection.children.link(collection)
    n_vertices = len(skin.data.vertices)
    heads, shares = table.points.copy(), np.ones(len(table.points))
    heads[table.below], shares[table.below] = table.heads, table.shares[:, 0]
    places = (table.points.tolist(), heads.tolist(), shares.tolist())
    for name, point, head, share in zip(table.names, *places, strict=True):
        empty = bpy.data.objects.new(name, None)
        empty.empty_display_type = "SPHERE"
        empty.empty_display_size = size_mm * _M_PER_MM / 100
        empty.show_name = empty.show_in_front = True
        collection.objects.link(empty)
        if point < n_vertices:
            empty.parent, empty.parent_type = skin, "VERTEX"
            empty.parent_vertices = (point, 0, 0)
        if head >= n_vertices:
            constraint = empty.constraints.new("COPY_LOCATION")
            constraint.target, constraint.subtarget = rig, rig.data.bones[head - n_vertices].name
            constraint.influence = share


def _add_camera(bpy: Any, camera: Camera, place: WorldPlacement) -> None:
    data = bpy.data.cameras.new("Camera")
    data.sensor_fit = "HORIZONTAL"
    data.clip_start, data.clip_end = 1e-3, 1e3
    across_mm = camera.width * camera.mm_per_px[0]
    if camera.projection == "orthographic":
        data.type = "ORTHO"
        data.ortho_scale = across_mm * _M_PER_MM
    else:
        data.type = "PERSP"
        data.sensor_width = _SENSOR_MM
        data.lens = _SENSOR_MM * camera.distance_mm / across_mm
    seen = bpy.data.objects.new("Camera", data)
    _set_transform(seen, place.camera_axes, place.camera_mm)
    bpy.context.scene.collection.objects.link(seen)
    bpy.context.scene.camera = seen


def _add_lights(bpy: Any, place: WorldPlacement) -> None:
    """Add two sun lights beside the camera: a key light, and one that fills the shadows."""
    for name, strength, (x, y) in (("Sun", 3.0, (-0.6, 0.7)), ("Fill", 1.0, (0.8, -0.2))):
        data = bpy.data.lights.new(name, "SUN")
        data.energy = strength
        sun = bpy.data.objects.new(name, data)
        back = normalize(np.array([x, y, 1.0]))
        side = normalize(np.cross([0.0, 1, 0], back))
        local = np.stack([side, np.cross(back, side), back], axis=1)
        _set_transform(sun, place.camera_axes @ local, place.camera_mm)
        bpy.context.scene.collection.objects.link(sun)


def _set_transform(thing: Any, axes: Floats, position_mm: Floats) -> None:
    """Place an object by its axes (3, 3, columns) and its position in the world."""
    thing.rotation_mode = "QUATERNION"
    thing.rotation_quaternion = _quaternion(axes)
    thing.location = position_mm * _M_PER_MM


def _set_render(world: Any, camera: Camera) -> None:
    """Set up rendering (F12) with the sample's pixels: their size, their aspect, and rays through their centres."""
    render = world.render
    render.engine = "CYCLES"
    render.resolution_x, render.resolution_y = camera.width, camera.height
    render.resolution_percentage = 100
    wide, high = camera.mm_per_px
    render.pixel_aspect_x, render.pixel_aspect_y = max(1.0, wide / high), max(1.0, high / wide)
    render.film_transparent = True
    world.cycles.samples = 32
    world.cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    world.cycles.filter_width = 0.01


def _look_through_camera(bpy: Any) -> None:
    for screen in bpy.data.screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                area.spaces.active.region_3d.view_perspective = "CAMERA"
