"""The silhouette of a hand in a radiograph, whose soft tissue is too faint for a threshold of the whole image.

The background is modelled (a parabola, then what varies slowly about it) and taken off; what stands out by a part of
what the hand does is tissue. Collimated borders, strips of stray light along a border, labels and step wedges are not
the hand: they are excluded from the background, or are separate components.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.training.scans.formats.image_types import Picture
from synthgen.training.scans.silhouette import Mask, Steps, clean, otsu

WORKING_SIZE = 900
"""Longer side at which the silhouette is found, pixels: a third of a mm of a hand."""
LEAST_NOISE = 0.003
"""Noise is at least this part of the image's range: where the background is clipped it shows none."""
OF_TISSUE, OF_NOISE = 0.12, 5.0
"""Tissue stands out by this part of what the whole hand does in the middle, and by so many deviations of the noise."""
SLOWLY = 0.05
"""The background varies over this part of the longer side."""
STRIP, STRIP_WINDOW = 0.15, 0.4
"""A strip along a border is narrower than this part of the image, and the same within this part of the border."""
COLLIMATED = 0.9
"""What is not blank fills its convex hull so far when blank borders were cut off, and less when it is a hand."""
LEAST_BLANK = 0.01
FIX = "bones must be bright: invert it, crop it, or give a mask, with method mask"
MOST_OF_BORDER, LEAST_COVER = 0.6, 0.01
"""A hand covers less of the image's border, and more of the image."""

Field = NDArray[np.float32]


@dataclass(frozen=True)
class _Flat:
    """An image without its background."""

    excess: Field
    """(h, w) above the background."""
    threshold: float


def binarize_radiograph(picture: Picture, steps: Steps, mm_per_px: tuple[float, float] | None = None) -> Mask:
    """Find the hand in a radiograph, bright on dark.

    Args:
        picture: The radiograph.
        steps: Which of the cleaning steps are done.
        mm_per_px: Spacing along x and y, None where unknown.

    Returns:
        (H, W) mask.

    Raises:
        ScanError: Nothing in it looks like a hand.
    """
    height, width = picture.pixels.shape
    factor = -(-max(height, width) // WORKING_SIZE)
    image = _smoothed(_reduced(picture.pixels, factor))
    blank = _blank_borders(image)
    flat = _without_background(image, ~blank)
    tissue = (flat.excess > flat.threshold) & ~blank
    for turns in range(4):
        turned = np.rot90(tissue, turns)
        turned &= ~_strip(turned)
    tissue = ndimage.binary_opening(tissue)
    small = (mm_per_px[0] * factor, mm_per_px[1] * factor) if mm_per_px else None
    found = clean(tissue, small, steps)
    _check(found)
    return found.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]


def _reduced(pixels: NDArray[np.generic], factor: int) -> Field:
    """Return the means of blocks, those at the right and below filled up with their edges."""
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % factor), (0, -width % factor)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    reduced: Field = blocks.mean(axis=(1, 3), dtype=np.float32)
    if not np.isfinite(reduced).all():
        raise ScanError("image: some of its values are not finite")
    if np.ptp(reduced) == 0:
        raise ScanError(f"image: all its values are {reduced.flat[0]:g}; it shows nothing")
    return reduced


def _smoothed(image: Field) -> Field:
    smooth: Field = ndimage.gaussian_filter(image, min(1.0, max(image.shape) / WORKING_SIZE))
    return smooth


def _blank_borders(image: Field) -> Mask:
    """Return where the collimator blanked the image: one value from the border to straight edges."""
    same = ndimage.maximum_filter(image, 3) - ndimage.minimum_filter(image, 3) <= 1e-6 * np.ptp(image)
    labels, _ = ndimage.label(same)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    sizes = np.bincount(labels.ravel())
    large = [label for label in edge if label > 0 and sizes[label] >= LEAST_BLANK * image.size]
    blank = np.isin(labels, large)
    rest = np.argwhere(~blank)
    none = np.zeros_like(blank)
    if not large or len(rest) < 3:
        return none
    try:
        hull = float(ConvexHull(rest).volume)
    except QhullError:
        return none
    grown: Mask = ndimage.binary_dilation(blank, iterations=3)
    return grown if len(rest) >= COLLIMATED * hull else none


def _without_background(image: Field, usable: Mask) -> _Flat:
    """Remove the background: everything that does not stand out by the contrast of tissue."""
    spread = float(np.subtract(*np.percentile(image[usable], [99, 1])))
    middle = otsu(image[usable])
    _check_bright(image > middle)
    excess = image - _parabola(image, usable & (image < middle), LEAST_NOISE * spread)
    start, known = excess, usable & (np.abs(excess) < 0.1 * spread)
    scale = SLOWLY * max(image.shape)
    threshold = 0.0
    for _ in range(5):
        noise = max(1.4826 * float(np.median(np.abs(excess[known]))), LEAST_NOISE * spread)
        standing_out = excess[usable & (excess > (OF_NOISE + 1) * noise)]
        if not standing_out.size:
            raise ScanError(f"image: nothing in it stands out from the background; {FIX}")
        threshold = max(OF_NOISE * noise, OF_TISSUE * float(np.median(standing_out)))
        known = usable & (excess < 0.6 * threshold) & (excess > -threshold)
        weight = known.astype(np.float32)
        about = ndimage.gaussian_filter(weight * start, scale)
        # Far from any background the parabola is all that is known.
        excess = start - about / np.maximum(ndimage.gaussian_filter(weight, scale), 1e-2)
    return _Flat(excess, threshold)


def _parabola(image: Field, candidates: Mask, least_noise: float) -> Field:
    """Fit a second-degree polynomial to the background, of which tissue is brighter and labels are darker."""
    height, width = image.shape
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in (height, width))
    powers = [(i, j) for i in range(3) for j in range(3 - i)]
    terms = np.stack([np.multiply.outer(y**i, x**j) for i, j in powers], axis=-1)
    used = candidates
    fitted = np.zeros_like(image)
    for _ in range(15):
        if used.sum() < 10 * len(powers):
            raise ScanError(f"image: there is no background around the hand; {FIX}")
        coefficients: Floats = np.linalg.lstsq(terms[used], image[used], rcond=None)[0]
        fitted = terms @ coefficients.astype(np.float32)
        off = image - fitted
        noise = max(1.4826 * float(np.median(np.abs(off[used] - np.median(off[used])))), least_noise)
        used = candidates & (off < 1.5 * noise) & (off > -3 * noise)
    return fitted


def _strip(mask: Mask) -> Mask:
    """Return what is in a narrow strip along the left border, such as stray light; what only crosses it is kept."""
    height, width = mask.shape
    run = np.where(mask.all(axis=1), width, mask.argmin(axis=1))
    narrow = run <= STRIP * width
    half = max(1, round(STRIP_WINDOW * height / 2))
    usual = np.zeros(height)
    for row in range(height):
        window = slice(max(0, row - half), row + half + 1)
        if narrow[window].mean() > 0.3:
            usual[row] = np.median(run[window][narrow[window]])
    removed = narrow & (usual > 0) & (run <= 2 * usual + 4)
    return np.arange(width) < np.where(removed, run, 0)[:, None]


def _on_border(mask: Mask) -> float:
    return float(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean())


def _check_bright(bright: Mask) -> None:
    height, width = bright.shape
    inside = bright[height // 3 : -(-2 * height // 3), width // 3 : -(-2 * width // 3)].mean()
    if _on_border(bright) > MOST_OF_BORDER and inside < 1 - MOST_OF_BORDER:
        raise ScanError(f"image: its middle is darker than its border; {FIX}")


def _check(mask: Mask) -> None:
    border = _on_border(mask)
    if border > MOST_OF_BORDER or mask.mean() < LEAST_COVER:
        raise ScanError(
            f"image: what stands out covers {mask.mean():.0%} of it and {border:.0%} of its border, so it is no hand; "
            + FIX
        )
