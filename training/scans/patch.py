"""From a real scan to a patch of the common domain, with landmarks that follow and an exact way back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthgen.errors import ScanError
from synthgen.framing import Box, Frame, FrameDraw, frame_box, silhouette_box
from synthgen.geometry import Floats
from synthgen.specs.domain import Domain
from synthgen.specs.spec import ResolvedSpec
from synthgen.training.scans.formats.image_types import Picture, Volume
from synthgen.training.scans.formats.landmark_files import Points
from synthgen.training.scans.orientation import orient, seen, side_of_hand
from synthgen.training.scans.radiograph import binarize_radiograph
from synthgen.training.scans.silhouette import Steps, Threshold, binarize, choose_threshold, clean, count_planes
from synthgen.training.scans.table import ScanSettings, Side

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ScanPatch:
    """A scan in the common domain: a left hand seen from its back, or a body as it was asked to be seen."""

    mask: Mask
    """(H, W)"""
    depth_mm: NDArray[np.float32] | None
    """(H, W) from the volume's nearest outer face to the first tissue, NaN for the background; None for 2D."""
    landmarks_px: Floats
    """(K, 2) continuous pixels of the patch, NaN where missing."""
    landmarks_mm: Floats
    """(K, 3) LPS, NaN where missing and for 2D."""
    patch_to_source: Floats
    """(4, 4) homogeneous: (x_px, y_px, depth_mm, 1) to LPS mm; for 2D (x_px, y_px, 0, 1) to the source's pixels."""
    mm_per_px: float
    """Size of a pixel, the geometric mean of x and y where they differ; NaN for 2D without a spacing."""
    side: Side | None
    """Whose hand, the patient's; a right hand is mirrored in the patch. None for a body."""
    touches_border: bool
    """The silhouette is cut off by a border of the scan, other than a hand's forearm by the lower one."""
    settings: Mapping[str, Any]
    """What was really used."""


@dataclass(frozen=True)
class _Plane:
    """A silhouette in the scan's own pixels, not yet mirrored."""

    mask: Mask
    depth_mm: NDArray[np.float32] | None
    spacing: tuple[float, float]
    """Of its pixels along x and y: mm, or 1 where unknown."""
    to_source: Floats
    """(4, 4) homogeneous: (x, y, depth_mm, 1), with x and y in units of the spacing, to LPS mm or pixels."""
    side: Side | None
    used: dict[str, Any]
    finer: Callable[[Box], Box] = lambda box: box
    """Moves the free borders of the silhouette's box, in pixels of the plane, to where the tissue really ends."""


def scan_patch(image: Volume | Picture, points: Points | None, settings: ScanSettings, spec: ResolvedSpec) -> ScanPatch:
    """Bring a scan to the common domain.

    Args:
        image: The scan.
        points: Its landmarks, as far as they are known.
        settings: How; what is not set there gets the model's default.
        spec: The spec of the patches: its model, image size, framing and landmarks count.

    Raises:
        ScanError: The scan cannot be used so; the text names the setting and the fix.
    """
    return domain_patch(image, points, settings, Domain.of_spec(spec))


def domain_patch(image: Volume | Picture, points: Points | None, settings: ScanSettings, domain: Domain) -> ScanPatch:
    """Bring a scan to a domain, such as that of a network; otherwise as `scan_patch`."""
    framing = domain.patch_framing
    hand = domain.model == "hand"
    settings = settings.for_model("hand" if hand else "body")
    if isinstance(image, Volume):
        points_mm = _to_lps(image, points)
        plane, places = _of_volume(image, points_mm, settings, hand=hand), points_mm
    else:
        places = _to_pixels(points)
        plane, points_mm = _of_picture(image, places, settings, hand=hand), {}
    mirrored = plane.side == "right"
    mask = plane.mask[:, ::-1] if mirrored else plane.mask
    box, touches = silhouette_box(plane.mask)
    box = plane.finer(box)
    if mirrored:
        width = mask.shape[1]
        box = Box(width - box.right, box.top, width - box.left, box.bottom)
        touches = frozenset({"left": "right", "right": "left"}.get(border, border) for border in touches)
    margin = sum(framing.margin.support()) / 2
    size = (domain.width, domain.height)
    frame = frame_box(box.scaled(*plane.spacing), touches, size, FrameDraw(margin), framing.aspect)
    to_source = plane.to_source @ _mirror(mask.shape[1] * plane.spacing[0] if mirrored else None) @ _inverse(frame)
    in_patch = {name: np.linalg.solve(to_source, [*place, 1.0])[:2] for name, place in places.items()}
    patch, depth = _sample(mask, plane, frame, mirrored=mirrored)
    known = isinstance(image, Volume) or plane.used["mm_per_px"] is not None
    return ScanPatch(
        mask=patch,
        depth_mm=depth,
        landmarks_px=_table(in_patch, domain.landmarks, 2),
        landmarks_mm=_table(points_mm, domain.landmarks, 3),
        patch_to_source=to_source,
        mm_per_px=float(np.sqrt(frame.mm_per_px_x * frame.mm_per_px_y)) if known else float("nan"),
        side=plane.side,
        touches_border=bool(touches - {"bottom"} if hand else touches),
        settings=plane.used | {"mirrored": mirrored, "cut_by": sorted(touches)},
    )


def _of_volume(image: Volume, points_mm: Mapping[str, Floats], settings: ScanSettings, *, hand: bool) -> _Plane:
    if settings.method == "radiograph":
        raise ScanError("method: radiograph, but the scan is a volume; use auto, volume or mask")
    if settings.method == "mask":
        given = settings.threshold
        threshold = Threshold(given if isinstance(given, float) else 0.0, "given", is_hu=False)
    else:
        threshold = choose_threshold(image.voxels, settings.threshold)
    facing = orient(image, settings, points_mm, lambda: count_planes(image.voxels, threshold), hand=hand)
    looked_at = seen(image, facing.view)
    found = binarize(looked_at, threshold, _steps(settings))
    spacing = looked_at.spacing_mm
    return _Plane(
        mask=found.mask,
        depth_mm=found.depth_mm,
        spacing=(float(spacing[0]), float(spacing[1])),
        to_source=looked_at.affine @ np.diag([*(1 / spacing), 1.0]),
        side=facing.side,
        used={
            "method": "mask" if settings.method == "mask" else "volume",
            "mm_per_px": (float(spacing[0]), float(spacing[1])),
            "threshold": threshold.value, "threshold_rule": threshold.how,
            "up": facing.up, "viewed_from": facing.viewed_from, "table_removed": found.table_removed,
        } | _switches(settings),
        finer=lambda box: finer_box(box, found.mask, looked_at.voxels, threshold.value),
    )  # fmt: skip


def finer_box(box: Box, mask: Mask, voxels: NDArray[Any], threshold: float) -> Box:
    """Move the borders of a silhouette's box from those of whole voxels to where the values cross the threshold.

    At each border the outermost tissue voxels are compared with their neighbours outside: the threshold is crossed
    somewhere between the two centres. A border of the volume stays, and so does one behind which something else lies.

    Args:
        box: Of the silhouette, in pixels of the mask.
        mask: (H, W)
        voxels: (H, W, D)
        threshold: Above it is tissue.
    """
    top, left = int(box.top), int(box.left)
    bottom, right = int(box.bottom) - 1, int(box.right) - 1
    sideways, across = voxels.transpose(1, 0, 2), mask.T
    return Box(
        left=box.left - _beyond(across, sideways, (left, left - 1), threshold),
        top=box.top - _beyond(mask, voxels, (top, top - 1), threshold),
        right=box.right + _beyond(across, sideways, (right, right + 1), threshold),
        bottom=box.bottom + _beyond(mask, voxels, (bottom, bottom + 1), threshold),
    )


def _beyond(mask: Mask, voxels: NDArray[Any], lines: tuple[int, int], threshold: float) -> float:
    """Return how far tissue reaches beyond its outermost line of voxels, in [-0.5, 0.5] voxels."""
    last, outer = lines
    places = np.flatnonzero(mask[last])
    if not 0 <= outer < len(mask) or not len(places):
        return 0.0
    inside = voxels[last, places].max(axis=1).astype(np.float64)
    outside = voxels[outer, places].max(axis=1).astype(np.float64)
    fits = (inside > threshold) & (outside <= threshold)
    inside, outside = inside[fits], outside[fits]
    return float(((inside - threshold) / (inside - outside)).max()) - 0.5 if len(inside) else 0.0


def _of_picture(image: Picture, places: Mapping[str, Floats], settings: ScanSettings, *, hand: bool) -> _Plane:
    if settings.method == "volume":
        raise ScanError("method: volume, but the scan is a 2D image; use auto, radiograph or mask")
    pixels = image.pixels
    spacing = (settings.mm_per_px, settings.mm_per_px) if settings.mm_per_px else image.mm_per_px
    method = settings.method
    if method == "auto":
        method = "mask" if len(np.unique(pixels)) <= 2 else "radiograph"
    mask, threshold = _mask_of_picture(image, settings, method, spacing)
    if not mask.any():
        raise ScanError(f"threshold: no pixel lies above {threshold}; give another one in its column")
    unit = spacing or (1.0, 1.0)
    return _Plane(
        mask=mask,
        depth_mm=None,
        spacing=unit,
        to_source=np.diag([1 / unit[0], 1 / unit[1], 1.0, 1.0]),
        side=side_of_hand(settings.side, places) if hand else None,
        used={"method": method, "threshold": threshold, "mm_per_px": spacing} | _switches(settings),
    )


def _mask_of_picture(
    image: Picture, settings: ScanSettings, method: str, spacing: tuple[float, float] | None
) -> tuple[Mask, float | None]:
    """Return the silhouette (H, W), and the threshold that was used, None where there is not one for all pixels."""
    pixels, rule = image.pixels, settings.threshold
    if rule == "hounsfield":
        raise ScanError("threshold: hounsfield is for CT volumes; use a number, otsu, or leave it empty")
    if method == "radiograph" and rule is None:
        return binarize_radiograph(image, _steps(settings), spacing), None
    if rule is None:
        value = (float(pixels.min()) + float(pixels.max())) / 2
    else:
        value = choose_threshold(pixels[:, :, None], rule).value
    return clean(pixels > value, spacing, _steps(settings)), value


def _steps(settings: ScanSettings) -> Steps:
    return Steps(
        remove_table=bool(settings.remove_table) and settings.method != "mask",
        fill_holes=settings.fill_holes is not False,
        largest=settings.largest is not False,
        min_speckle_mm2=settings.min_speckle_mm2,
    )


def _switches(settings: ScanSettings) -> dict[str, Any]:
    steps = _steps(settings)
    return {
        "remove_table": steps.remove_table, "fill_holes": steps.fill_holes, "largest": steps.largest,
        "min_speckle_mm2": steps.min_speckle_mm2,
    }  # fmt: skip


def _to_lps(image: Volume, points: Points | None) -> dict[str, Floats]:
    """Return landmarks (3,) in LPS mm by name."""
    if points is None:
        return {}
    if points.frame == "pixel":
        raise ScanError(
            "landmarks: pixels x, y belong to a 2D image, and the scan is a volume; give x_mm, y_mm, z_mm or i, j, k"
        )
    affine = image.affine if points.frame == "voxel" else np.eye(4)
    return {name: (affine @ [*place, 1.0])[:3] for name, place in points.points.items()}


def _to_pixels(points: Points | None) -> dict[str, Floats]:
    """Return landmarks (3,) by name: continuous pixels x and y, and 0."""
    if points is None:
        return {}
    if points.frame != "pixel":
        raise ScanError("landmarks: the scan is a 2D image, and they are 3D points; give its pixels as x and y")
    return {name: np.array([*place, 0.0]) for name, place in points.points.items()}


def _mirror(width: float | None) -> Floats:
    """Return (4, 4): the plane mirrored in x about its middle, or as it is."""
    mirror = np.eye(4)
    if width is not None:
        mirror[0, 0], mirror[0, 3] = -1, width
    return mirror


def _inverse(frame: Frame) -> Floats:
    """Return (4, 4): continuous patch pixels and depth to the plane; depth stays as it is."""
    inverse = np.eye(4)
    inverse[np.ix_([0, 1, 3], [0, 1, 3])] = frame.inverse()
    return inverse


def _sample(mask: Mask, plane: _Plane, frame: Frame, *, mirrored: bool) -> tuple[Mask, NDArray[np.float32] | None]:
    """Sample a silhouette, and its depth, at the centres of the patch's pixels.

    As the renderer does; between the scan's pixels the silhouette is interpolated. Depth is the nearest pixel's.
    """
    height, width = mask.shape
    x = (frame.left + (np.arange(frame.width) + 0.5) * frame.mm_per_px_x) / plane.spacing[0]
    y = (frame.top + (np.arange(frame.height) + 0.5) * frame.mm_per_px_y) / plane.spacing[1]
    inside = np.logical_and.outer((y >= 0) & (y < height), (x >= 0) & (x < width))
    where = np.stack(np.meshgrid(y - 0.5, x - 0.5, indexing="ij"))
    patch = (ndimage.map_coordinates(mask.astype(np.float32), where, order=1, mode="nearest") >= 0.5) & inside
    if plane.depth_mm is None:
        return patch, None
    depth = plane.depth_mm[:, ::-1] if mirrored else plane.depth_mm
    rows, columns = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    row = np.clip(np.floor(y), 0, height - 1).astype(np.intp)[:, None]
    column = np.clip(np.floor(x), 0, width - 1).astype(np.intp)
    nearest = depth[rows[row, column], columns[row, column]]
    return patch, np.where(patch, nearest, np.float32(np.nan))


def _table(places: Mapping[str, Floats], names: tuple[str, ...], size: int) -> Floats:
    """Return (K, size) in the order of names, NaN where missing."""
    missing = np.full(size, np.nan)
    return np.array([places.get(name, missing) for name in names]).reshape(len(names), size)
