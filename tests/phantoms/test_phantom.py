"""Voxelized meshes and phantom scans, against winding numbers, other programs' readers, and an independent z-buffer."""

import csv
import functools
import hashlib
import itertools
import json

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from support.meshes import icosphere, z_buffer
from support.scan_phantoms import dice

from synthgen.errors import DatasetError, SynthgenError
from synthgen.generator.phantoms.folder import make_phantoms, markups
from synthgen.generator.phantoms.modality import AIR_HU, Subject, draw_table
from synthgen.generator.phantoms.nifti_writer import stored_as, write_nifti
from synthgen.generator.phantoms.phantom import PhantomOptions, as_scanned, make_phantom, phantom_scene, view_turn
from synthgen.generator.phantoms.tissue import Joints, Material, Solid, paint
from synthgen.generator.phantoms.voxelize import UNITS_PER_MM, Grid, coarser, coverage, covering
from synthgen.geometry import Camera
from synthgen.specs.files import load_spec
from synthgen.specs.spec import Spec, resolve

FLIPS = list(itertools.product((False, True), repeat=3))
HU_THRESHOLD = -400
BODY = 2
"""Index of a small body."""
STEP = st.floats(0.8, 4)


def sphere(subdivisions=4, radius=20.0, centre=(0, 0, 0)):
    """Points on the grid of posed vertices, and triangles that all face outward."""
    points, triangles = icosphere(subdivisions)
    a, b, c = points[triangles].transpose(1, 0, 2)
    inward = np.einsum("ij,ij->i", a, np.cross(b - a, c - a)) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return np.round((points * radius + centre) * 1024) / 1024, triangles


def enclosed_mm3(points, triangles):
    a, b, c = points[triangles].transpose(1, 0, 2)
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6


def around(points, spacing, margin=2.0):
    return covering(points.min(axis=0) - margin, points.max(axis=0) + margin, spacing)


def winding(points, triangles, places):
    """How often a mesh winds around places (N, 3), by the solid angles of its triangles (van Oosterom, Strackee)."""
    a, b, c = (points[triangles[:, k]][:, None] - places for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    numerator = np.einsum("tni,tni->tn", a, np.cross(b, c))
    denominator = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.rint(np.arctan2(numerator, denominator).sum(axis=0) / (2 * np.pi)).astype(int)


# Voxels of meshes


@pytest.mark.slow
@given(st.tuples(STEP, STEP, STEP), st.tuples(*[st.floats(-2, 2)] * 3))
def test_voxels_hold_the_volume_of_a_closed_mesh(spacing, centre):
    points, triangles = sphere(3, centre=centre)
    cover = coverage(points, triangles, around(points, spacing))
    assert cover.sum() * np.prod(spacing) == pytest.approx(enclosed_mm3(points, triangles), rel=0.01)
    assert cover.min() >= 0
    assert cover.max() <= 1


@pytest.mark.slow
def test_a_body_has_its_volume(paper_body):
    scene, _ = paper_body
    points = scene.posed(BODY).points_mm[: scene.model.n_vertices]
    grid = around(points, (4.0, 4.0, 4.0))
    litres = sum(coverage(points, scene.triangles, grid.rows(*slab)).sum(dtype=float) for slab in grid.slabs()) * 64e-6
    assert litres == pytest.approx(enclosed_mm3(points, scene.triangles) / 1e6, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("mirror", [1, -1])
def test_inside_is_where_the_mesh_winds_around(mirror):
    """Two bumpy spheres through each other, with corners and edges right on the rays."""
    rng = np.random.default_rng(2)
    ball, triangles = sphere(2, 1.0)
    parts = [np.round(ball * rng.uniform(6, 9, (len(ball), 1)) + shift) for shift in ((0, 0, 0), (5, 3, 2))]
    points = np.concatenate(parts) * [mirror, 1, 1]
    triangles = np.concatenate([triangles, triangles + len(ball)])
    grid = Grid((-20.5, -14.5, -13.0), (1.0, 1.0, 0.125), (41, 32, 240))  # rays at whole mm, as all points
    inside = coverage(points, triangles, grid, samples=1)
    x, y, z = np.meshgrid(*(grid.centres(axis) for axis in (1, 2, 0)), indexing="ij")
    sure = ((inside == 0) | (inside == 1)) & (rng.uniform(size=inside.shape) < 0.01)
    # A little off the ray, where winding numbers are defined: the rays count corners as if moved so.
    places = np.stack([z, x, y], axis=-1)[sure] - [1e-6, 1e-12, 0]
    around_them = np.abs(winding(points, triangles, places))
    assert set(around_them) == {0, 1, 2}
    np.testing.assert_array_equal(inside[sure] > 0, around_them > 0)


def test_neighbouring_meshes_share_no_ray_and_lose_none():
    """Boxes side by side whose common walls lie on rays: every voxel belongs to one of them."""
    corners = np.array(list(itertools.product((0, 1), repeat=3)), dtype=float)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))], dtype=np.int32)
    grid = Grid((-0.5, -0.5, 0.0), (1.0, 1.0, 1.0), (9, 9, 4))
    boxes = [
        coverage(4 * (corners + np.array([i, j, 0])), triangles, grid, samples=1)
        for i, j in itertools.product((0, 1), repeat=2)
    ]
    total = sum(boxes)
    assert {float(box.sum()) for box in boxes} == {64.0}
    assert set(np.unique(total)) == {0.0, 1.0}
    assert total.sum() == 256


def test_partial_volume_is_the_part_inside():
    corners = np.array(list(itertools.product((1.25, 4.75), (1.5, 3.5), (0.375, 2.625))))
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))], dtype=np.int32)
    cover = coverage(corners, triangles, Grid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (6, 5, 3)), samples=4)
    x, y, z = [0, 0.75, 1, 1, 0.75, 0], [0, 0.5, 1, 0.5, 0], [0.625, 1, 0.625]
    np.testing.assert_allclose(cover, np.einsum("r,d,c->rdc", y, z, x), atol=1e-6)


def test_slabs_are_the_whole_and_coarser_grids_end_where_the_finer_end():
    points, triangles = sphere(2, 30.0)
    grid = around(points, (0.7, 0.5, 0.3))
    whole = coverage(points, triangles, grid)
    assert len(grid.slabs()) > 1
    parts = [coverage(points, triangles, grid.rows(*slab)) for slab in grid.slabs()]
    # A ray's place is rounded to a whole unit, so the slab's own origin may move it by one.
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=20 / UNITS_PER_MM)
    rough = coarser(grid, 4.0)
    for axis in range(3):
        end = [g.origin_mm[axis] + g.size[axis] * g.spacing_mm[axis] for g in (grid, rough)]
        assert end[0] == pytest.approx(end[1])
        assert grid.origin_mm[axis] - 4 < rough.origin_mm[axis] <= grid.origin_mm[axis]


@pytest.mark.parametrize("cylinder", [False, True])
def test_solids_have_their_size_and_a_rind(cylinder):
    grid = Grid((-20.0, -20.0, -20.0), (0.5, 0.5, 0.5), (80, 80, 80))
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    solid = Solid(np.zeros(3), axes, np.array([6.0, 6.0, 15.0]), Material(15, 20, 0.5, 2.0), cylinder=cylinder)
    values, skin = np.zeros(grid.shape, dtype=np.float32), np.full(grid.shape, 9, dtype=np.float32)
    skin[:, :, :30] = 2
    paint(values, skin, grid, [solid])
    assert (values[:, :, :30] == 0).all()
    values[:], skin[:] = 0, 9
    paint(values, skin, grid, [solid])
    assert values[40, 40, 40] == 15
    volume = np.pi * 36 * (2 * 15 * 0.95 if cylinder else 4 / 3 * 15)
    assert (values > 10).sum() / 8 == pytest.approx(volume, rel=0.05)
    assert (values > 18).any()


# Files


def a_volume(seed=0, shape=(5, 4, 3)):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rotation * (0.7, 1.3, 2.9), (-31.5, 12.25, 400.75)
    return rng.integers(-1024, 3000, shape).astype(np.int16), affine


def test_the_48_orders_are_different_and_have_every_voxel_where_it_was():
    voxels, affine = a_volume()
    index = np.array(list(np.ndindex(voxels.shape)))
    known = {tuple(np.round(affine[:3, :3] @ i + affine[:3, 3], 6)): voxels[tuple(i)] for i in index}
    shapes = set()
    for order, flips in itertools.product(itertools.permutations(range(3)), FLIPS):
        other, moved = stored_as(voxels, affine, order, flips)
        shapes.add((other.shape, other.tobytes()))
        there = np.array(list(np.ndindex(other.shape)))
        assert {tuple(np.round(moved[:3, :3] @ i + moved[:3, 3], 6)): other[tuple(i)] for i in there} == known
    assert len(shapes) == 48


@pytest.mark.parametrize("seed", range(6))
def test_other_programs_read_what_is_written(tmp_path, seed):
    voxels, affine = a_volume(seed)
    voxels, affine = stored_as(voxels, affine, (2, 0, 1), FLIPS[seed])
    write_nifti(tmp_path / "a.nii.gz", voxels, affine)
    loaded = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(loaded.dataobj), voxels)
    lps = np.diag([-1, -1, 1, 1]) @ affine
    for found in (loaded.affine, loaded.get_qform()):
        np.testing.assert_allclose(found, lps, atol=1e-4)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, voxels)
    for place in ((0, 0, 0), (2, 4, 3), (1, 0, 2)):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(place), (affine @ [*place, 1])[:3], atol=1e-4)


def test_a_file_is_the_same_bytes_under_any_name(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", *a_volume())
    write_nifti(tmp_path / "other.nii.gz", *a_volume())
    data = (tmp_path / "a.nii.gz").read_bytes()

    assert data == (tmp_path / "other.nii.gz").read_bytes()
    assert data[3:8] == bytes(5)  # gzip's flags, no name among them, and its time


def test_markups_are_read_back():
    points = {"thumb": np.array([1.25, -2.5, -0.0]), "index": np.array([1e-9, 5e3, 1 / 3])}
    (node,) = json.loads(markups(points))["markups"]
    assert (node["type"], node["coordinateSystem"], node["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    found = {point["label"]: point["position"] for point in node["controlPoints"]}
    assert found == {"thumb": [1.25, -2.5, 0.0], "index": [0.0, 5000.0, 0.333333]}


# Phantoms


def changed(name, **changes):
    spec = load_spec(name)
    return resolve(Spec.model_validate({**spec.model_dump(), **changes}))


@pytest.fixture(scope="module")
def paper_body():
    """A scene and a phantom at 1.5 mm."""
    scene = phantom_scene(load_spec("paper_body"))
    return scene, make_phantom(scene, BODY)


@pytest.fixture(scope="module")
def hands():
    """Scenes and phantoms of both sides, at the voxels of each."""
    scenes = {side: phantom_scene(changed("hand", side=side)) for side in ("left", "right")}
    return [
        (scenes[side], index, make_phantom(scenes[side], index, PhantomOptions(spacing_mm=spacing)))
        for side, index, spacing in (
            ("left", 0, None), ("left", 5, (1.0, 1.5, 0.8)), ("right", 1, (1.0, 1.0, 2.0)),
        )
    ]  # fmt: skip


def seen(phantom):
    """Voxels [row, column, depth] as the viewer sees them, and the affine from (column, row, depth) to LPS."""
    wanted = view_turn(phantom.up, phantom.viewed_from)
    likeness = wanted.T @ (phantom.affine[:3, :3] / np.linalg.norm(phantom.affine[:3, :3], axis=0))
    order = np.abs(likeness).argmax(axis=1)
    flips = likeness[range(3), order] < 0
    voxels, affine = stored_as(phantom.voxels, phantom.affine, tuple(order), tuple(flips))
    return voxels.transpose(1, 0, 2), affine


def threshold_of(phantom):
    """Between air and tissue: fixed for HU; for MR halfway between the means of what lies on its either side."""
    if not phantom.side:
        return HU_THRESHOLD
    count = np.bincount(phantom.voxels.ravel())
    values, value = np.arange(len(count)), 100
    for _ in range(50):
        low, high = np.average(values[:value], weights=count[:value]), np.average(values[value:], weights=count[value:])
        value = round((low + high) / 2)
    return value


def to_camera(phantom, body, names):
    """The function from LPS to the camera of a posed body, found by the landmarks alone (Kabsch)."""
    own = [names.index(name) for name in phantom.landmarks_mm]
    lps, camera = np.array(list(phantom.landmarks_mm.values())), body.labels.landmarks_mm[own]
    u, _, vt = np.linalg.svd((lps - lps.mean(axis=0)).T @ (camera - camera.mean(axis=0)))
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    np.testing.assert_allclose((lps - lps.mean(axis=0)) @ turn, camera - camera.mean(axis=0), atol=0.01)
    return lambda points: (points - lps.mean(axis=0)) @ turn + camera.mean(axis=0)


def projected(scene, index, phantom):
    """Silhouette (H, W) and depth of the first tissue in the patch of the index's truth, and the truth's depth.

    What lies behind the back of a body, its table, is left out by the posed body's own depth.
    """
    truth, names = as_scanned(scene, index), scene.spec.landmarks.names
    vertices = truth.points_mm[: scene.model.n_vertices]
    voxels, affine = seen(phantom)
    camera = to_camera(phantom, truth, names)
    place = camera(affine[:3, 3])
    steps = camera(affine[:3, 3] + affine[:3, :3].T) - place
    spacing = np.diag(steps)
    np.testing.assert_allclose(steps, np.diag(spacing), atol=2e-3)  # the view's axes are the camera's
    deep = place[2] + np.arange(voxels.shape[2]) * spacing[2] < vertices[:, 2].max()
    tissue = voxels[:, :, deep] > threshold_of(phantom)
    mask = tissue.any(axis=2)
    components, _ = ndimage.label(mask, np.ones((3, 3)))
    mask = components == np.bincount(components.ravel())[1:].argmax() + 1
    first = place[2] + tissue.argmax(axis=2) * spacing[2]
    size = truth.camera
    x = (np.arange(size.width) + 0.5 - size.width / 2) * size.mm_per_px[0]
    y = (np.arange(size.height) + 0.5 - size.height / 2) * size.mm_per_px[1]
    rows, columns = np.meshgrid((y - place[1]) / spacing[1], (x - place[0]) / spacing[0], indexing="ij")
    part = ndimage.map_coordinates(mask.astype(float), [rows, columns], order=1, mode="nearest")
    inside = (part >= 0.5) & (rows <= len(voxels) - 0.5)
    nearest = ndimage.map_coordinates(first, [rows, columns], order=0, mode="nearest")
    return inside, nearest, rendered(scene, index)


@functools.cache
def rendered(scene, index):
    truth = as_scanned(scene, index)
    return z_buffer(truth.points_mm[: scene.model.n_vertices], scene.triangles, truth.camera)


def check_against_the_rendering(scene, index, phantom, least):
    mask, depth, exact = projected(scene, index, phantom)
    truth = np.isfinite(exact)
    assert dice(mask, truth) >= least
    assert mask.sum() == pytest.approx(truth.sum(), rel=1 - least)
    inner = ndimage.binary_erosion(mask & truth, iterations=2)
    assert inner.sum() > 200
    step = np.linalg.norm(seen(phantom)[1][:3, 2])
    assert np.median(np.abs(depth - exact)[inner]) < 0.75 * step
    assert np.mean(np.abs(depth - exact)[inner] < 2 * step + 1) > 0.95


@pytest.mark.slow
def test_a_body_agrees_with_its_rendering(paper_body):
    scene, phantom = paper_body
    np.testing.assert_allclose(np.linalg.norm(phantom.affine[:3, :3], axis=0), 1.5)
    check_against_the_rendering(scene, BODY, phantom, 0.98)


@pytest.mark.slow
def test_a_body_of_large_voxels_agrees_with_its_rendering(paper_body):
    scene, _ = paper_body
    check_against_the_rendering(scene, BODY, make_phantom(scene, BODY, PhantomOptions((4.0, 4.0, 4.0))), 0.95)


@pytest.mark.slow
def test_hands_agree_with_their_rendering(hands):
    for scene, index, phantom in hands:
        check_against_the_rendering(scene, index, phantom, 0.98)


@pytest.mark.slow
def test_hands_of_large_voxels_agree_with_their_rendering(hands):
    for scene, index, _ in hands:
        check_against_the_rendering(scene, index, make_phantom(scene, index, PhantomOptions((4.0, 4.0, 4.0))), 0.95)


@pytest.mark.slow
def test_landmarks_are_within_a_voxel_of_the_tissue(paper_body, hands):
    for scene, phantom in [paper_body, *((scene, phantom) for scene, _, phantom in hands)]:
        assert tuple(phantom.landmarks_mm) == scene.spec.landmarks.names
        threshold = threshold_of(phantom)
        for place in phantom.landmarks_mm.values():
            index = np.rint(np.linalg.solve(phantom.affine[:3, :3], place - phantom.affine[:3, 3])).astype(int)
            assert phantom.voxels[tuple(slice(i - 1, i + 2) for i in index)].max() > threshold


def test_joints_below_the_cut_are_missing():
    spec = changed("hand", landmarks="hand_joints", framing={**resolved_framing(), "forearm_mm": 0})
    phantom = make_phantom(phantom_scene(spec), 0, PhantomOptions((2.0, 2.0, 2.0)))
    assert "wrist" not in phantom.landmarks_mm
    assert len(phantom.landmarks_mm) == 20


def resolved_framing():
    return phantom_scene(load_spec("hand")).spec.framing.model_dump()


@pytest.mark.slow
def test_sides_and_directions_are_the_patients(paper_body, hands):
    _, body = paper_body
    assert (body.up, body.viewed_from, body.side) == ("S", "A", "")
    np.testing.assert_allclose(body.affine[:3, :3], 1.5 * np.eye(3))  # stored in the order of LPS, as CT is
    points = body.landmarks_mm
    assert points["left_knee"][0] > points["right_knee"][0]
    assert points["head_top"][2] > points["left_knee"][2] > points["left_big_toe"][2]
    ways = set()
    for _, _, phantom in hands:
        right, down, _ = view_turn(phantom.up, phantom.viewed_from).T
        points, sign = phantom.landmarks_mm, 1 if phantom.side == "left" else -1
        assert sign * (points["thumb"] - points["little"]) @ right > 20
        assert (points["middle"] - points["thumb"]) @ down < -20
        ways.add((phantom.up, phantom.viewed_from))
    assert len(ways) > 1


@pytest.mark.slow
def test_hands_have_three_orientations_and_the_requested_obliqueness(hands):
    scene, lateral = hands[0][0], None
    angles, ways = [], set()
    for index in range(10):
        phantom = make_phantom(scene, index, PhantomOptions((6.0, 6.0, 6.0), oblique_deg=40))
        turn = phantom.affine[:3, :3] / 6 @ view_turn(phantom.up, phantom.viewed_from).T
        angles.append(np.degrees(np.arccos((np.trace(turn) - 1) / 2)))
        ways.add((phantom.up, phantom.viewed_from))
        lateral = index if phantom.viewed_from == "L" else lateral
    assert 20 < max(angles) <= 40
    assert ways == {("S", "P"), ("I", "A"), ("I", "L")}

    other = make_phantom(hands[-1][0], lateral, PhantomOptions((6.0, 6.0, 6.0), oblique_deg=0))
    assert (other.side, other.up, other.viewed_from) == ("right", "I", "R")  # the palm faces the thigh
    np.testing.assert_allclose(other.affine[:3, :3], 6 * view_turn("I", "R"), atol=1e-6)


@pytest.mark.slow
def test_the_forearm_leaves_a_hands_volume_and_nothing_else_does(hands):
    for _, _, phantom in hands:
        voxels, _ = seen(phantom)
        tissue = ndimage.binary_opening(voxels > threshold_of(phantom), np.ones((2, 2, 2)))
        assert tissue[-1].sum() > 200
        faces = (tissue[0], tissue[:, 0], tissue[:, -1], tissue[:, :, 0], tissue[:, :, -1])
        assert not any(face.any() for face in faces)


@pytest.mark.slow
def test_two_plates_of_a_table_lie_behind_the_back(paper_body):
    scene, phantom = paper_body
    posed, n = scene.posed(BODY), scene.model.n_vertices
    table = draw_table(Subject(posed.points_mm[:n], scene.triangles, Joints(scene.model, posed.points_mm), 0, BODY))
    voxels, _ = seen(phantom)
    corner = voxels[:12, voxels.shape[1] // 2].mean(axis=0)  # above the head
    plates, count = ndimage.label(corner > AIR_HU + 150)
    assert count == 2
    for plate, (start, stop) in zip((1, 2), table.plates_mm, strict=True):
        high = (corner - AIR_HU)[plates == plate].sum() * 1.5 / (table.plate_hu - AIR_HU)
        assert high == pytest.approx(stop - start, rel=0.25)
    gap = np.flatnonzero(plates == 2)[0] - np.flatnonzero(plates == 1)[0]
    assert gap * 1.5 == pytest.approx(table.plates_mm[1][0] - table.plates_mm[0][0], abs=1.6)
    width = (voxels[:12].max(axis=2).mean(axis=0) > AIR_HU + 300).sum() * 1.5
    assert width == pytest.approx(table.sides_mm[1] - table.sides_mm[0], abs=4)
    assert table.plates_mm[0][0] >= posed.points_mm[:n, 2].max()


@pytest.mark.slow
def test_tables_differ_and_some_touch_the_back(paper_body):
    scene, _ = paper_body
    points = scene.posed(BODY).points_mm
    subjects = [Subject(points, scene.triangles, Joints(scene.model, points), 0, index) for index in range(40)]
    gaps = [draw_table(subject).plates_mm[0][0] - points[:, 2].max() for subject in subjects]
    assert len(set(gaps)) > 20
    assert 0 < gaps.count(0) < 20
    assert max(gaps) <= 10


@pytest.mark.slow
def test_a_body_has_air_bone_and_tissue_inside(paper_body):
    _, phantom = paper_body
    voxels, ml = seen(phantom)[0][::2, ::2, ::2], 0.003**3 * 1e6
    plate = np.flatnonzero(voxels[:5, voxels.shape[1] // 2].mean(axis=0) > AIR_HU + 150)[0]
    chest = voxels[len(voxels) // 8 : len(voxels) // 2, :, : plate - 1]
    high = chest > HU_THRESHOLD
    behind = np.logical_or.accumulate(high[:, :, ::-1], axis=2)[:, :, ::-1]
    enclosed = behind & np.logical_or.accumulate(high, axis=2) & (chest < -700)
    lungs = ndimage.binary_opening(enclosed, np.ones((3, 3, 3)))
    assert 1000 < lungs.sum() * ml < 8000
    assert 100 < (voxels[: len(voxels) // 7] > 600).sum() * ml < 1000  # the skull
    soft = voxels[(voxels > -200) & (voxels < 200)]
    assert -20 < soft.mean() < 60
    assert 10 < soft.std() < 80
    air = voxels[:, :5]
    assert abs(air.mean() - AIR_HU) < 1
    assert 1 < air.std() < 5


@pytest.mark.slow
def test_a_hand_has_bone_speckle_and_uneven_air(hands):
    for scene, _, phantom in hands:
        voxels, _ = seen(phantom)
        threshold = threshold_of(phantom)
        assert 150 < threshold < 450
        tissue = voxels > threshold
        components, count = ndimage.label(tissue.any(axis=2), np.ones((3, 3)))
        assert count > 2  # speckle
        largest = components == np.bincount(components.ravel())[1:].argmax() + 1
        speckle = (components > 0) & ~largest
        assert ndimage.distance_transform_edt(~largest)[speckle].min() > 2
        behind = np.logical_or.accumulate(tissue[:, :, ::-1], axis=2)[:, :, ::-1]
        dark = (voxels < 200) & behind & np.logical_or.accumulate(tissue, axis=2)
        assert dark.sum() > 300  # cortical bone
        air = voxels[largest][:, :8]
        assert air.max() < threshold / 2
        haze = ndimage.uniform_filter(voxels.astype(np.float32), 5)[~ndimage.maximum_filter(tissue, 9)]
        assert haze.max() > 1.25 * np.median(haze)
        assert scene.spec.side == phantom.side


# Tables of phantoms


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spacing"), [("paper_body", 8.0), ("paper_hand", 2.0)])
def test_phantoms_are_written_with_a_table_and_the_same_bytes_again(tmp_path, name, spacing):
    told, options = [], PhantomOptions((spacing, spacing, spacing))
    table = make_phantoms(load_spec(name), 2, tmp_path / "a" / "b", options, told.append)
    assert table == tmp_path / "a" / "b" / "scans.csv"
    rows = list(csv.DictReader(table.open()))
    assert [row["id"] for row in rows] == [f"{name}-00000000{n}" for n in range(2)]
    for row in rows:
        assert row["subject"] == row["id"]
        image = SimpleITK.ReadImage(str(table.parent / row["image"]))
        assert image.GetDimension() == 3
        points = json.loads((table.parent / row["landmarks"]).read_text())["markups"][0]["controlPoints"]
        for point in points:
            index = image.TransformPhysicalPointToContinuousIndex(point["position"])
            assert all(-0.5 <= i <= size - 0.5 for i, size in zip(index, image.GetSize(), strict=True))
        assert row["side"] == ("left" if name == "paper_hand" else "")
    assert told == [*(table.parent / row["image"] for row in rows), table]
    assert "No patient" in (table.parent / "README.txt").read_text()
    first = digests(table.parent)
    assert len(first) == 6

    (tmp_path / "again").mkdir()
    make_phantoms(load_spec(name), 1, tmp_path / "again", options)
    again = digests(tmp_path / "again")
    assert {file for file in again if again[file] != first[file]} == {"scans.csv"}  # which has a row less
    make_phantoms(changed(name, seed=1), 1, tmp_path / "seed", options)
    assert digests(tmp_path / "seed")[rows[0]["image"]] != first[rows[0]["image"]]


def test_a_perspective_spec_has_the_phantom_of_an_orthographic_one():
    options = PhantomOptions((3.0, 3.0, 3.0))
    camera = phantom_scene(load_spec("paper_hand")).spec.camera.model_dump()
    phantoms = [
        make_phantom(phantom_scene(changed("paper_hand", camera={**camera, "projection": kind})), 4, options)
        for kind in ("orthographic", "perspective")
    ]
    np.testing.assert_array_equal(phantoms[0].voxels, phantoms[1].voxels)
    np.testing.assert_array_equal(phantoms[0].affine, phantoms[1].affine)


@pytest.mark.parametrize(
    ("n", "options", "text"),
    [
        (0, None, "-n: value 0; make at least 1"),
        (-3, None, "-n: value -3"),
        (1, PhantomOptions((1.0, 0.0, 1.0)), "spacing_mm: value"),
        (1, PhantomOptions((1.0, float("nan"), 1.0)), "spacing_mm: value"),
        (1, PhantomOptions((1.0, 1.0, 21.0)), "spacing_mm: value"),
        (1, PhantomOptions((0.1, 0.1, 0.1)), "use larger voxels"),
        (1, PhantomOptions(oblique_deg=41), "oblique_deg: value 41"),
        (1, PhantomOptions(oblique_deg=float("nan")), "oblique_deg: value nan"),
    ],
)
def test_invalid_options_are_errors_of_one_line(tmp_path, n, options, text):
    with pytest.raises(SynthgenError, match=text) as error:
        make_phantoms(load_spec("paper_hand"), n, tmp_path / "out", options)
    assert "\n" not in str(error.value)
    assert not list((tmp_path).glob("out/*"))


def test_only_an_empty_folder_is_written_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for out, text in (("file", "is a file"), ("full", "is not an empty"), ("file/below", "cannot be written")):
        with pytest.raises(DatasetError, match=text):
            make_phantoms(load_spec("paper_hand"), 1, tmp_path / out, PhantomOptions((6.0, 6.0, 6.0)))
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "full"}


def test_a_full_disk_leaves_no_table(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synthgen.generator.phantoms.nifti_writer.gzip.GzipFile.write", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        make_phantoms(load_spec("paper_hand"), 1, tmp_path / "out", PhantomOptions((6.0, 6.0, 6.0)))
    assert not list((tmp_path / "out").iterdir())


def test_voxels_stay_on_the_cameras_axes():
    """The camera of a z-buffer sees what the grid's rays meet, at every voxel's own centre."""
    points, triangles = sphere(2, 30.0, (3, -4, 1000))
    grid = covering(points.min(axis=0) - 4, points.max(axis=0) + 4, (2.0, 3.0, 1.0))
    cover = coverage(points, triangles, grid, samples=1)
    width, height = grid.size[:2]
    x, y = grid.origin_mm[0] + width, grid.origin_mm[1] + 1.5 * height
    camera = Camera("orthographic", width, height, (2.0, 3.0), 1000.0)
    depth = z_buffer(points - [x, y, 0], triangles, camera)
    differs = (cover.max(axis=1) > 0) != np.isfinite(depth)
    assert differs.sum() <= 2
    hit = np.isfinite(depth) & ~differs
    first = grid.origin_mm[2] + cover.argmax(axis=1) * 0 + (cover > 0).argmax(axis=1)
    assert (np.abs(first - depth)[hit] <= 1.001).all()
