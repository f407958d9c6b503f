"""The scanner's table in a volume: thin plates across the depth direction, the same in every row.

The paper counts the high voxels along the depth direction, of which a body has more than a table. Here the count says
which columns hold the table alone; these tell how deep its surface lies, at each x and with the table's tilt and sag
along y, and everything from that surface on is removed, below the body too. So what lies on the table keeps all its
columns, and nothing is removed where no column shows a table alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthgen.geometry import Floats
from synthgen.training.scans.orientation import Seen

SAMPLED_ROWS = 256
"""Rows that are looked at, evenly spread."""
THICK_MM = 60.0
"""A column with more tissue than this along depth is not the table."""
PLATE_MM = 35.0
"""A single plate is at most this thick, and a voxel at each face."""
STRUCTURE_MM = 100.0
"""A table reaches at most this far in depth at one x, from its first plate to its last."""
LEAST_WIDTH_MM, LEAST_PIECE_MM = 120.0, 40.0
"""A table is seen over this width in one piece, or in pieces of at least the other that the volume's sides cut off:
hands, which are flat too, are narrower."""
SIDE_MM = 10.0
"""A piece that begins so near to a side of the volume is cut off by it."""
STEEPEST = 1.2
"""It rises by at most this much in depth per x; the rim of a limb is steeper."""
LEAST_ROWS, SAME_DEPTH, LEAST_PLATE = 0.6, 0.6, 0.25
"""A table is in this share of the rows; in these shares of those, its back fits the model, and it is thin."""
ALL_ROWS = 0.9
"""A piece that is cut off is bare in this share of the rows."""
RIM_ROWS = 0.05
"""Next to such columns it continues as long as this share of the rows shows it: a tilted table."""
LEAST_BODY = 0.02
"""Where fewer columns than this are thick there is no body, and what is thin must be the subject."""
USUAL_MM, HIGHER_MM = 60.0, 25.0
"""What a table measures is found within this distance along x, and nowhere exceeded by more than the other in depth."""
FREE_ROWS = 0.04
"""The extent of the table is determined by at least this many rows."""
LARGEST_GAP_MM = 100.0
"""Over this width without a free column the surface is interpolated."""
RIM_MM = 3.0
"""The table's rim, blurred by partial volume, is removed so far beyond the last column where it is seen."""

Depths = NDArray[np.int64]


@dataclass(frozen=True)
class _Columns:
    """What stands in each column (rows, W) along depth, in voxels from the table's side."""

    back: Depths
    """First faint voxel from the table's side; D where there is none."""
    plate: Depths
    """Length of the first run of faint voxels."""
    count: Depths
    """Faint voxels in the zone, which begins at the back and holds any table."""
    front: Depths
    """Last faint voxel in the zone."""
    tissue: Depths
    """Tissue voxels, in all of the column."""
    beyond: Depths
    """Tissue voxels beyond the zone."""


def table_start(seen: Seen, air: float, threshold: float) -> tuple[Depths, bool] | None:
    """Find the table in a volume.

    Args:
        seen: The volume as it is looked at.
        air: The value of air.
        threshold: Above it a voxel is tissue. A table is looked for halfway between the two, where partial volume and
            noise do not break it.

    Returns:
        (H, W) the depth index from which on all is table, D where none is, and False; or, for a table between the
        viewer and the body, the index before which all is table, 0 where none is, and True. None: there is no table.
    """
    height, _, deep = seen.voxels.shape
    rows = np.unique(np.linspace(0, height - 1, min(height, SAMPLED_ROWS)).round().astype(np.int64))
    for behind in (True, False):
        sampled = seen.voxels[:, :, ::-1] if behind else seen.voxels
        columns = _columns(sampled, rows, (air, threshold), max(1, round(STRUCTURE_MM / seen.spacing_mm[2])))
        surface = _surface(columns, rows, height, seen.spacing_mm)
        if surface is not None:
            return (deep - surface, False) if behind else (surface, True)
    return None


def _columns(voxels: NDArray[np.generic], rows: Depths, levels: tuple[float, float], zone: int) -> _Columns:
    """Look at the columns of some rows.

    Args:
        voxels: (H, W, D), depth from the table's side.
        rows: (n,) which.
        levels: Of air and of the threshold; a voxel halfway between them is faint.
        zone: Voxels in the zone.
    """
    deep = voxels.shape[2]
    index = np.arange(deep)
    found: list[tuple[Depths, ...]] = []
    for row in rows:
        faint = np.greater(voxels[row], sum(levels) / 2, order="C")
        tissue = np.greater(voxels[row], levels[1], order="C")
        back = np.where(faint.any(axis=1), faint.argmax(axis=1), deep)[:, None]
        solid = faint | (index < back)
        plate = np.where(solid.all(axis=1), deep, solid.argmin(axis=1)) - back[:, 0]
        inside = index < back + zone
        held = faint & inside
        front = deep - 1 - held[:, ::-1].argmax(axis=1)
        beyond = (tissue & ~inside).sum(axis=1)
        found.append((back[:, 0], plate, held.sum(axis=1), front, tissue.sum(axis=1), beyond))
    return _Columns(*(np.stack(values) for values in zip(*found, strict=True)))


def _surface(columns: _Columns, rows: Depths, height: int, spacing_mm: Floats) -> Depths | None:
    """Return (H, W), how many voxels from the table's side belong to the table; None without a table."""
    width_mm, _, deep_mm = spacing_mm
    filled, thick = columns.count > 0, columns.tissue * deep_mm > THICK_MM
    if thick.mean() < LEAST_BODY:
        return None
    thin = filled & (columns.plate * deep_mm <= PLATE_MM + 2 * deep_mm)
    along = rows / max(height - 1, 1) * 2 - 1
    sag, back = _sag_and_level(np.where(thin, columns.back, np.nan), along)
    if sag is None:
        return None
    bend = _bend(along, sag)[:, None]
    same = filled & (np.abs(columns.back - back - bend) <= 1 + 1 / deep_mm)
    rows_filled = filled.sum(axis=0)
    bare = (same & thin).sum(axis=0)
    certain = (
        (rows_filled >= LEAST_ROWS * len(rows))
        & (same.sum(axis=0) >= SAME_DEPTH * rows_filled)
        & (bare >= LEAST_PLATE * rows_filled)
    )
    is_table = _pieces(certain, bare / len(rows), back, spacing_mm)
    if not is_table.any():
        return None
    free = _free(columns, same & thin & is_table, spacing_mm)
    top = _level_of_top(np.where(free, columns.front - bend, np.nan), back, is_table, width_mm)
    surface = top[None, :] + _bend(np.linspace(-1, 1, height), sag)[:, None]
    # From an index to a number of voxels, and one more, which partial volume and noise may reach.
    removed = np.where(np.isnan(surface), 0, np.rint(np.nan_to_num(surface)) + 2).astype(np.int64)
    return removed if removed.any() else None


def _pieces(certain: NDArray[np.bool_], bare: Floats, level: Floats, spacing_mm: Floats) -> NDArray[np.bool_]:
    """Return (W,) where the table is: long pieces of certain columns, and what goes on beside them without a jump.

    Args:
        certain: (W,) where most rows look like a table.
        bare: (W,) in how many of the rows a thin plate is seen, 0 to 1.
        level: (W,) its depth.
        spacing_mm: Of the voxels.
    """
    width_mm, _, deep_mm = spacing_mm
    jump = np.abs(np.diff(level, prepend=level[:1])) > 1.5 + STEEPEST * width_mm / deep_mm
    side = max(1, round(SIDE_MM / width_mm))

    def numbered(where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return (np.cumsum(jump | ~where) + 1) * where

    def long(where: NDArray[np.bool_], least_mm: float) -> NDArray[np.int64]:
        pieces = numbered(where)
        kept = np.bincount(pieces)[pieces] * width_mm >= least_mm
        return np.where(kept, pieces, 0)

    cut_off = long(certain & (bare >= ALL_ROWS), LEAST_PIECE_MM)
    seeds = (long(certain, LEAST_WIDTH_MM) > 0) | ((cut_off > 0) & np.isin(cut_off, [cut_off[:side], cut_off[-side:]]))
    if seeds.sum() * width_mm < LEAST_WIDTH_MM:
        return np.zeros_like(certain)
    wider = numbered(certain | (bare >= RIM_ROWS))
    table: NDArray[np.bool_] = (wider > 0) & np.isin(wider, wider[seeds])
    return table


def _sag_and_level(back: Floats, along: Floats) -> tuple[Floats | None, Floats]:
    """Split depths (rows, W), NaN where unknown, into a level for each column and what the rows have in common.

    Returns:
        The tilt and the sag (2,) over ``along``, -1 to 1, None where nothing is known; and levels (W,).
    """
    half = len(back) // 2
    sag = np.zeros(2)
    level = _median(back)
    if np.isnan(level).all() or half == 0:
        return None, level
    slope = float(_median((back[half : 2 * half] - back[:half]).reshape(-1, 1))[0])
    sag[0] = 0.0 if np.isnan(slope) else slope / (along[half] - along[0])
    for _ in range(3):
        level = _median(back - _bend(along, sag)[:, None])
        common = _median((back - level).T)
        sag = _fit(along, common, sag)
    return sag, _median(back - _bend(along, sag)[:, None])


def _bend(along: Floats, sag: Floats) -> Floats:
    """Return (n,) how much deeper than its level the table is along y."""
    return sag[0] * along + sag[1] * along**2


def _fit(along: Floats, common: Floats, sag: Floats) -> Floats:
    """Fit a parabola without a constant through the rows (n,) that lie near it; NaN rows do not count."""
    known = ~np.isnan(common)
    for _ in range(3):
        near = known.copy()
        off = np.abs(common - _bend(along, sag))
        near[known] = off[known] <= max(float(np.median(off[known])) * 2, 1.0)
        design = np.stack([along[near], along[near] ** 2], axis=1)
        sag = np.linalg.lstsq(design, common[near], rcond=None)[0]
    return sag


def _free(columns: _Columns, table: NDArray[np.bool_], spacing_mm: Floats) -> NDArray[np.bool_]:
    """Return the columns (rows, W) that hold the table alone: those of the smallest counts and the usual height."""
    width_mm, _, deep_mm = spacing_mm
    table = table & (columns.beyond == 0) & (columns.count * deep_mm <= THICK_MM)
    least = _around(_percentile(np.where(table, columns.count, np.nan), 15), 10, width_mm)
    table = table & (columns.count <= least + 1.5 + 2 / deep_mm)
    height = columns.front - columns.back
    usual = _around(_median(np.where(table, height, np.nan)), 50, width_mm)
    return table & (height <= usual + HIGHER_MM / deep_mm)


def _around(values: Floats, percent: float, width_mm: float) -> Floats:
    """Return (W,) a percentile of what is known (W,) nearby along x; -1 where nothing is."""
    window = 2 * round(USUAL_MM / width_mm) + 1
    padded = np.pad(values, window // 2, constant_values=np.nan)
    found = _percentile(np.lib.stride_tricks.sliding_window_view(padded, window).T, percent)
    return np.where(np.isnan(found), -1.0, found)


def _level_of_top(front: Floats, back: Floats, table: NDArray[np.bool_], width_mm: float) -> Floats:
    """Return (W,) how far the table reaches towards the body at each x; NaN: unknown, or there is none.

    Beside the columns that tell it, the table is as high as there; narrow gaps are bridged, and the rim is widened.

    Args:
        front: (rows, W) where the free columns end, NaN for the others.
        back: (W,) where the table begins.
        table: (W,) at which x it is.
        width_mm: Of a column.
    """
    x = np.arange(len(table))
    places = np.flatnonzero(np.sum(~np.isnan(front), axis=0) >= max(2.0, FREE_ROWS * len(front)))
    level = np.full(len(table), np.nan)
    if not places.size:
        return level
    top = _median(front[:, places])
    after = np.searchsorted(places, x)
    to_left = x - places[np.maximum(after - 1, 0)]
    to_right = places[np.minimum(after, len(places) - 1)] - x
    away = np.minimum(np.where(to_left >= 0, to_left, len(x)), np.where(to_right >= 0, to_right, len(x)))
    beside = table & (away * width_mm <= LARGEST_GAP_MM / 2)
    bridged = (to_left >= 0) & (to_right >= 0) & ((to_left + to_right) * width_mm <= LARGEST_GAP_MM)
    level[bridged] = np.interp(x, places, top)[bridged]
    level[beside] = (back + np.interp(x, places, top - back[places]))[beside]
    rim = max(1, round(RIM_MM / width_mm))
    for edge in np.flatnonzero(~np.isnan(level)):
        around = slice(max(0, edge - rim), edge + rim + 1)
        level[around] = np.where(np.isnan(level[around]), level[edge], level[around])
    return level


def _median(values: Floats) -> Floats:
    return _percentile(values, 50)


def _percentile(values: Floats, percent: float) -> Floats:
    """Return (W,) the value at a rank of each column (n, W), NaN left out; NaN where nothing is left."""
    ordered = np.sort(values, axis=0)
    count = np.sum(~np.isnan(ordered), axis=0)
    rank = np.rint(np.maximum(count - 1, 0) * (percent / 100)).astype(np.int64)
    ranked: Floats = np.take_along_axis(ordered, rank[None, :], axis=0)[0]
    return ranked
