"""Scan sets from a user's table of scans: built, checked, listed and looked at."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from synthgen.errors import ScanError
from synthgen.pictures.contact_sheet import Tile, contact_sheet
from synthgen.specs.domain import Domain
from synthgen.specs.spec import ResolvedSpec, name_of, spec_hash
from synthgen.training.scans.child_reader import ChildReader
from synthgen.training.scans.import_scan import ImportedScan, import_scan
from synthgen.training.scans.scan_set import Scan, ScanSet, ScanSetInfo, write_scanset
from synthgen.training.scans.table import ScanRow, read_scan_table

Report = Callable[[ScanRow, int, int], None]
"""Receives progress: the current scan, the number done, and the total."""


@dataclass(frozen=True)
class Refused:
    """A scan that was left out, or looks wrong."""

    row: ScanRow
    reason: str
    """One line that names the file."""


@dataclass(frozen=True)
class Built:
    """The scans of a table that could be converted to the common domain, and those that could not."""

    set: ScanSet
    refused: tuple[Refused, ...]


def scanset_info(spec: ResolvedSpec) -> ScanSetInfo:
    """Return what all scans of a spec have in common."""
    return ScanSetInfo(
        landmark_set=name_of("landmarks", spec.landmarks) or "custom",
        landmark_names=spec.landmarks.names,
        model=spec.model,
        width=spec.image.width,
        height=spec.image.height,
        framing=Domain.of_spec(spec).framing,
        spec_sha256=spec_hash(spec),
    )


def build(
    table: Path, spec: ResolvedSpec, out: Path, *, skip_bad: bool = False, report: Report = lambda *_: None
) -> Built:
    """Bring the scans of a table to the common domain and write them to a scan set.

    Args:
        table: ``scans.csv``.
        spec: Resolved.
        out: The HDF5 file.
        skip_bad: Leave out scans that cannot be used, rather than stop at the first.
        report: Receives progress.

    Raises:
        ScanError: The table or a scan cannot be used; nothing is written then.

    """
    scans, refused = [], []
    for row, result in _imported(table, spec, report):
        problem = result if isinstance(result, str) else next(iter(result.problems), None)
        if problem is None and not isinstance(result, str):
            scans.append(result.scan)
            continue
        if not skip_bad:
            raise ScanError(f"scan {row.id} (line {row.line}): {problem}")
        refused.append(Refused(row, str(problem)))
    if not scans:
        raise ScanError(f"{table}: none of its {len(refused)} scans can be used; the first: {refused[0].reason}")
    built = ScanSet(scanset_info(spec), tuple(scans))
    write_scanset(out, built.info, built.scans)
    return Built(built, tuple(refused))


def check(table: Path, spec: ResolvedSpec, report: Report = lambda *_: None) -> tuple[list[Scan], list[Refused]]:
    """Convert all scans of a table to the common domain without writing them, and report every problem."""
    scans, wrong = [], []
    for row, result in _imported(table, spec, report):
        if isinstance(result, str):
            wrong.append(Refused(row, result))
            continue
        scans.append(result.scan)
        wrong += [Refused(row, problem) for problem in result.problems]
    return scans, wrong


def _imported(table: Path, spec: ResolvedSpec, report: Report) -> Iterator[tuple[ScanRow, ImportedScan | str]]:
    """Yield each scan or the reason against it."""
    rows, domain = read_scan_table(table), Domain.of_spec(spec)
    with ChildReader() as reader:
        for done, row in enumerate(rows):
            report(row, done, len(rows))
            try:
                yield row, reader.call(row.image, import_scan, row, table, domain)
            except ScanError as error:
                yield row, str(error)


def preview(scans: list[Scan] | tuple[Scan, ...], names: tuple[str, ...], title: str) -> Image.Image:
    """Draw every scan's patch with its landmarks."""
    return contact_sheet([_tile(scan, names) for scan in scans], title=title)


def _tile(scan: Scan, names: tuple[str, ...]) -> Tile:
    caption = f"{scan.id}{' (right)' if scan.side == 'right' else ''}{' touches a border' * scan.touches_border}"
    return Tile(scan.mask, scan.depth_mm, scan.landmarks_px, names, caption)


def listing(scans: ScanSet) -> Iterator[tuple[str, ...]]:
    """Yield a row for each scan: id, subject, side, mm per pixel, landmarks known, threshold and remarks."""
    for scan in scans.scans:
        known = int(np.isfinite(scan.landmarks_px).all(axis=1).sum())
        used = json.loads(scan.settings).get("used", {})
        scale = f"{scan.mm_per_px:.3f}" if np.isfinite(scan.mm_per_px) else "unknown"
        view = [f"up {used['up']}", f"from {used['viewed_from']}"] if "up" in used else []
        limit = used.get("threshold")
        rule = [f"{used.get('threshold_rule', 'threshold')} {limit:g}"] if isinstance(limit, int | float) else []
        table = ["table removed"] if used.get("table_removed") else []
        how = ", ".join([str(used.get("method", "")), *rule, *view, *table])
        border = "touches a border" if scan.touches_border else ""
        yield scan.id, scan.subject, scan.side, scale, f"{known}/{len(scans.info.landmark_names)}", border, how
