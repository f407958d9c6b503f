"""Landmarks of new scans: scan in, landmarks in the scan's own frame out, each with its uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthgen.errors import ScanError
from synthgen.geometry import Floats
from synthgen.pictures.contact_sheet import Tile, contact_sheet
from synthgen.training.evaluation.errors import to_source
from synthgen.training.experiments.cross_validation import read_prior
from synthgen.training.experiments.tuning import predict_block, scan_block
from synthgen.training.loop.checkpoint import Checkpoint, check_same_domain, load_checkpoint
from synthgen.training.loop.device import Device
from synthgen.training.scans.child_reader import ChildReader
from synthgen.training.scans.formats.landmark_files import Points, write_csv, write_json, write_markups
from synthgen.training.scans.import_scan import import_scan
from synthgen.training.scans.scan_set import Scan
from synthgen.training.scans.table import ScanRow, ScanSettings
from synthgen.training.streaming.augmentation import Augmentation, draw_moves, move_images, move_points
from synthgen.training.streaming.packed_samples import Block, pack_masks, unpack_masks

VIEWS = 16
"""Slightly changed copies of a patch, whose predictions' spread is the uncertainty."""
_CHANGES = Augmentation(rotation_deg=4.0, scale=0.04, shift=0.02)


@dataclass(frozen=True)
class Networks:
    """What finds the landmarks, and on what device."""

    main: Checkpoint
    depth: Checkpoint | None
    """A network on depth for the third coordinate, where the main one sees silhouettes alone."""
    prior: Floats | None
    """(K,) mean normalized depth of each landmark over the training scans, for want of a network on depth."""
    device: Device


@dataclass(frozen=True)
class Found:
    """The landmarks of one scan."""

    scan: Scan
    names: tuple[str, ...]
    points_px: Floats
    """(K, 2) continuous pixels of the patch."""
    source: Floats
    """(K, 3) LPS mm, or pixels of a 2D source and 0."""
    spread_mm: Floats
    """(K,) standard deviation over slightly changed views, in the image plane: mm, or patch pixels without spacing."""
    depth_from: str
    """Where the third coordinate is from: the network, the mean of the training scans, or nowhere."""


def load_networks(model: Path, depth_model: Path | None, device: Device) -> Networks:
    """Load what finds landmarks.

    Args:
        model: Folder of a network.
        depth_model: Folder of a network on depth, for the third coordinate; None does without.
        device: Where they run.

    Raises:
        SynthgenError: A folder holds no whole network, or the two do not fit each other.

    """
    main, depth = load_checkpoint(model), None
    if depth_model is not None:
        depth = load_checkpoint(depth_model)
        check_same_domain(depth, main.domain, depth_model, str(model))
        if depth.config.input != "depth":
            raise ScanError(
                f"--depth-model: value {depth_model}; it sees silhouettes, give a network that was trained with "
                "--input depth"
            )
    return Networks(main, depth, read_prior(model, len(main.domain.landmarks)), device)


def find_landmarks(image: Path, settings: ScanSettings, networks: Networks, reader: ChildReader | None = None) -> Found:
    """Find the landmarks of a scan.

    Args:
        image: A file or a DICOM folder.
        settings: Side and orientation, as in a table of scans.
        networks: The networks; the scan is converted to their domain.
        reader: The process that reads it; None starts one, which takes about a second, and ends it.

    Raises:
        ScanError: The scan cannot be used.

    """
    if reader is None:
        with ChildReader() as own:
            return find_landmarks(image, settings, networks, own)
    name = image.name.removesuffix(".gz").rsplit(".", 1)[0] or image.name
    row = ScanRow(0, name, name, image, None, settings)
    scan = reader.call(image, import_scan, row, image, networks.main.domain).scan
    block = scan_block([scan], networks.main.config.input)
    points = predict_block(networks.main, block, networks.device).points_px[0]
    depths, origin = _depths(scan, networks)
    scale = scan.mm_per_px if np.isfinite(scan.mm_per_px) else 1.0
    spread = _spread(networks, block) * scale
    return Found(scan, networks.main.domain.landmarks, points, to_source(scan, points, depths), spread, origin)


def _depths(scan: Scan, networks: Networks) -> tuple[Floats | None, str]:
    """Return the depth of each landmark, mm along the patch's depth, and where it is from."""
    if scan.depth_mm is None:
        return None, "nowhere, the scan is 2D"
    network = networks.main if networks.main.config.input == "depth" else networks.depth
    if network is not None:
        found = predict_block(network, scan_block([scan], "depth"), networks.device).depth_mm
        if found is not None:
            return found[0], "the network on depth"
    if networks.prior is None:
        raise ScanError("--depth-model: missing; this model sees silhouettes alone, and knows no mean depth either")
    seen = scan.depth_mm[np.isfinite(scan.depth_mm)].astype(np.float64)
    return networks.prior * seen.std() + seen.mean(), "the mean of the training scans"


def _spread(networks: Networks, block: Block) -> Floats:
    """Return how much the points move over slightly changed views of one patch, (K,) pixels."""
    domain = networks.main.domain
    numbers, size = np.arange(VIEWS, dtype=np.int64), (domain.width, domain.height)
    moves = draw_moves(_CHANGES, 0, 0, numbers)
    many = block.take(np.zeros(VIEWS, dtype=np.intp))
    masks = networks.main.config.input == "mask"
    images: NDArray[Any] = unpack_masks(many.images, domain.width) if masks else many.images
    moved = move_images(np.ascontiguousarray(images), moves)
    views = replace(many, indices=numbers, images=pack_masks(moved) if masks else moved)
    found = predict_block(networks.main, views, networks.device).points_px
    back = np.stack([_undone(points, move, size) for points, move in zip(found, moves, strict=True)])
    spread: Floats = np.sqrt(back.var(axis=0, ddof=1).sum(axis=1))
    return spread


def _undone(points: Floats, move: Floats, size: tuple[int, int]) -> Floats:
    """Return where points (K, 2) of a moved patch lie in the patch."""
    places = move_points(np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), move[None], size)[0]
    linear = np.stack([places[1] - places[0], places[2] - places[0]], axis=1)
    return np.linalg.solve(linear, (points - places[0]).T).T


def file_name(found: Found, stem: str) -> str:
    """Return a name for a file of landmarks: Slicer's markups, or JSON for a 2D scan, of which there are none."""
    return f"{stem}.json" if found.scan.depth_mm is None else f"{stem}.mrk.json"


def write_found(found: Found, out: Path) -> None:
    """Write landmarks with their uncertainty as Slicer markups (``.mrk.json``), CSV or JSON, by the file's name.

    Raises:
        ScanError: The name has another ending, or markups are asked for of a 2D scan.

    """
    name = out.name.lower()
    spreads = dict(zip(found.names, found.spread_mm.tolist(), strict=True))
    unit = "mm" if np.isfinite(found.scan.mm_per_px) else "px"
    if name.endswith(".mrk.json"):
        if found.scan.depth_mm is None:
            raise ScanError(f"--out: value {out}; Slicer's markups are 3D and the scan is 2D, write .csv or .json")
        depth = f"depth: {found.depth_from}"
        remarks = {label: f"uncertainty {spread:.1f} {unit}; {depth}" for label, spread in spreads.items()}
        write_markups(out, _by_name(found, 3), remarks)
    elif name.endswith(".csv"):
        write_csv(out, _points(found), {f"uncertainty_{unit}": spreads})
    elif name.endswith(".json"):
        write_json(out, _points(found), {f"uncertainty_{unit}": spreads})
    else:
        raise ScanError(f"--out: value {out}; its name must end in .mrk.json, .csv or .json")


def _points(found: Found) -> Points:
    flat = found.scan.depth_mm is None
    return Points("pixel" if flat else "lps_mm", _by_name(found, 2 if flat else 3))


def _by_name(found: Found, count: int) -> Mapping[str, tuple[float, ...]]:
    return {name: tuple(point[:count].tolist()) for name, point in zip(found.names, found.source, strict=True)}


def picture(found: Found) -> Image.Image:
    """Draw the patch with the landmarks that were found."""
    caption = ", ".join(f"{name} ±{spread:.1f}" for name, spread in zip(found.names, found.spread_mm, strict=True))
    tile = Tile(found.scan.mask, found.scan.depth_mm, found.points_px, found.names)
    return contact_sheet([tile], scale=max(1, 480 // found.scan.mask.shape[0]), title=f"{found.scan.id}: {caption}")
