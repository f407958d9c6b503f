"""The Blender engine: depth images of one deforming mesh, rendered by Cycles as fast as Blender allows.

The scene is built once, and a frame replaces only the vertices, because any change of a setting makes Cycles rebuild
its session. So the Blender camera stays at the origin, with pixels as units, and each frame's camera is applied to the
vertices. Depth is rendered as the colour of an emissive material: in background mode Blender returns pixels only as a
file, and an image with a single layer is the fastest to write.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import EngineError
from synthgen.generator.engines.availability import no_blender
from synthgen.generator.engines.blender_process import (
    SCRATCH_PREFIX,
    remove_abandoned,
    scratch_folder,
    stdout_to,
)
from synthgen.generator.engines.exr import read_channels
from synthgen.geometry import Camera, Projection
from synthgen.interrupts import signals_deferred

NEAR_MM = 1e-3
FAR_MM = 1e6
OLDEST = (4, 5)

Vertices = NDArray[np.float32]
Triangles = NDArray[np.int32]


class BlenderEngine:
    """Renders one mesh whose vertices change from frame to frame.

    Blender has one scene per process, so the newest engine owns it and older ones raise an error. Not thread-safe.
    """

    name = "blender"

    def __init__(self, triangles: Triangles, n_vertices: int, width: int, height: int, projection: Projection) -> None:
        """Reset Blender and build the scene.

        Args:
            triangles: (T, 3) vertex indices.
            n_vertices: V, the number of vertices of every frame.
            width: Image width in pixels.
            height: Image height in pixels.
            projection: Projection of every frame.

        """
        triangles = np.asarray(triangles, dtype=np.int32)
        if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
            raise EngineError(f"engine: triangles must be (T, 3) with T > 0, got {triangles.shape}")
        if triangles.min() < 0 or triangles.max() >= n_vertices:
            raise EngineError(f"engine: a triangle has a vertex index outside 0 to {n_vertices - 1}")
        self._shape = (n_vertices, 3)
        self._width, self._height, self._projection = width, height, projection
        self._bpy = import_bpy()
        scratch = scratch_folder(64 * width * height)
        remove_abandoned(scratch)
        # Unnamed, so that nothing is left on disk if the process is killed.
        self._log = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115
        self._folder = tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=scratch)
        self._path = Path(self._folder.name) / "depth.exr"
        with stdout_to(self._log.fileno()):
            self._bpy.ops.wm.read_factory_settings(use_empty=True)
            scene = self._bpy.context.scene
            _set_cycles(scene)
            _set_output(scene, self._path, (width, height))
            _add_camera(self._bpy, scene, width, projection)
            self._mesh = _add_mesh(self._bpy, scene, triangles, n_vertices)

    def render(self, vertices: Vertices, camera: Camera) -> NDArray[np.float32]:
        """Return the depth (H, W), camera-frame z in mm at the pixel centres; +inf for the background.

        Args:
            vertices: (V, 3) mm, camera frame, all in front of the camera.
            camera: Size and projection must be the engine's; ``mm_per_px`` and ``distance_mm`` may vary.

        Raises:
            EngineError: The vertices or the camera do not fit this engine, or Blender failed.

        """
        self._check(vertices, camera)
        positions = _to_scene(vertices, camera)
        try:
            with signals_deferred(), stdout_to(self._log.fileno()):
                self._mesh.attributes["position"].data.foreach_set("vector", positions.ravel())
                self._mesh.update_tag()
                self._bpy.ops.render.render(write_still=True)
            raw = self._path.read_bytes()
            # Otherwise a frame that Blender failed to write could be mistaken for the previous one.
            self._path.unlink()
        except ReferenceError as error:
            raise EngineError(
                "engine: a newer engine uses Blender in this process; use one engine at a time"
            ) from error
        except (RuntimeError, OSError) as error:
            raise EngineError(f"engine: Blender could not render: {self._reason(str(error))}") from error
        depth, alpha = read_channels(raw, ("R", "A"))
        # The world is opaque, so only an unfinished frame (out of memory, for example) has transparent pixels.
        if depth.shape != (self._height, self._width) or not (alpha == 1).all():
            raise EngineError(f"engine: Blender did not finish the frame: {self._reason()}")
        return np.where(depth > 0, depth, np.float32(np.inf))

    def close(self) -> None:
        """Remove the temporary files; the engine cannot be used afterwards. May be called twice."""
        self._folder.cleanup()
        self._log.close()

    def _check(self, vertices: Vertices, camera: Camera) -> None:
        if self._log.closed:
            raise EngineError("engine: is closed; open a new one")
        mine = (self._projection, self._width, self._height)
        if (camera.projection, camera.width, camera.height) != mine:
            raise EngineError(f"camera: {camera.projection} {camera.width}x{camera.height} is not the engine's {mine}")
        if vertices.shape != self._shape:
            raise EngineError(f"engine: vertices must be {self._shape}, got {vertices.shape}")
        if not np.isfinite(vertices).all():
            raise EngineError("engine: a vertex is not finite")
        near, far = float(vertices[:, 2].min()), float(vertices[:, 2].max())
        if near <= NEAR_MM or far >= FAR_MM:
            raise EngineError(
                f"camera.distance_mm: puts the mesh at {near:g} to {far:g} mm, outside {NEAR_MM:g} to {FAR_MM:g}; "
                "change it so that the whole mesh is in front of the camera"
            )

    def _reason(self, error: str = "") -> str:
        """Return Blender's messages on one line: the exception and the last lines of its output."""
        self._log.seek(0)
        printed = self._log.read().decode(errors="replace").splitlines()
        lines = [line.strip() for line in [*error.splitlines(), *printed[-5:]]]
        return "; ".join(dict.fromkeys(line for line in lines if line)) or "no reason given"


def import_bpy(*, raster: bool = True) -> Any:
    """Load Blender into this process.

    Args:
        raster: Whether the error should suggest the raster engine.

    Raises:
        EngineError: Blender is missing, broken or too old.

    """
    if "bpy" not in sys.modules:
        # A parent process with Blender passes on its module path, and Blender's scripts contain another package `bpy`.
        sys.path[:] = [path for path in sys.path if not (Path(path) / "bpy" / "ops.py").is_file()]
    try:
        import bpy  # noqa: PLC0415
    except ImportError as error:
        raise no_blender(str(error), raster=raster) from error
    if bpy.app.version < OLDEST:
        raise EngineError(f"engine: bpy {bpy.app.version_string} is too old; install 4.5 LTS or 5.0")
    return bpy


def _to_scene(vertices: Vertices, camera: Camera) -> Vertices:
    """Convert camera-frame mm to scene units: x, y in pixels, depth in mm, Blender's axes (y up, z to the camera)."""
    # The perspective Blender camera has a focal length of ``width`` pixels: see _add_camera.
    focal = camera.distance_mm / camera.width if camera.projection == "perspective" else 1.0
    scale = np.array([focal / camera.mm_per_px[0], -focal / camera.mm_per_px[1], -1.0])
    scene: Vertices = (vertices * scale).astype(np.float32)
    return scene


def _set_cycles(scene: Any) -> None:
    """Set one ray through each pixel's centre, one thread, and persistent data."""
    scene.render.engine = "CYCLES"
    scene.render.use_persistent_data = True
    scene.render.threads_mode = "FIXED"
    scene.render.threads = 1
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = 1
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = False
    cycles.use_light_tree = False
    # BOX ignores the width, and its offset from the centre causes errors of centimetres at inner edges.
    cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    cycles.filter_width = 0.01
    for kind in ("max", "diffuse", "glossy", "transmission", "volume", "transparent_max"):
        setattr(cycles, f"{kind}_bounces", 0)


def _set_output(scene: Any, path: Path, size: tuple[int, int]) -> None:
    render = scene.render
    render.resolution_x, render.resolution_y = size
    render.resolution_percentage = 100
    render.filepath = str(path)
    render.use_file_extension = False
    render.use_compositing = False
    render.use_sequencer = False
    render.use_motion_blur = False
    render.dither_intensity = 0.0
    settings = render.image_settings
    if hasattr(settings, "media_type"):  # Since Blender 5.0.
        settings.media_type = "IMAGE"
    settings.file_format = "OPEN_EXR"
    settings.color_mode = "RGBA"
    settings.color_depth = "32"
    settings.exr_codec = "NONE"


def _add_camera(bpy: Any, scene: Any, width: int, projection: Projection) -> None:
    """Put a camera at the origin whose view is ``width`` units wide: at any depth, or in perspective at that depth."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit = "HORIZONTAL"
    data.clip_start, data.clip_end = NEAR_MM / 2, FAR_MM * 2
    if projection == "orthographic":
        data.type = "ORTHO"
        data.ortho_scale = width
    else:
        data.type = "PERSP"
        data.lens = data.sensor_width = 32.0
    scene.camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(scene.camera)


def _add_mesh(bpy: Any, scene: Any, triangles: Triangles, n_vertices: int) -> Any:
    mesh = bpy.data.meshes.new("body")
    mesh.vertices.add(n_vertices)
    mesh.loops.add(triangles.size)
    mesh.polygons.add(len(triangles))
    mesh.loops.foreach_set("vertex_index", triangles.ravel())
    mesh.polygons.foreach_set("loop_start", np.arange(0, triangles.size, 3, dtype=np.int32))
    # Flat shading needs no vertex normals.
    mesh.polygons.foreach_set("use_smooth", np.zeros(len(triangles), dtype=bool))
    mesh.use_auto_texspace = False
    mesh.update(calc_edges=True)
    mesh.materials.append(_depth_material(bpy))
    scene.collection.objects.link(bpy.data.objects.new("body", mesh))
    return mesh


def _depth_material(bpy: Any) -> Any:
    """Make a two-sided emissive material whose brightness is its depth."""
    material = bpy.data.materials.new("depth")
    if bpy.app.version < (5, 0):  # Later versions always have nodes and drop the switch.
        material.use_nodes = True
    # Otherwise every triangle becomes a light source, and a frame takes four to eight times as long.
    material.cycles.emission_sampling = "NONE"
    tree = material.node_tree
    tree.nodes.clear()
    view = tree.nodes.new("ShaderNodeCameraData")
    emission = tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(view.outputs["View Z Depth"], emission.inputs["Color"])
    tree.links.new(emission.outputs["Emission"], output.inputs["Surface"])
    return material
