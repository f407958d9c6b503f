"""Contact sheets: many small images side by side, with their landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from synthgen.geometry import Floats
from synthgen.pictures import pixels as drawing
from synthgen.pictures.pixels import Pixels
from synthgen.storage.sample import Sample

EDGE = 16
"""Margin around a picture and between its parts, pixels."""


@dataclass(frozen=True)
class Tile:
    """One sample of a contact sheet."""

    mask: NDArray[np.bool_]
    """(H, W), clean or with artefacts."""
    depth_mm: NDArray[np.float32] | None
    """(H, W), +inf or NaN for the background; None if there is no depth."""
    landmarks_px: Floats
    """(K, 2) continuous pixels, NaN for missing landmarks."""
    names: tuple[str, ...]
    """The K landmarks' names."""
    caption: str = ""
    visible: NDArray[np.bool_] | None = None
    """(K,); invisible landmarks are drawn hollow. None: all are visible."""


def sample_tile(sample: Sample, names: Sequence[str], caption: str | None = None) -> Tile:
    """Return a sample's tile; the default caption is its index."""
    labels = sample.labels
    mask = np.isfinite(sample.depth_mm)
    text = str(sample.index) if caption is None else caption
    return Tile(mask, sample.depth_mm, labels.landmarks_px, tuple(names), text, labels.visible)


def contact_sheet(tiles: Sequence[Tile], columns: int = 6, scale: int | None = None, title: str = "") -> Image.Image:
    """Draw tiles in a grid: the mask beside the colour-mapped depth, landmarks as dots, a legend at the top.

    Args:
        tiles: The tiles, at least one, in reading order.
        columns: Tiles per row.
        scale: Sheet pixels per image pixel; None: the smallest that makes the images at least 190 pixels high.
        title: Heading of the sheet.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one tile")
    largest = max(tile.mask.shape[0] for tile in tiles)
    scale = scale or -(-190 // largest)
    drawn = [panels(tile, scale) for tile in tiles]
    cell_h, cell_w = max(p.shape[0] for p in drawn) + 20, max(p.shape[1] for p in drawn)
    columns = min(columns, len(tiles))
    width = 2 * EDGE + columns * cell_w + (columns - 1) * EDGE
    names = max((tile.names for tile in tiles), key=len)
    head = _heading(title, names, max(width, 480))
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (head.width, head.height + rows * (cell_h + EDGE)), drawing.PAGE)
    page.paste(head, (0, 0))
    pen, small = ImageDraw.Draw(page), drawing.font(13)
    for k, (tile, panel) in enumerate(zip(tiles, drawn, strict=True)):
        x, y = EDGE + k % columns * (cell_w + EDGE), head.height + k // columns * (cell_h + EDGE)
        pen.text((x, y), tile.caption, drawing.MUTED, font=small)
        page.paste(Image.fromarray(panel), (x, y + 20))
    return page


def panels(tile: Tile, scale: int) -> Pixels:
    """Draw a tile's mask and, if present, its depth beside it, with the landmarks on both."""
    colours = drawing.landmark_colours(len(tile.names))
    visible = np.ones(len(tile.names), dtype=bool) if tile.visible is None else tile.visible
    parts: list[Pixels] = []
    images = [drawing.colour_mask(tile.mask)]
    if tile.depth_mm is not None:
        images.append(drawing.colour_depth(tile.depth_mm))
    for pixels in images:
        large = drawing.enlarge(pixels, scale)
        radius = min(max(large.shape[0] / 55, 3.0), 5.0)
        for k in np.flatnonzero(np.isfinite(tile.landmarks_px).all(axis=1)):
            x, y = tile.landmarks_px[k] * scale
            drawing.draw_dot(large, (x, y), radius, colours[k], hollow=not visible[k])
        if parts:
            parts.append(np.full((large.shape[0], 3, 3), drawing.PAGE, dtype=np.uint8))
        parts.append(large)
    return np.concatenate(parts, axis=1)


def _heading(title: str, names: Sequence[str], width: int) -> Image.Image:
    """Draw the title and the legend: a coloured dot before each name, wrapped to the width."""
    text, row = drawing.font(14), 24
    top = EDGE + (30 if title else 0)
    places, x, y = [], EDGE, top
    for name in names:
        advance = 20 + round(text.getlength(name)) + 18
        if x > EDGE and x + advance > width - EDGE:
            x, y = EDGE, y + row
        places.append((x, y))
        x += advance
    pixels = np.full((y + row + 8, width, 3), drawing.PAGE, dtype=np.uint8)
    for place, colour in zip(places, drawing.landmark_colours(len(names)), strict=True):
        drawing.draw_dot(pixels, (place[0] + 7, place[1] + 9), 5, colour)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    pen.text((EDGE, EDGE - 2), title, drawing.TEXT, font=drawing.font(18))
    for place, name in zip(places, names, strict=True):
        pen.text((place[0] + 20, place[1]), name, drawing.TEXT, font=text)
    return image
