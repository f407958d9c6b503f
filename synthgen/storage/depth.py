"""Depth encodings: 16-bit codes for storage, and normalization to zero mean and unit deviation for training."""

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SynthgenError

BACKGROUND = 3.0
"""Value of the background in a normalized depth image (Riegler et al. 2015)."""
_LAST_CODE = 2**16 - 1


def nearest_depth(depth_mm: NDArray[np.float32], steps_per_mm: float) -> float:
    """Return the nearest stored depth of an image (H, W), rounded down to whole mm; 0 if all is background.

    The nearest depth is first rounded as it will be stored, so that a decoded image gives the same value.
    """
    nearest = float(depth_mm.min(initial=np.inf))
    return float(np.floor(np.rint(nearest * steps_per_mm) / steps_per_mm)) if np.isfinite(nearest) else 0.0


def encode_depth(depth_mm: NDArray[np.float32], near_mm: float, steps_per_mm: float) -> NDArray[np.uint16]:
    """Return codes (H, W) ``round((z - near) * steps) + 1``, 0 for the background.

    Args:
        depth_mm: (H, W) camera-frame z, +inf for the background.
        near_mm: The depth whose code is 1.
        steps_per_mm: Codes per mm.

    Raises:
        SynthgenError: A depth does not fit in 16 bits.

    """
    hit = np.isfinite(depth_mm)
    depths = depth_mm[hit].astype(np.float64)
    steps = np.rint((depths - near_mm) * steps_per_mm) + 1
    if steps.size and (steps.min() < 1 or steps.max() > _LAST_CODE):
        reach = (_LAST_CODE - 1) / steps_per_mm
        raise SynthgenError(
            f"depth_steps_per_mm: value {steps_per_mm:g} covers {reach:.1f} mm from {near_mm:g} mm on, "
            f"but depths range from {depths.min():.1f} to {depths.max():.1f} mm; lower depth_steps_per_mm"
        )
    codes = np.zeros(depth_mm.shape, dtype=np.uint16)
    codes[hit] = steps
    return codes


def decode_depth(code: NDArray[np.uint16], near_mm: float, steps_per_mm: float) -> NDArray[np.float32]:
    """Return depths (H, W) in mm from their codes; +inf where the code is 0."""
    depth = near_mm + (code.astype(np.float64) - 1) / steps_per_mm
    return np.where(code > 0, depth, np.inf).astype(np.float32)


def normalize_depth(depth_mm: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, float]:
    """Normalize the foreground to zero mean and unit deviation, and set the background to 3.

    Args:
        depth_mm: (H, W), +inf for the background.

    Returns:
        The normalized image (H, W), and the mean and deviation in mm that invert the normalization:
        ``z = n * deviation + mean``. A flat foreground has deviation 1, an empty one mean 0 and deviation 1.

    """
    hit = np.isfinite(depth_mm)
    depths = depth_mm[hit].astype(np.float64)
    if not depths.size:
        return np.full(depth_mm.shape, BACKGROUND, dtype=np.float32), 0.0, 1.0
    mean, deviation = float(depths.mean()), float(depths.std()) if np.ptp(depths) > 0 else 1.0
    normalized = np.full(depth_mm.shape, BACKGROUND, dtype=np.float32)
    normalized[hit] = (depths - mean) / deviation
    return normalized, mean, deviation
