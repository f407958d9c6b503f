"""Scan sets: real scans in the domain of the renderings."""

from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import need

if TYPE_CHECKING:
    from synthgen.specs.spec import ResolvedSpec
    from synthgen.training.scans.build import Built
    from synthgen.training.scans.scan_set import ScanSet


def build_scan_set(
    table: str | Path, spec: "str | Path | ResolvedSpec", out: str | Path, *, skip_bad: bool = False
) -> "Built":
    """Binarize and crop the scans of a table, and write them with their landmarks to one HDF5 file.

    The scans are read in a child process, because they are not trusted. An existing file is replaced.

    Args:
        table: CSV file with the columns ``id``, ``subject``, ``image``, ``landmarks`` and settings (docs/scans.md).
        spec: As in `load_spec`: patch size, framing and landmarks.
        out: HDF5 file to write.
        skip_bad: Leave out scans that cannot be used, instead of stopping at the first.

    Returns:
        ``.set``, as `open_scan_set` returns it, and ``.refused``, the scans that were left out, each with the reason.

    Raises:
        SynthgenError: The table or a scan cannot be used; nothing is written then.

    Example:
        ``len(synthgen.build_scan_set("phantoms/scans.csv", "hand", "scans.h5").set.scans)``

    """
    need("h5py", "SimpleITK")
    from synthgen.api.rendering import load_spec
    from synthgen.training.scans.build import build

    return build(Path(table), load_spec(spec), Path(out), skip_bad=skip_bad)


def open_scan_set(path: str | Path) -> "ScanSet":
    """Read a scan set.

    Args:
        path: HDF5 file that `build_scan_set` wrote.

    Returns:
        ``.info`` with the ``landmark_names`` and the patch size, and ``.scans``, each with ``.mask`` (H, W) bool,
        ``.depth_mm`` (H, W) float32 or None, ``.landmarks_px`` (K, 2) pixels of the patch, ``.landmarks_mm`` (K, 3) LPS
        mm, NaN where missing, and ``.patch_to_source`` (4, 4).

    Raises:
        SynthgenError: It is not a scan set, or it is damaged.

    Example:
        ``synthgen.open_scan_set("scans.h5").scans[0].landmarks_px``

    """
    need("h5py")
    from synthgen.training.scans.scan_set import read_scanset

    return read_scanset(Path(path))
