"""The hand in a radiograph: all of its soft tissue, and nothing of what else is in the picture."""

import csv
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from support.laws import examples
from support.paths import REAL_DATA
from support.scan_phantoms import dice, radiograph

from synthgen.errors import ScanError
from synthgen.training.scans.formats.image_types import Picture
from synthgen.training.scans.formats.read_image import read_image
from synthgen.training.scans.radiograph import binarize_radiograph
from synthgen.training.scans.silhouette import Steps

REAL = REAL_DATA / "hand_xray"
FINGERTIPS = {"thumb": 20, "index": 24, "middle": 28, "ring": 32, "little": 36}
NOT_THE_HAND = {
    "3167": [(0, 0.785, 0.045, 0.955)],
    "3177": [(0, 0, 0.14, 0.085), (0.86, 0.91, 1, 0.98)],
    "3231": [(0.55, 0, 0.76, 0.007), (0.98, 0.06, 1, 0.38), (0.98, 0.62, 1, 1), (0.78, 0.76, 0.93, 1)],
    "7081": [(0.88, 0.75, 0.95, 0.92)],
    "7088": [(0.82, 0.785, 0.89, 0.935)],
    "7232": [(0.87, 0.775, 0.93, 0.925), (0, 0.975, 0.19, 1)],
    "7236": [(0.9, 0.795, 0.95, 0.94)],
}
"""Labels, step wedges, a ruler and a strip of light: left, top, right and bottom as parts of the picture."""
drawn = lru_cache(radiograph)


def found(image, steps=None):
    return binarize_radiograph(Picture(image, None), steps or Steps())


@pytest.mark.parametrize("spread", [2.0, 10.0, 20.0])
def test_the_silhouette_is_the_hands(spread):
    image, hand, tips = drawn(spread)
    mask = found(image)

    assert mask.shape == image.shape
    assert dice(mask, hand) > 0.98
    assert ndimage.label(mask)[1] == 1
    for x, y in tips.values():
        assert mask[int(y), int(x)]


@pytest.mark.slow
@examples(4)
@given(st.floats(0.01, 250), st.floats(-1e4, 1e4))
def test_gain_and_offset_do_not_matter(gain, offset):
    image, _, _ = drawn()

    assert dice(found(image * gain + offset), found(image)) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_any_type_of_pixel_will_do(kind):
    image, hand, _ = drawn()
    scale = 1 if kind == np.uint8 else 15

    assert dice(found(np.clip(image * scale, 0, 255 * scale).astype(kind)), hand) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.2, 1.0, 2.0])
def test_any_resolution_will_do(step):
    image, hand, _ = drawn(10.0, step)

    assert dice(found(image), hand) > 0.97


@pytest.mark.slow
def test_turned_and_mirrored_pictures_give_the_same_hand():
    image, _, _ = drawn()
    mask = found(image)
    for turn in (np.fliplr, np.flipud, np.rot90, np.transpose):
        assert dice(found(np.ascontiguousarray(turn(image))), turn(mask)) > 0.999


def _wedge(image):
    image[400:470, 320:335] = np.linspace(130, 255, 70)[:, None]
    return (slice(395, 475), slice(315, 340))


def _labels(image):
    image[0:30, 0:40] = 5  # lead, and the paper frame around it
    image[0:36, 40:46] = image[30:36, 0:46] = 95
    image[470:500, 300:350] = 0
    image[478:492:3, 305:345] = 120
    return (slice(0, 40), slice(0, 50))


def _stray_light(image):
    image[:, -14:] += np.linspace(0, 150, 14) * np.linspace(1.5, 0.3, len(image))[:, None]
    return (slice(300, 480), slice(-8, None))


def _scratch(image):
    image[100] += 40
    return (slice(98, 103), slice(0, 20))


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [_wedge, _labels, _stray_light, _scratch])
def test_what_is_not_the_hand_is_left_out(spoil):
    image, hand, tips = drawn()
    image = image.copy()
    there = spoil(image)
    mask = found(image)

    assert not mask[there].any()
    assert dice(mask, hand) > 0.97
    for x, y in tips.values():
        assert mask[int(y), int(x)]


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 255.0])
def test_blanked_borders_are_left_out(value):
    image, hand, _ = drawn()
    wide = np.full((image.shape[0] + 90, image.shape[1] + 160), value)
    wide[50:-40, 90:-70] = image
    mask = found(wide)

    assert dice(mask[50:-40, 90:-70], hand) > 0.95
    assert mask.sum() < hand.sum() * 1.05


def test_a_clipped_background_is_no_blanked_border():
    image, hand, _ = drawn()

    assert dice(found(np.clip(image - 60, 0, 255)), hand) > 0.95


def test_a_strip_of_light_does_not_cut_off_a_thumb_that_reaches_into_it():
    image, hand, tips = drawn()
    x = int(tips["thumb"][0])
    image, hand = image[:, : x + 6].copy(), hand[:, : x + 6]
    image[:, -10:] += np.linspace(20, 140, 10)
    mask = found(image)

    assert mask[int(tips["thumb"][1]), x - 8]
    assert not mask[300:450, -6:].any()
    assert dice(mask, hand) > 0.97


def test_what_is_no_radiograph_of_a_hand_is_refused():
    image, hand, _ = drawn()
    with pytest.raises(ScanError, match=r"^image: all its values are 3; it shows nothing"):
        found(np.full((50, 40), 3))
    with pytest.raises(ScanError, match=r"^image: some of its values are not finite"):
        found(np.where(hand, np.nan, image))
    with pytest.raises(ScanError, match=r"^image: .* bones must be bright: invert it"):
        found(255 - image)
    for noise in (np.random.default_rng(0).normal(0, 1, (300, 200)), np.tile(np.linspace(0, 255, 200), (300, 1))):
        with pytest.raises(ScanError):
            found(noise)


def test_without_cleaning_the_wedge_stays():
    image, _, _ = drawn()
    image = image.copy()
    there = _wedge(image)

    assert found(image, Steps(largest=False))[there].any()


@lru_cache
def landmarks():
    points = {}
    for name in ("landmarks_half.csv", "landmarks_of_images_extra.csv"):
        with (REAL / name).open() as lines:
            for row in csv.reader(lines):
                if row[0].isdigit():
                    points[row[0]] = np.array(row[1:], dtype=float).reshape(-1, 2)
    return points


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the shared data")
@pytest.mark.parametrize("name", ["3167", "3177", "3229", "3231", "5245", "7081", "7088", "7232", "7236"])
def test_real_fingertips_are_inside_and_labels_outside(name):
    picture = read_image(REAL / "images" / f"{name}.mha")
    points = landmarks()[name]
    mm_per_px = 50 / np.hypot(*(points[1] - points[5]))
    mask = binarize_radiograph(picture, Steps(), (mm_per_px, mm_per_px))
    away = ndimage.distance_transform_edt(~mask) * mm_per_px

    assert max(away[int(points[k][1]), int(points[k][0])] for k in FINGERTIPS.values()) == 0
    assert 0.3 < mask.mean() < 0.6
    height, width = mask.shape
    for left, top, right, bottom in NOT_THE_HAND.get(name, ()):
        assert not mask[int(top * height) : int(bottom * height), int(left * width) : int(right * width)].any()
