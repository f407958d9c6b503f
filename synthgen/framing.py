"""The framing of rendered and scanned silhouettes: the rectangle of the source that becomes the patch.

The source is the plane of the silhouette: mm in the camera plane for the renderer, mm or pixels of the projected image
for scans; x points right and y down. The only input is the silhouette's box. Where the silhouette touches a border of
the source image (a forearm that leaves the scan), that border is the frame's border; elsewhere a margin is added. The
affine map is exactly invertible.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SynthgenError
from synthgen.geometry import Floats

Aspect = Literal["keep", "stretch"]
BORDERS = frozenset({"left", "top", "right", "bottom"})
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle in the source plane, in its units."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (self.left < self.right and self.top < self.bottom):
            raise ValueError(f"a box needs left < right and top < bottom, got {self}")

    @property
    def width(self) -> float:
        """Extent in x."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Extent in y."""
        return self.bottom - self.top

    def scaled(self, x: float, y: float) -> "Box":
        """Return the box in other units, such as pixels scaled to mm by the spacing of each axis."""
        return Box(self.left * x, self.top * y, self.right * x, self.bottom * y)


@dataclass(frozen=True)
class FrameDraw:
    """The three drawn values that position a silhouette in its patch."""

    margin: float = 0.05
    """Margin at every free side, as a fraction of the box's larger side (``stretch``: of the side along its axis)."""
    offset_x: float = 0.0
    """Position in the free space, in [-1, 1]: -1 puts the silhouette at the left of the patch, 1 at the right."""
    offset_y: float = 0.0
    """Position in the free space, in [-1, 1]: -1 puts the silhouette at the top of the patch, 1 at the bottom."""

    def __post_init__(self) -> None:
        if not (self.margin >= 0 and abs(self.offset_x) <= 1 and abs(self.offset_y) <= 1):
            raise ValueError(f"a frame needs margin >= 0 and offsets in [-1, 1], got {self}")


@dataclass(frozen=True)
class Frame:
    """The rectangle of the source that becomes a patch of ``width`` x ``height`` pixels."""

    left: float
    """The patch's left border in the source."""
    top: float
    """The patch's upper border in the source."""
    mm_per_px_x: float
    """Source units (mm, or source pixels) per patch pixel."""
    mm_per_px_y: float
    width: int
    height: int

    @property
    def right(self) -> float:
        """The patch's right border in the source."""
        return self.left + self.width * self.mm_per_px_x

    @property
    def bottom(self) -> float:
        """The patch's lower border in the source."""
        return self.top + self.height * self.mm_per_px_y

    @property
    def centre(self) -> tuple[float, float]:
        """The source point at the patch's centre, on the camera's optical axis."""
        return self.left + self.width * self.mm_per_px_x / 2, self.top + self.height * self.mm_per_px_y / 2

    def affine(self) -> Floats:
        """Return the homogeneous matrix (3, 3) from source (x, y, 1) to continuous patch pixels."""
        x, y = self.mm_per_px_x, self.mm_per_px_y
        return np.array([[1 / x, 0, -self.left / x], [0, 1 / y, -self.top / y], [0, 0, 1]])

    def inverse(self) -> Floats:
        """Return the homogeneous matrix (3, 3) from continuous patch pixels (x, y, 1) to the source."""
        return np.array([[self.mm_per_px_x, 0, self.left], [0, self.mm_per_px_y, self.top], [0, 0, 1]])


def silhouette_box(mask: NDArray[np.bool_]) -> tuple[Box, frozenset[str]]:
    """Return the box of the largest component of a mask (H, W), and the image borders that it touches.

    The box is in continuous pixels and encloses whole pixels: a single pixel at (row 0, column 0) has the box (0, 0, 1,
    1). Components are 8-connected; of equally large ones, the first in reading order is used.

    Raises:
        SynthgenError: The mask is empty.
    """
    from scipy import ndimage  # noqa: PLC0415 (slow to load, and rendering needs only the arithmetic)

    labels, count = ndimage.label(mask, structure=_NEIGHBOURS)
    if count == 0:
        raise SynthgenError("mask: has no foreground pixel; check the threshold and the view")
    largest = int(np.argmax(np.bincount(labels.ravel())[1:])) + 1
    rows, columns = ndimage.find_objects(labels)[largest - 1]
    box = Box(float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
    height, width = mask.shape
    touched = {"left": box.left == 0, "top": box.top == 0, "right": box.right == width, "bottom": box.bottom == height}
    return box, frozenset(border for border, touches in touched.items() if touches)


def frame_box(
    box: Box, touches: frozenset[str], size: tuple[int, int], draw: FrameDraw, aspect: Aspect = "keep"
) -> Frame:
    """Position a silhouette's box in a patch.

    With ``keep`` both axes have the same scale, the smallest at which the box and its margins fit. The free space along
    the other axis goes to the free sides: split by the draw's offset if both are free, all to the other side if one is
    touched, and half beyond each border if both are, because the box is never cut. With ``stretch`` each axis has its
    own scale and there is no free space.

    Args:
        box: The silhouette's box, in source units.
        touches: The borders of the source image that the silhouette touches, of left, top, right and bottom.
        size: Width and height of the patch, pixels.
        draw: Margin and offsets.
        aspect: ``keep`` or ``stretch``.
    """
    if not touches <= BORDERS:
        raise ValueError(f"touches must be a subset of {sorted(BORDERS)}, got {sorted(touches)}")
    larger = max(box.width, box.height)
    margin_x, margin_y = (larger, larger) if aspect == "keep" else (box.width, box.height)
    left, right = _with_margins((box.left, box.right), ("left", "right"), touches, margin_x * draw.margin)
    top, bottom = _with_margins((box.top, box.bottom), ("top", "bottom"), touches, margin_y * draw.margin)
    scale_x, scale_y = (right - left) / size[0], (bottom - top) / size[1]
    if aspect == "keep":
        scale_x = scale_y = max(scale_x, scale_y)
    space_x = _share_before(("left", "right"), touches, draw.offset_x) * (size[0] * scale_x - (right - left))
    space_y = _share_before(("top", "bottom"), touches, draw.offset_y) * (size[1] * scale_y - (bottom - top))
    return Frame(left - space_x, top - space_y, scale_x, scale_y, size[0], size[1])


def _with_margins(
    span: tuple[float, float], borders: tuple[str, str], touches: frozenset[str], margin: float
) -> tuple[float, float]:
    """Extend the span of one axis by the margin at its free ends."""
    return (
        span[0] - (0.0 if borders[0] in touches else margin),
        span[1] + (0.0 if borders[1] in touches else margin),
    )


def _share_before(borders: tuple[str, str], touches: frozenset[str], offset: float) -> float:
    """Return the fraction of an axis' free space in front of the silhouette (at its left, or above it)."""
    first, second = borders[0] in touches, borders[1] in touches
    if first == second:
        return 0.5 if first else (1 + offset) / 2
    return 0.0 if first else 1.0
