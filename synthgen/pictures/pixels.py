"""Drawing on pixel arrays: colours, dots, depth as a colour map or as shaded relief."""

import colorsys

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from synthgen.geometry import Floats

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAGE: Colour = (24, 26, 31)
PANEL: Colour = (11, 12, 15)
TEXT: Colour = (226, 229, 235)
MUTED: Colour = (142, 149, 162)
SILHOUETTE: Colour = (236, 236, 232)
CLAY = np.array([222.0, 205.0, 188.0])
# Viridis (CC0, van der Walt and Smith): perceptually uniform, also in greyscale and for colour-blind viewers.
_VIRIDIS = np.array(
    [
        (68, 1, 84), (72, 24, 106), (71, 45, 123), (66, 64, 134), (59, 82, 139), (51, 99, 141), (44, 114, 142),
        (38, 130, 142), (33, 145, 140), (31, 160, 136), (40, 174, 128), (63, 188, 115), (94, 201, 98), (132, 212, 75),
        (173, 220, 48), (216, 226, 25), (253, 231, 37),
    ],
    dtype=np.float64,
)  # fmt: skip


def font(size: int) -> Font:
    """Return Pillow's bundled font, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def landmark_colours(n: int) -> list[Colour]:
    """Return n colours of which neighbours are easy to distinguish: evenly spaced hues, alternating lightness."""
    colours = []
    for k in range(n):
        lightness = 0.6 if n < 8 or k % 2 == 0 else 0.78
        rgb = np.array(colorsys.hls_to_rgb(k / n, lightness, 1.0))
        luminance = float(rgb @ [0.21, 0.72, 0.07])
        rgb += (1 - rgb) * max(0.0, 0.42 - luminance)  # pure blue would be too dark on the page
        red, green, blue = (round(float(channel) * 255) for channel in rgb)
        colours.append((red, green, blue))
    return colours


def viridis(fraction: Floats) -> Pixels:
    """Map numbers in [0, 1], of any shape, to RGB; the result has a last axis of 3."""
    anchors = np.linspace(0, 1, len(_VIRIDIS))
    channels = [np.interp(fraction, anchors, _VIRIDIS[:, channel]) for channel in range(3)]
    colours: Pixels = np.round(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def colour_mask(mask: NDArray[np.bool_]) -> Pixels:
    """Draw a silhouette (H, W), light on dark."""
    return np.where(mask[..., None], np.array(SILHOUETTE, np.uint8), np.array(PANEL, np.uint8))


def colour_depth(depth_mm: NDArray[np.float32]) -> Pixels:
    """Draw depth (H, W), +inf for the background: the nearest point is yellow, the farthest violet."""
    hit = np.isfinite(depth_mm)
    pixels = np.empty((*depth_mm.shape, 3), dtype=np.uint8)
    pixels[:] = PANEL
    if hit.any():
        depth = depth_mm[hit].astype(np.float64)
        pixels[hit] = viridis((depth.max() - depth) / max(float(np.ptp(depth)), 1e-9))
    return pixels


def shade_relief(depth_mm: NDArray[np.float32], mm_per_px: float) -> Pixels:
    """Draw depth (H, W) as a clay surface lit from the upper left, slightly darker with distance."""
    hit = np.isfinite(depth_mm)
    depth = np.where(hit, depth_mm, np.nan).astype(np.float64)
    slope_x, slope_y = (_slope(depth, axis) / mm_per_px for axis in (1, 0))
    # z points away from the camera, so the normal towards the camera is (dz/dx, dz/dy, -1).
    facing = (-0.42 * slope_x - 0.58 * slope_y + 0.70) / np.sqrt(slope_x**2 + slope_y**2 + 1)
    light = 0.22 + 0.78 * np.clip(facing, 0, 1)
    pixels = np.empty((*depth.shape, 3), dtype=np.uint8)
    pixels[:] = PANEL
    if hit.any():
        far = (depth[hit] - depth[hit].min()) / max(float(np.ptp(depth[hit])), 1e-9)
        pixels[hit] = np.clip(CLAY * (light[hit] * (1 - 0.3 * far))[:, None], 0, 255).astype(np.uint8)
    return pixels


def _slope(depth: Floats, axis: int) -> Floats:
    """Return the slope per pixel of depth (H, W), NaN outside: central differences, one-sided at the outline."""
    step = np.diff(depth, axis=axis)
    edge = np.full_like(np.take(depth, [0], axis=axis), np.nan)
    before, after = np.concatenate([edge, step], axis=axis), np.concatenate([step, edge], axis=axis)
    known = np.isfinite(before).astype(np.float64) + np.isfinite(after)
    slope: Floats = (np.nan_to_num(before) + np.nan_to_num(after)) / np.maximum(known, 1)
    return slope


def enlarge(pixels: Pixels, scale: int) -> Pixels:
    """Repeat each pixel ``scale`` times along both axes (nearest-neighbour enlargement)."""
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def draw_dot(
    pixels: Pixels, centre: tuple[float, float], radius: float, colour: Colour, *, hollow: bool = False
) -> None:
    """Draw an anti-aliased dot with a dark outline into ``pixels``, at a continuous pixel position (x, y).

    A hollow dot is a ring through which the picture shows. Dots are clipped at the border.
    """
    reach = radius + 3
    left, top = max(int(centre[0] - reach), 0), max(int(centre[1] - reach), 0)
    right, bottom = int(centre[0] + reach) + 2, int(centre[1] + reach) + 2
    patch = pixels[top : max(bottom, 0), left : max(right, 0)]
    y, x = np.mgrid[top : top + patch.shape[0], left : left + patch.shape[1]] + 0.5
    distance = np.hypot(x - centre[0], y - centre[1])
    inside = 0.55 * radius
    for ink, edge, inner in ((PANEL, radius + 1.25, inside), (colour, radius, inside)):
        cover = np.clip(edge + 0.5 - distance, 0, 1)
        if hollow:
            cover = cover * np.clip(distance - inner + 0.5, 0, 1)
        patch[:] = np.round(patch * (1 - cover[..., None]) + np.array(ink) * cover[..., None]).astype(np.uint8)
