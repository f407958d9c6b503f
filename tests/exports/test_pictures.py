"""The pictures: dots where the landmarks are, labels that neither overlap nor cross, the same bytes every time."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.laws import examples

from synthgen.generator.exports.sample_pictures import inspect_figure, landmark_figure, place_labels
from synthgen.pictures import pixels as drawing
from synthgen.pictures.contact_sheet import Tile, contact_sheet, sample_tile
from synthgen.storage.sample import Labels, Sample

NAMES = ("thumb", "index", "middle")
POINTS = np.array([[10.0, 40.0], [24.5, 6.5], [60.0, 20.0]])


def dome(height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    square = 20.0**2 - (x - width / 2) ** 2 - (y - height / 2) ** 2
    return np.where(square > 0, 1000 - np.sqrt(np.maximum(square, 0)), np.inf).astype(np.float32)


def tile(caption: str = "", visible: np.ndarray | None = None) -> Tile:
    return Tile(np.isfinite(dome()), dome(), POINTS, NAMES, caption, visible)


def sample() -> Sample:
    flags = np.array([True, False, True])
    labels = Labels(POINTS, np.column_stack([POINTS, [990.0] * 3]), flags, ~flags)
    return Sample(17, dome(), labels, 2.0, {"targets": {"x" * 80: 0.25}}, {"joint": [0.1] * 30}, {"kind": "any"})


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def find(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Return the continuous (x, y) centres of the pixels of exactly this colour."""
    return np.argwhere((np.array(image) == colour).all(axis=-1))[:, ::-1] + 0.5


def test_every_picture_is_the_same_every_time():
    def draw():
        return [
            png(contact_sheet([tile("0"), tile("1")])),
            png(inspect_figure(sample(), NAMES)),
            png(landmark_figure(dome(), POINTS, NAMES, np.ones(3, dtype=bool))),
        ]

    assert draw() == draw()


def test_dots_lie_on_their_landmarks_in_mask_and_depth():
    blank = Tile(np.zeros((48, 64), dtype=bool), np.full((48, 64), np.inf, dtype=np.float32), POINTS, NAMES)
    image = contact_sheet([blank], columns=1, scale=3)
    panel_top = image.height - 16 - 48 * 3
    for point, colour in zip(POINTS * 3, drawing.landmark_colours(3), strict=True):
        pixels = find(image, colour)
        pixels = pixels[pixels[:, 1] > panel_top]
        for left in (16, 16 + 64 * 3 + 3):
            here = pixels[(pixels[:, 0] >= left) & (pixels[:, 0] < left + 64 * 3)]

            assert here.mean(axis=0) == pytest.approx((point[0] + left, point[1] + panel_top), abs=0.3)


def test_a_sheet_holds_every_tile_and_enlarges_by_whole_pixels():
    one, five = contact_sheet([tile()], 2, 2), contact_sheet([tile(str(k)) for k in range(5)], 2, 2)

    assert five.height - one.height == 2 * (48 * 2 + 20 + 16)
    plain = Tile(np.isfinite(dome()), dome(), np.empty((0, 2)), ())
    pixels = np.array(contact_sheet([plain], 1, 4))
    corner = pixels[-16 - 48 * 4 : -16, 16 : 16 + 64 * 4]
    assert np.array_equal(corner, drawing.enlarge(corner[::4, ::4], 4))
    assert np.array_equal(corner[::4, ::4], drawing.colour_mask(plain.mask))


def test_tiles_of_different_sizes_and_landmarks_outside_are_no_error():
    small = Tile(np.ones((16, 16), dtype=bool), np.ones((16, 16), dtype=np.float32), POINTS * 9 - 90, NAMES)

    assert contact_sheet([tile(), small], title="mixed").width > 0
    with pytest.raises(ValueError, match="at least one tile"):
        contact_sheet([])


def test_a_hidden_landmark_is_hollow():
    hollow = np.zeros((40, 40, 3), dtype=np.uint8) + np.uint8(200)
    full = hollow.copy()
    drawing.draw_dot(hollow, (20.5, 20.5), 8, (255, 0, 0), hollow=True)
    drawing.draw_dot(full, (20.5, 20.5), 8, (255, 0, 0))

    assert list(hollow[20, 20]) == [200, 200, 200]
    assert list(full[20, 20]) == [255, 0, 0]
    assert png(contact_sheet([tile()])) != png(contact_sheet([tile(visible=np.array([True, False, True]))]))


def test_a_samples_tile_is_its_mask_and_index():
    assert sample_tile(sample(), NAMES).caption == "17"
    assert np.array_equal(sample_tile(sample(), NAMES).mask, np.isfinite(dome()))


def test_depth_colours_run_from_near_yellow_to_far_violet():
    pixels = drawing.colour_depth(dome())
    nearest, farthest = np.unravel_index(np.argmin(dome()), dome().shape), (24, 12)

    assert tuple(pixels[nearest]) == (253, 231, 37)
    assert pixels[farthest].sum() < 330
    assert tuple(pixels[0, 0]) == drawing.PANEL


def test_relief_is_lit_from_the_upper_left():
    pixels = drawing.shade_relief(dome(), 1.0).astype(int).sum(axis=-1)

    assert pixels[14, 22] > pixels[34, 42] + 100
    assert pixels[24, 32] > pixels[24, 49]


@pytest.mark.parametrize("n", [1, 5, 9, 25])
def test_landmark_colours_differ_and_show_on_the_page(n):
    colours = drawing.landmark_colours(n)

    assert len(set(colours)) == n
    assert min(np.array(colour) @ [0.21, 0.72, 0.07] for colour in colours) > 90


@examples(60)
@given(st.lists(st.tuples(st.integers(100, 400), st.integers(0, 500)), min_size=1, max_size=20, unique=True))
def test_labels_keep_apart_inside_the_margin_and_their_lines_never_cross(points):
    points = np.array(points, dtype=float)
    labels = place_labels(points, 40.0, 24.0, (0.0, 500.0))
    heights = np.sort(labels[:, 1])

    assert (np.diff(heights) >= 24 - 1e-9).all()
    assert heights[0] >= 12 - 1e-9
    assert heights[-1] <= 500 - 12 + 1e-9
    for a in range(len(points)):
        for b in range(a):
            assert not crosses(labels[a], points[a], labels[b], points[b])


def crosses(a, b, c, d) -> bool:
    """Say whether segment a-b properly crosses c-d."""

    def side(p, q, r) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < -1e-6 and side(c, d, a) * side(c, d, b) < -1e-6


def test_a_landmark_figure_grows_when_the_labels_need_it():
    many = np.column_stack([np.linspace(1, 63, 90), np.full(90, 24.0)])
    figure = landmark_figure(dome(), many, [f"point_{k}" for k in range(90)], np.ones(90, dtype=bool))

    assert figure.height >= 45 * 24
