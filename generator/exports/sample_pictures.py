"""Pictures of one sample with its recipe, and of landmark sets on a shaded relief."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from synthgen.geometry import Floats
from synthgen.pictures import pixels as drawing
from synthgen.pictures.contact_sheet import EDGE, panels, sample_tile
from synthgen.pictures.pixels import Colour, Font, Pixels
from synthgen.storage.sample import Sample


def inspect_figure(sample: Sample, names: Sequence[str]) -> Image.Image:
    """Draw one enlarged sample, with the table of its landmarks below and its recipe beside it."""
    scale = max(1, round(480 / max(sample.depth_mm.shape)))
    panel = panels(sample_tile(sample, names), scale)
    text, colours = drawing.font(13), drawing.landmark_colours(len(names))
    recipe = list(_recipe_lines(sample))
    row = 19
    left_w, left_h = max(panel.shape[1], 560), panel.shape[0] + 62 + (len(names) + 2) * row
    columns = max(1, -(-len(recipe) * row // max(left_h, 600)))
    lines = -(-len(recipe) // columns)
    height = 2 * EDGE + max(left_h, lines * row)
    page = Image.new("RGB", (3 * EDGE + left_w + columns * (300 + EDGE), height), drawing.PAGE)
    pen = ImageDraw.Draw(page)
    pen.text((EDGE, EDGE - 4), f"sample {sample.index}", drawing.TEXT, font=drawing.font(16))
    pen.text((EDGE + left_w, EDGE - 2), _depth_range(sample.depth_mm), drawing.MUTED, font=text, anchor="ra")
    page.paste(Image.fromarray(panel), (EDGE, EDGE + 24))
    _landmark_table(page, (EDGE, EDGE + 24 + panel.shape[0] + 14), sample, names, colours)
    for k, (key, value) in enumerate(recipe):
        x, y = 2 * EDGE + left_w + k // lines * (300 + EDGE), EDGE + k % lines * row
        shown = _fitted(value, 190, text)
        pen.text((x + 300, y), shown, drawing.TEXT, font=text, anchor="ra")
        key_x, ink = (x + 10, drawing.MUTED) if value else (x, drawing.TEXT)
        pen.text((key_x, y), _fitted(key, 278 - text.getlength(shown), text), ink, font=text)
    return page


def landmark_figure(
    depth_mm: NDArray[np.float32],
    landmarks_px: Floats,
    names: Sequence[str],
    visible: NDArray[np.bool_],
    mm_per_px: float = 1.0,
) -> Image.Image:
    """Draw a landmark set on a shaded relief: numbered names in the margins, with leader lines that never cross.

    Args:
        depth_mm: (H, W), +inf for the background; a height of about 900 pixels looks best.
        landmarks_px: (K, 2) continuous pixels.
        names: The K names.
        visible: (K,); invisible landmarks are drawn hollow.
        mm_per_px: Pixel size, used to compute the relief's slopes.
    """
    scale = max(1, round(800 / depth_mm.shape[0]))
    relief = drawing.enlarge(drawing.shade_relief(depth_mm, mm_per_px), scale)
    points, text, spacing = landmarks_px * scale, drawing.font(16), 24.0
    labels = [f"{k + 1}  {name}" for k, name in enumerate(names)]
    margin = round(max(text.getlength(label) for label in labels)) + 44
    order = np.argsort(points[:, 0], kind="stable")
    sides = (order[: len(order) // 2], order[len(order) // 2 :])
    height = max(relief.shape[0], round(len(sides[1]) * spacing) + 2 * EDGE)
    canvas = np.full((height, relief.shape[1] + 2 * margin, 3), drawing.PANEL, dtype=np.uint8)
    lift = (height - relief.shape[0]) // 2
    canvas[lift : lift + relief.shape[0], margin : margin + relief.shape[1]] = relief
    points = points + np.array([margin, lift])
    anchors = np.empty_like(points)
    for side, x in zip(sides, (margin - 18.0, canvas.shape[1] - margin + 18.0), strict=True):
        anchors[side] = place_labels(points[side], x, spacing, (EDGE, height - EDGE))
    colours = drawing.landmark_colours(len(names))
    page = _with_leaders(canvas, points, anchors, colours)
    dotted = np.array(page)
    for k, point in enumerate(points):
        drawing.draw_dot(dotted, (point[0], point[1]), 6, colours[k], hollow=not visible[k])
    page = Image.fromarray(dotted)
    pen = ImageDraw.Draw(page)
    for k, (x, y) in enumerate(anchors):
        at_left = k in sides[0]
        pen.text((x + (-6 if at_left else 6), y), labels[k], drawing.TEXT, font=text, anchor="rm" if at_left else "lm")
    return page


def place_labels(points: Floats, x: float, spacing: float, span: tuple[float, float]) -> Floats:
    """Return the positions of labels (n, 2) for points (n, 2) in one margin.

    They are on the vertical line at ``x``, at least ``spacing`` apart, within ``span`` if it is long enough, as close
    to their points' heights as that permits, and such that straight lines to the points do not cross.
    """
    from scipy.optimize import isotonic_regression, linear_sum_assignment  # noqa: PLC0415 (slow to load)

    n = len(points)
    if n == 0:
        return np.empty((0, 2))
    steps = spacing * np.arange(n)
    heights = isotonic_regression(np.sort(points[:, 1]) - steps).x
    room = max(span[1] - span[0] - spacing * n, 0.0)
    heights = np.clip(heights, span[0] + spacing / 2, span[0] + spacing / 2 + room) + steps
    # Of all ways to pair two sets of points by straight lines, the shortest has no crossings.
    distance = np.hypot(points[:, :1] - x, points[:, 1:] - heights)
    return np.column_stack([np.full(n, x), heights[linear_sum_assignment(distance)[1]]])


def _with_leaders(canvas: Pixels, points: Floats, anchors: Floats, colours: Sequence[Colour]) -> Image.Image:
    """Draw anti-aliased lines from labels to points, with a dark rim so that they are visible on the relief."""
    fine = 4
    away = anchors - points
    ends = points + away * (
        5 / np.maximum(np.hypot(away[:, :1], away[:, 1:]), 5)
    )  # at the dot's rim, not inside a ring
    lines = Image.new("RGBA", (canvas.shape[1] * fine, canvas.shape[0] * fine))
    pen = ImageDraw.Draw(lines)
    for ink, width in ((None, 4 * fine - 1), (colours, fine + 1)):
        for k in range(len(points)):
            line = [(float(x * fine), float(y * fine)) for x, y in (anchors[k], ends[k])]
            pen.line(line, (*drawing.PANEL, 190) if ink is None else (*ink[k], 255), width)
    page = Image.fromarray(canvas).convert("RGBA")
    page.alpha_composite(lines.resize(page.size, Image.Resampling.BOX))
    return page.convert("RGB")


def _landmark_table(
    page: Image.Image, corner: tuple[int, int], sample: Sample, names: Sequence[str], colours: Sequence[Colour]
) -> None:
    """Write each landmark's name, position and state below ``corner``."""
    text, row, (left, top) = drawing.font(13), 19, corner
    labels, pen = sample.labels, ImageDraw.Draw(page)
    columns = ((20, "landmark"), (190, "x, y (px)"), (310, "x, y, z (mm)"), (480, "seen"))
    for x, heading in columns:
        pen.text((left + x, top), heading, drawing.MUTED, font=text)
    strip = np.array(page)
    for k, colour in enumerate(colours):
        centre = (left + 8.0, top + (k + 1) * row + 9.0)
        drawing.draw_dot(strip, centre, 4.5, colour, hollow=not labels.visible[k])
    page.paste(Image.fromarray(strip), (0, 0))
    for k, name in enumerate(names):
        seen = "yes" if labels.visible[k] else "hidden"
        cells = (
            _fitted(name, 165, text),
            ", ".join(f"{v:.2f}" for v in labels.landmarks_px[k]),
            ", ".join(f"{v:.1f}" for v in labels.landmarks_mm[k]),
            seen if labels.in_frame[k] else "outside",
        )
        for (x, _), cell in zip(columns, cells, strict=True):
            pen.text((left + x, top + (k + 1) * row), cell, drawing.TEXT, font=text)


def _recipe_lines(sample: Sample) -> Iterator[tuple[str, str]]:
    """Yield the recipe's keys and values, one pair per line; a heading has an empty value."""
    camera = {"mm_per_px": sample.mm_per_px, **sample.camera}
    for heading, values in (("camera", camera), ("shape", sample.shape), ("pose", sample.pose)):
        yield heading, ""
        yield from _flat(values)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple, np.ndarray)):
            yield f"{prefix}{key}", ", ".join(_short(item) for item in value) or "none"
        else:
            yield f"{prefix}{key}", _short(value) or "none"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fitted(text: str, width: float, font: Font) -> str:
    """Shorten text that is wider than ``width`` pixels, ending it with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _depth_range(depth_mm: NDArray[np.float32]) -> str:
    hit = depth_mm[np.isfinite(depth_mm)]
    return f"depth {hit.min():.1f} mm (yellow) to {hit.max():.1f} mm (violet)" if hit.size else "empty"
