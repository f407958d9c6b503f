"""The raster engine against exact arithmetic, against rays, and against Blender."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.laws import examples
from support.paths import ROOT

from synthgen.errors import EngineError
from synthgen.generator.engines.raster import RasterEngine, cut_near, rasterize
from synthgen.geometry import Camera

W, H = 12, 9
GRID = 2**16
HALF = Fraction(1, 2)

on_grid = st.integers(-4 * GRID, 16 * GRID).map(lambda n: n / GRID)
special = st.integers(-8, 32).map(lambda n: n / 2)  # pixel corners and centres
coordinate = st.one_of(on_grid, special)
corner = st.tuples(coordinate, coordinate)
depth = st.integers(1, 1000).map(float)
triangle = st.tuples(corner, corner, corner)


def draw(points, depths, triangles=None):
    px, z = np.array(points, dtype=np.float64).reshape(-1, 2), np.array(depths, dtype=np.float64)
    faces = np.arange(len(px), dtype=np.int32).reshape(-1, 3) if triangles is None else np.array(triangles, np.int32)
    return rasterize(px, z, faces.reshape(-1, 3), W, H)


def edge(a, b, p):
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def exact(points, depths):
    """Depth (H, W) of one triangle as rational numbers, None where it does not cover the centre."""
    a, b, c = ((Fraction(x), Fraction(y)) for x, y in points)
    z = [Fraction(d) for d in depths]
    area = edge(a, b, c)
    if area < 0:
        b, c, z, area = c, b, [z[0], z[2], z[1]], -area
    out = {}
    for row in range(H if area else 0):
        for column in range(W):
            p = (column + HALF, row + HALF)
            weights = []
            for u, v in ((b, c), (c, a), (a, b)):
                w, dx, dy = edge(u, v, p), v[0] - u[0], v[1] - u[1]
                owns = dy < 0 or (dy == 0 and dx > 0)
                if w < 0 or (w == 0 and not owns):
                    break
                weights.append(w)
            if len(weights) == 3:
                out[row, column] = sum(w * d for w, d in zip(weights, z, strict=True)) / area
    return out


@examples(100)
@given(triangle, st.tuples(depth, depth, depth))
def test_a_triangle_is_that_of_exact_arithmetic(points, depths):
    image, expected = draw(points, depths), exact(points, depths)

    assert {tuple(map(int, place)) for place in np.argwhere(np.isfinite(image))} == set(expected)
    for place, value in expected.items():
        assert image[place] == pytest.approx(float(value), abs=1e-9)


@examples(100)
@given(st.lists(st.tuples(triangle, st.tuples(depth, depth, depth)), min_size=2, max_size=5))
def test_the_nearest_of_many_triangles_is_rendered(many):
    image = draw([p for points, _ in many for p in points], [d for _, depths in many for d in depths])
    alone = np.min([draw(points, depths) for points, depths in many], axis=0)

    assert np.array_equal(image, alone)


@examples(150)
@given(triangle, st.tuples(depth, depth, depth), st.permutations(range(3)))
def test_the_order_of_the_corners_changes_no_pixel(points, depths, order):
    image = draw(points, depths)
    turned = draw([points[i] for i in order], [depths[i] for i in order])

    assert np.array_equal(np.isfinite(image), np.isfinite(turned))
    assert np.allclose(image, turned, rtol=1e-12)


@examples(150)
@given(st.lists(corner, min_size=4, max_size=4), corner)
def test_a_shared_edge_belongs_to_exactly_one_triangle(outline, middle):
    """Around a point inside a convex outline, each centre in the outline is covered once, and none outside of it."""
    hull = convex(outline)
    if len(hull) < 3 or not all(edge(a, b, middle) > 0 for a, b in pairs(hull)):
        return
    count = np.zeros((H, W), dtype=int)
    for a, b in pairs(hull):
        count += np.isfinite(draw([a, b, middle], [1.0, 1.0, 1.0]))
    fan = np.zeros((H, W), dtype=int)
    for n in range(2, len(hull)):
        fan += np.isfinite(draw([hull[0], hull[n - 1], hull[n]], [1.0, 1.0, 1.0]))

    assert count.max(initial=0) <= 1
    assert np.array_equal(count, fan)


def pairs(points):
    return list(zip(points, [*points[1:], points[0]], strict=True))


def convex(points):
    """Convex hull without collinear points, in the order in which edges have their inside at positive values."""
    points = sorted(set(points))
    halves = []
    for way in (points, points[::-1]):
        half = []
        for p in way:
            while len(half) > 1 and edge(half[-2], half[-1], p) <= 0:
                half.pop()
            half.append(p)
        halves.append(half[:-1])
    return [*halves[0], *halves[1]]


far = st.one_of(coordinate, st.floats(-1e7, 1e7), st.floats(-1e12, 1e12), st.sampled_from([6000.5, -6000.0, 6012.0]))


@examples(100)
@given(st.tuples(st.tuples(far, far), st.tuples(far, far), st.tuples(far, far)))
def test_huge_triangles_are_clipped_without_a_visible_difference(points):
    image = draw(points, (5.0, 5.0, 5.0))
    a, b, c = ((Fraction(x), Fraction(y)) for x, y in points)
    if edge(a, b, c) < 0:
        b, c = c, b
    for row in range(H):
        for column in range(W):
            p = (column + HALF, row + HALF)
            sides = []
            for u, v in ((b, c), (c, a), (a, b)):
                length = float(abs(v[0] - u[0]) + abs(v[1] - u[1]))
                sides.append(float(edge(u, v, p)) / length if length else 0.0)
            if min(sides) > 1e-2:
                assert image[row, column] == pytest.approx(5.0)
            elif min(sides) < -1e-2:
                assert image[row, column] == np.inf


def test_degenerate_triangles_cover_nothing():
    line, point = [(0.5, 0.5), (4.5, 4.5), (8.5, 8.5)], [(2.5, 2.5)] * 3

    assert np.isinf(draw([*line, *point], [1.0] * 6)).all()


def test_a_sliver_gives_no_depth_beyond_its_corners():
    image = draw([(0.0, 4.4999), (12.0, 4.5), (12.0, 4.50001)], [10.0, 20.0, 30.0])
    seen = image[np.isfinite(image)]

    assert ((seen >= 10) & (seen <= 30)).all()


def soup(rng, n):
    corners = rng.normal(0, 30, (n, 1, 3)) + rng.normal(0, 12, (n, 3, 3))
    corners[..., 2] += 20
    return corners.reshape(-1, 3).astype(np.float32), np.arange(3 * n, dtype=np.int32).reshape(-1, 3)


def cast(vertices, triangles, camera, near):
    """Depth (H, W) by rays (Moeller and Trumbore 1997), and how far each pixel is from any edge, in barycentrics."""
    image, doubt = np.full((camera.height, camera.width), np.inf), np.full((camera.height, camera.width), np.inf)
    for row in range(camera.height):
        for column in range(camera.width):
            x = (column + 0.5 - camera.width / 2) * camera.mm_per_px[0]
            y = (row + 0.5 - camera.height / 2) * camera.mm_per_px[1]
            ray = np.array([x / camera.distance_mm, y / camera.distance_mm, 1.0])
            for a, b, c in vertices[triangles].astype(np.float64):
                system = np.column_stack([b - a, c - a, -ray])
                if abs(np.linalg.det(system)) < 1e-9:
                    continue
                u, v, t = np.linalg.solve(system, -a)
                doubt[row, column] = min(doubt[row, column], abs(u), abs(v), abs(1 - u - v), abs(t - near) / 10)
                if u >= 0 and v >= 0 and u + v <= 1 and t >= near:
                    image[row, column] = min(image[row, column], t)
    return image, doubt


@pytest.mark.parametrize("seed", range(6))
def test_perspective_meshes_that_cross_the_camera_are_those_of_rays(seed):
    vertices, triangles = soup(np.random.default_rng(seed), 14)
    camera = Camera("perspective", W, H, (8.0, 8.0), 60.0)
    image = RasterEngine(triangles, len(vertices), W, H, "perspective").render(vertices, camera)
    expected, doubt = cast(vertices, triangles, camera, 1e-3)
    clear = doubt > 1e-3

    assert (vertices[:, 2] < 0).any()
    assert clear.mean() > 0.5
    assert np.isfinite(expected[clear]).any()
    assert np.allclose(image[clear], expected[clear], rtol=1e-4)


def test_cutting_leaves_what_is_in_front_alone():
    points = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, -1.0]])
    triangles = np.array([[0, 1, 2], [0, 1, 3], [3, 3, 3]], np.int32)

    kept, pieces = cut_near(points, triangles, 0.5)

    assert pieces[0].tolist() == [0, 1, 2]
    assert kept[pieces].reshape(-1, 3)[:, 2].min() == 0.5
    assert len(pieces) == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"width": 13}, "is not the engine's"),
        ({"projection": "perspective"}, "is not the engine's"),
    ],
)
def test_a_camera_of_another_size_is_refused(change, text):
    camera = {"projection": "orthographic", "width": W, "height": H, "mm_per_px": (1.0, 1.0), "distance_mm": 5.0}
    engine = RasterEngine(np.array([[0, 1, 2]]), 3, W, H, "orthographic")

    with pytest.raises(EngineError, match=text):
        engine.render(np.zeros((3, 3), np.float32), Camera(**(camera | change)))


def test_wrong_meshes_are_refused():
    camera = Camera("orthographic", W, H, (1.0, 1.0), 5.0)
    engine = RasterEngine(np.array([[0, 1, 2]]), 3, W, H, "orthographic")

    with pytest.raises(EngineError, match="outside 0 to 2"):
        RasterEngine(np.array([[0, 1, 3]]), 3, W, H, "orthographic")
    with pytest.raises(EngineError, match=r"must be \(3, 3\)"):
        engine.render(np.zeros((4, 3), np.float32), camera)
    with pytest.raises(EngineError, match="not finite"):
        engine.render(np.full((3, 3), np.nan, np.float32), camera)


@pytest.mark.bpy
@pytest.mark.slow
def test_raster_pixels_equal_blenders():
    """A few samples of each built-in spec; benchmarks/engines.py compares a thousand."""
    command = [sys.executable, "-m", "benchmarks.engines", "--hands", "40", "--bodies", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(": passed") == 4
