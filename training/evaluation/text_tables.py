"""Tables of results as text, for the report, for Markdown and for CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.training.evaluation.bootstrap import Interval, Stats
from synthgen.training.evaluation.paper_results import METHODS, paper_results
from synthgen.training.evaluation.results import RADII_MM, Results, Row
from synthgen.training.scans.scan_set import ScanSet

UNKNOWN = "—"


@dataclass(frozen=True)
class Table:
    """A table of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """As long as the columns; the first cell names the row."""


def method_table(results: Results) -> Table:
    """Return one row for each method, over all landmarks."""
    radii = "/".join(f"{radius:g}" for radius in RADII_MM)
    paper = paper_results(results.info.model, results.info.landmark_set)
    has_3d = any(method.overall.mm_3d for method in results.methods.values())
    columns = (
        "Method", "mean ± SD, px", "mean, 95 %", "RMSE, px", "mean ± SD, mm", "median, mm",
        *(["mean in 3D, mm"] * has_3d),
        f"within {radii} mm", f"beyond {radii} mm", "paper: RMSE, px",
    )  # fmt: skip
    rows = []
    for name, method in results.methods.items():
        row = method.overall
        space = [number(row.mm_3d.mean) if row.mm_3d else UNKNOWN] * has_3d
        paper_px = f"{paper.mean_rmse_px(name):.2f}" if paper and name in METHODS else UNKNOWN
        rows.append((name, *_errors(row), *space, *_shares(row), paper_px))
    return Table("All landmarks", columns, tuple(rows))


def landmark_table(results: Results, method: str) -> Table:
    """Return one row for each landmark of one method, and one for all."""
    radii = "/".join(f"{radius:g}" for radius in RADII_MM)
    found = results.methods[method]
    columns = (
        "Landmark", "mean ± SD, px", "mean, 95 %", "RMSE, px", "mean ± SD, mm", "median, mm",
        f"within {radii} mm", f"beyond {radii} mm", "known", "missing",
    )  # fmt: skip
    rows = [(name, *_errors(row), *_shares(row), str(row.known), str(row.missing))
            for name, row in [*found.landmarks.items(), ("all", found.overall)]]  # fmt: skip
    return Table(method, columns, tuple(rows))


def ratio_table(results: Results) -> Table:
    """Return the ratios of mean errors beside the paper's."""
    rows = [
        (one.name, number(one.value), ends(one.interval), UNKNOWN if one.paper is None else number(one.paper))
        for one in results.ratios
    ]
    return Table(f"Ratios of mean errors ({results.unit})", ("Ratio", "ours", "95 %", "paper"), tuple(rows))


def depth_table(results: Results) -> Table:
    """Return one row for each landmark, a column for each method: mean absolute depth errors."""
    names = list(results.depth)
    rows = [
        (landmark, *(spread(results.depth[name].landmarks[landmark]) for name in names))
        for landmark in results.info.landmark_names
    ]
    rows.append(("all", *(spread(results.depth[name].overall) for name in names)))
    return Table("Absolute depth errors, mean ± SD, mm", ("Landmark", *names), tuple(rows))


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    lines = [table.columns, ("---",) + ("---:",) * (len(table.columns) - 1), *table.rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def errors_csv(scans: ScanSet, results: Results) -> str:
    """Return every single error as CSV, one line for each method, scan and landmark; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("method", "id", "subject", "landmark", "error_px", "error_mm", "error_mm_3d"))
    for name, method in results.methods.items():
        found = method.errors
        space = np.full(found.px.shape, np.nan) if found.mm_3d is None else found.mm_3d
        for n, scan in enumerate(scans.scans):
            for k, landmark in enumerate(scans.info.landmark_names):
                values = (found.px[n, k], found.mm[n, k], space[n, k])
                cells = [f"{value:.4f}" if np.isfinite(value) else "" for value in values]
                writer.writerow((name, scan.id, scan.subject, landmark, *cells))
    return text.getvalue()


def number(value: float) -> str:
    """Return a number with two decimals, a dash where it is not known."""
    return f"{value:.2f}" if np.isfinite(value) else UNKNOWN


def spread(stats: Stats) -> str:
    """Return mean ± SD."""
    if not np.isfinite(stats.mean):
        return UNKNOWN
    return f"{stats.mean:.2f} ± {stats.sd:.2f}" if np.isfinite(stats.sd) else number(stats.mean)


def ends(interval: Interval | None) -> str:
    """Return the two ends of an interval."""
    return UNKNOWN if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"


def _errors(row: Row) -> tuple[str, ...]:
    return spread(row.px), ends(row.px.mean_interval), number(row.px.rmse), spread(row.mm), number(row.mm.median)


def _shares(row: Row) -> tuple[str, str]:
    if row.success is None or row.outliers is None:
        return UNKNOWN, UNKNOWN
    within: Sequence[str] = [f"{100 * share:.0f}" for share in row.success]
    return f"{' / '.join(within)} %", " / ".join(map(str, row.outliers))
