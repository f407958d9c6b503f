"""The Blender engine against an independent z-buffer, and its side effects on the process."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from support.meshes import icosphere, z_buffer

from synthgen.errors import EngineError
from synthgen.generator.engines.blender import BlenderEngine
from synthgen.geometry import Camera, unproject

pytestmark = pytest.mark.bpy

CAMERAS = [
    Camera("orthographic", 64, 48, (2.5, 2.5), 1000.0),
    Camera("orthographic", 40, 72, (4.0, 1.9), 800.0),
    Camera("perspective", 64, 48, (2.5, 2.5), 500.0),
    Camera("perspective", 40, 72, (4.0, 1.9), 300.0),
]


def overlapping(rng, distance_mm):
    """Two noisy spheres with triangles of either orientation that go through each other, in the camera frame."""
    sphere, triangles = icosphere(2)
    parts = [
        sphere * rng.uniform(20, 60, 3) * rng.normal(1, 0.05, (len(sphere), 1)) + rng.uniform(-20, 20, 3)
        for _ in range(2)
    ]
    vertices = np.concatenate(parts) + np.array([0, 0, distance_mm])
    return vertices.astype(np.float32), np.concatenate([triangles, triangles[:, ::-1] + len(sphere)])


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: f"{c.projection}-{c.width}x{c.height}")
def test_depth_agrees_with_an_independent_z_buffer(camera):
    rng = np.random.default_rng(7)
    wrong = pixels = 0
    engine = None
    for _ in range(4):
        vertices, triangles = overlapping(rng, camera.distance_mm)
        engine = engine or BlenderEngine(triangles, len(vertices), camera.width, camera.height, camera.projection)
        depth = engine.render(vertices, camera)
        assert depth.dtype == np.float32
        exact = z_buffer(vertices, triangles, camera)
        both = np.isfinite(depth) & np.isfinite(exact)
        assert both.sum() > 200
        # A centre within 0.002 px of an edge may be seen on either side of it; nothing else may differ.
        around = np.stack([z_buffer(vertices, triangles, camera, (x, y)) for x in (-2e-3, 2e-3) for y in (-2e-3, 2e-3)])
        assert (depth >= np.minimum(around.min(0), exact) - 0.02).all()
        assert ((depth <= np.maximum(around.max(0), exact) + 0.02) | (depth == exact)).all()
        wrong += (np.isfinite(depth) != np.isfinite(exact)).sum() + (np.abs(depth[both] - exact[both]) > 0.002).sum()
        pixels += depth.size
    engine.close()
    assert wrong <= pixels * 1e-4


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: f"{c.projection}-{c.width}x{c.height}")
def test_steep_plane_is_sampled_at_the_pixel_centre(camera):
    engine = BlenderEngine(np.array([[0, 1, 2], [0, 2, 3]]), 4, camera.width, camera.height, camera.projection)
    xy = np.array([[-40, -40], [40, -40], [40, 40], [-40, 40]], dtype=np.float64)
    slope = np.array([3.0, -2.0])
    depth = engine.render(np.column_stack([xy, camera.distance_mm + xy @ slope]).astype(np.float32), camera)
    engine.close()
    rows, columns = np.nonzero(np.isfinite(depth))
    points = unproject(camera, np.column_stack([columns + 0.5, rows + 0.5]), depth[rows, columns].astype(np.float64))
    assert len(rows) > 100
    np.testing.assert_allclose(points[:, 2], camera.distance_mm + points[:, :2] @ slope, atol=5e-3)


def test_frames_are_bytes_that_depend_on_nothing_but_their_vertices_and_camera():
    rng = np.random.default_rng(3)
    bodies = [overlapping(rng, 1000.0) for _ in range(4)]
    cameras = [Camera("orthographic", 48, 40, (2 + k, 3.0), 1000.0) for k in range(4)]
    jobs = [(vertices, camera) for (vertices, _), camera in zip(bodies, cameras, strict=True)]
    runs = []
    for order in ([0, 1, 2, 3], [3, 1, 1, 0, 2], [2, 3, 0, 1]):
        engine = BlenderEngine(bodies[0][1], len(bodies[0][0]), 48, 40, "orthographic")
        frames = {k: engine.render(*jobs[k]).tobytes() for k in order}
        engine.close()
        runs.append([frames[k] for k in range(4)])
    assert runs[0] == runs[1] == runs[2]
    assert len(set(runs[0])) == 4


def test_vertices_are_left_alone_and_an_empty_view_is_all_background():
    vertices, triangles = overlapping(np.random.default_rng(1), 1000.0)
    vertices[:, 0] += 10_000
    before = vertices.copy()
    engine = BlenderEngine(triangles, len(vertices), 32, 32, "orthographic")
    depth = engine.render(vertices, Camera("orthographic", 32, 32, (3.0, 3.0), 1000.0))
    engine.close()
    assert np.isposinf(depth).all()
    np.testing.assert_array_equal(vertices, before)


@pytest.fixture
def square():
    vertices = np.array([[-50, -50, 900], [50, -50, 900], [50, 50, 900], [-50, 50, 900]], dtype=np.float32)
    engine = BlenderEngine(np.array([[0, 1, 2], [0, 2, 3]]), 4, 24, 16, "orthographic")
    yield engine, vertices, Camera("orthographic", 24, 16, (2.0, 2.0), 1000.0)
    engine.close()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda v: v[:3], r"must be \(4, 3\)"),
        (lambda v: v * np.float32(np.nan), "not finite"),
        (lambda v: v - np.float32([0, 0, 950]), "in front of the camera"),
    ],
)
def test_vertices_that_cannot_be_rendered_are_refused(square, spoil, text):
    engine, vertices, camera = square
    with pytest.raises(EngineError, match=text):
        engine.render(spoil(vertices), camera)
    assert np.isfinite(engine.render(vertices, camera)).all()


def test_other_mistakes_are_refused(square):
    engine, vertices, camera = square
    with pytest.raises(EngineError, match="64x48"):
        engine.render(vertices, CAMERAS[0])
    with pytest.raises(EngineError, match="outside 0 to 2"):
        BlenderEngine(np.array([[0, 1, 3]]), 3, 24, 16, "orthographic")
    newer = BlenderEngine(np.array([[0, 1, 2], [0, 2, 3]]), 4, 24, 16, "orthographic")
    with pytest.raises(EngineError, match="newer engine"):
        engine.render(vertices, camera)
    newer.close()
    newer.close()
    with pytest.raises(EngineError, match="closed"):
        newer.render(vertices, camera)


def test_failed_frame_is_an_error_of_one_line_and_never_the_previous_frame(square):
    engine, vertices, camera = square
    engine.render(vertices, camera)
    engine._path.mkdir()  # where Blender cannot write its image
    with pytest.raises(EngineError, match="could not render") as caught:
        engine.render(vertices, camera)
    assert "\n" not in str(caught.value)
    engine._path.rmdir()
    assert np.isfinite(engine.render(vertices, camera)).all()


def test_unfinished_frame_is_an_error(square):
    engine, vertices, camera = square
    # The holes of an unfinished frame, made with a world that lets the light through.
    engine._bpy.context.scene.render.film_transparent = True
    with pytest.raises(EngineError, match="did not finish"):
        engine.render(vertices * np.float32([0.1, 0.1, 1]), camera)


def test_blender_prints_nothing_and_leaves_no_file(square, capfd):
    engine, vertices, camera = square
    os.write(1, b"before\n")
    for _ in range(3):
        engine.render(vertices, camera)
    folder = engine._path.parent
    assert not any(folder.iterdir())
    engine.close()
    assert not folder.exists()
    assert capfd.readouterr() == ("before\n", "")


def test_interrupt_during_a_frame_is_raised_after_it(square, monkeypatch):
    engine, vertices, camera = square

    class Interrupting:
        def __getattr__(self, name):
            os.kill(os.getpid(), signal.SIGINT)
            return getattr(mesh, name)

    mesh = engine._mesh
    monkeypatch.setattr(engine, "_mesh", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        engine.render(vertices, camera)
    monkeypatch.undo()
    assert engine._path.exists()  # the frame was finished first
    assert np.isfinite(engine.render(vertices, camera)).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | environment,
    )


RENDER = """
import sys, threading
import numpy as np
from synthgen.generator.engines.blender import BlenderEngine
from synthgen.generator.engines.blender_process import exit_process, pin_to_core
from synthgen.geometry import Camera

def work():
    pin_to_core(5)
    engine = BlenderEngine(np.array([[0, 1, 2]]), 3, 24, 16, "orthographic")
    vertices = np.array([[-8.75, -9, 90], [9.25, -9, 90], [9.25, 9, 90]], dtype=np.float32)
    print(np.isfinite(engine.render(vertices, Camera("orthographic", 24, 16, (1.0, 1.0), 100.0))).sum())
    engine.close()
"""


def test_engine_works_in_a_thread_and_exit_process_keeps_the_status():
    child = run(RENDER + "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\nexit_process(7)\n")
    assert (child.returncode, child.stdout, child.stderr) == (7, "136\n", "")


def test_import_loads_no_blender_and_a_missing_one_is_an_engine_error():
    child = run(
        RENDER
        + """
assert "bpy" not in sys.modules
sys.modules["bpy"] = None
try:
    work()
except Exception as error:
    print(type(error).__name__, error)
"""
    )
    assert child.stdout.startswith("EngineError engine: Blender's Python module cannot be loaded"), child.stderr
    assert 'pip install "synthgen[blender]"' in child.stdout


def test_memory_is_flat(square):
    psutil = pytest.importorskip("psutil")
    engine, vertices, camera = square
    for _ in range(50):
        engine.render(vertices, camera)
    before = psutil.Process().memory_info().rss
    for _ in range(500):
        engine.render(vertices, camera)
    assert psutil.Process().memory_info().rss - before < 2 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let a process choose its core")
def test_each_worker_is_pinned_to_another_core_until_none_is_free(tmp_path):
    code = """
import os, threading
from synthgen.generator.engines.blender_process import pin_to_core

def work():
    core = pin_to_core(1)
    both = [os.sched_getaffinity(thread) for thread in (0, os.getpid())]
    taken.append((core, core is None or both == [{core}, {core}]))

taken, free = [], sorted(os.sched_getaffinity(0))
for _ in range(len(free) + 1):
    os.sched_setaffinity(os.getpid(), free)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
order = free[1 % len(free):] + free[:1 % len(free)]
assert taken == [(core, True) for core in [*order, None]], taken
"""
    for _ in range(2):  # the first process gives its cores back
        child = run(code, TMPDIR=str(tmp_path))
        assert child.returncode == 0, child.stderr
