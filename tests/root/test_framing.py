"""Laws of the framing: what a silhouette's box, its touched borders and the patch must always satisfy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import SynthgenError
from synthgen.framing import BORDERS, Box, Frame, FrameDraw, frame_box, silhouette_box

coordinate = st.floats(-2000, 2000)
extent = st.floats(0.5, 3000)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), coordinate, coordinate, extent, extent)
sizes = st.tuples(st.integers(16, 400), st.integers(16, 400))
offset = st.floats(-1, 1)
draws = st.builds(FrameDraw, st.floats(0, 0.5), offset, offset)
touched = st.frozensets(st.sampled_from(sorted(BORDERS)))
aspects = st.sampled_from(["keep", "stretch"])
NONE: frozenset[str] = frozenset()


def sides(thing: Box | Frame) -> np.ndarray:
    return np.array([thing.left, thing.top, thing.right, thing.bottom])


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ affine[:2, :2].T + affine[:2, 2]


@given(boxes, touched, sizes, draws, aspects)
def test_the_box_is_always_inside_the_frame(box, touches, size, draw, aspect):
    frame = frame_box(box, touches, size, draw, aspect)

    assert (frame.width, frame.height) == size
    assert frame.left <= box.left + 1e-9
    assert frame.top <= box.top + 1e-9
    assert frame.right >= box.right - 1e-9
    assert frame.bottom >= box.bottom - 1e-9


@given(boxes, touched, sizes, draws, aspects)
def test_a_touched_border_is_the_frames_border_and_a_free_one_has_its_margin(box, touches, size, draw, aspect):
    frame = frame_box(box, touches, size, draw, aspect)
    gaps = dict(
        zip(("left", "top", "right", "bottom"), np.abs(sides(frame) - sides(box)), strict=True),
    )
    larger = max(box.width, box.height)
    margin = {"x": larger, "y": larger} if aspect == "keep" else {"x": box.width, "y": box.height}
    for axis, pair in {"x": ("left", "right"), "y": ("top", "bottom")}.items():
        for border in pair:
            if border not in touches:
                assert gaps[border] >= margin[axis] * draw.margin - 1e-8
            elif not set(pair) <= touches or aspect == "stretch":
                assert gaps[border] <= 1e-8
        if set(pair) <= touches:
            assert gaps[pair[0]] == pytest.approx(gaps[pair[1]], abs=1e-8)


@given(boxes, touched, sizes, draws)
def test_keep_has_one_scale_and_no_smaller_one_would_fit(box, touches, size, draw):
    frame = frame_box(box, touches, size, draw)
    margin = max(box.width, box.height) * draw.margin
    need_x = box.width + margin * (2 - len(touches & {"left", "right"}))
    need_y = box.height + margin * (2 - len(touches & {"top", "bottom"}))

    assert frame.mm_per_px_x == frame.mm_per_px_y
    assert frame.mm_per_px_x == pytest.approx(max(need_x / size[0], need_y / size[1]))


@given(boxes, touched, sizes, draws, aspects)
def test_the_round_trip_is_exact(box, touches, size, draw, aspect):
    frame = frame_box(box, touches, size, draw, aspect)
    corners_px = np.array([[0.0, 0.0], [size[0], 0.0], [0.0, size[1]], [size[0], size[1]], [0.5, 0.5]])

    assert apply(frame.affine(), apply(frame.inverse(), corners_px)) == pytest.approx(corners_px, abs=1e-9)
    assert frame.affine() @ frame.inverse() == pytest.approx(np.eye(3), abs=1e-9)
    source = apply(frame.inverse(), corners_px)
    assert source[0] == pytest.approx([frame.left, frame.top], abs=1e-9)
    assert source[3] == pytest.approx([frame.right, frame.bottom], abs=1e-9)
    assert apply(frame.inverse(), np.array(size) / 2) == pytest.approx(frame.centre, abs=1e-9)


@given(boxes, touched, sizes, draws, aspects, st.floats(0.01, 100), coordinate, coordinate)
def test_scaling_and_shifting_the_source_scales_and_shifts_the_frame(box, touches, size, draw, aspect, s, dx, dy):
    frame = frame_box(box, touches, size, draw, aspect)
    moved = frame_box(
        Box(box.left * s + dx, box.top * s + dy, box.right * s + dx, box.bottom * s + dy), touches, size, draw, aspect
    )
    tolerance = 1e-9 * (1 + s) * 10_000

    assert moved.mm_per_px_x == pytest.approx(frame.mm_per_px_x * s, rel=1e-9, abs=tolerance)
    assert moved.mm_per_px_y == pytest.approx(frame.mm_per_px_y * s, rel=1e-9, abs=tolerance)
    assert sides(moved) == pytest.approx(sides(frame) * s + [dx, dy, dx, dy], abs=tolerance)


@given(boxes, touched, sizes, draws, aspects)
def test_mirroring_the_source_mirrors_the_frame(box, touches, size, draw, aspect):
    swap = {"left": "right", "right": "left"}
    frame = frame_box(box, touches, size, draw, aspect)
    mirrored = frame_box(
        Box(-box.right, box.top, -box.left, box.bottom),
        frozenset(swap.get(border, border) for border in touches),
        size,
        FrameDraw(draw.margin, -draw.offset_x, draw.offset_y),
        aspect,
    )

    assert sides(mirrored) == pytest.approx(sides(frame)[[2, 1, 0, 3]] * [-1, 1, -1, 1], abs=1e-8)


def test_a_forearm_at_the_lower_border_leaves_vertical_play_to_the_top_only():
    wide_hand = Box(-100, -60, 100, 60)
    for offset_y in (-1.0, 0.0, 1.0):
        frame = frame_box(wide_hand, frozenset({"bottom"}), (96, 96), FrameDraw(0.05, 0.0, offset_y))

        assert frame.bottom == pytest.approx(60)
        assert frame.mm_per_px_x == pytest.approx(220 / 96)
        assert frame.top == pytest.approx(60 - 220)


@pytest.mark.parametrize(("offset_x", "left"), [(-1, -10), (0, -60), (1, -110)])
def test_a_positive_offset_moves_the_silhouette_to_the_right(offset_x, left):
    frame = frame_box(Box(0, 0, 100, 200), NONE, (100, 100), FrameDraw(0.05, offset_x, 0))

    assert frame.left == pytest.approx(left)


def test_two_opposite_touched_borders_are_extended_alike_because_nothing_is_cut():
    frame = frame_box(Box(0, 0, 100, 200), frozenset({"left", "right", "top"}), (96, 96), FrameDraw(0, 1, 0))

    assert sides(frame) == pytest.approx([-50, 0, 150, 200])


def test_the_box_is_of_the_largest_component_in_pixel_edges():
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:20, 8:12] = True
    mask[4, 12] = True  # meets the component at a corner only
    mask[0:2, 0:9] = True  # smaller, at two borders

    assert silhouette_box(mask) == (Box(8, 4, 13, 20), frozenset({"bottom"}))


@given(st.integers(0, 2**32 - 1))
def test_the_silhouettes_box_mirrors(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 17)) < 0.02
    mask[rng.integers(8) :, rng.integers(6) : rng.integers(11, 18)] = True  # larger than all else
    box, touches = silhouette_box(mask)
    flipped, flipped_touches = silhouette_box(mask[:, ::-1])

    assert sides(flipped) == pytest.approx([17 - box.right, box.top, 17 - box.left, box.bottom])
    assert ("left" in touches, "bottom" in touches) == ("right" in flipped_touches, "bottom" in flipped_touches)


def test_what_cannot_be_framed_is_refused():
    with pytest.raises(SynthgenError, match="mask: has no foreground pixel"):
        silhouette_box(np.zeros((4, 4), dtype=bool))
    with pytest.raises(ValueError, match="left < right"):
        Box(1, 0, 1, 2)
    with pytest.raises(ValueError, match="touches must be"):
        frame_box(Box(0, 0, 1, 1), frozenset({"floor"}), (16, 16), FrameDraw())
    with pytest.raises(ValueError, match="offsets in"):
        FrameDraw(0.1, 1.5, 0)
