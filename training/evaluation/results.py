"""The results of an experiment: what each method's errors come to, and the ratios that the paper's carry over to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from synthgen.geometry import Floats
from synthgen.training.evaluation.bootstrap import (
    Bootstrap,
    Interval,
    Stats,
    count_beyond,
    describe,
    draw_subjects,
    ratio_of,
    share_within,
)
from synthgen.training.evaluation.errors import PointErrors, Prediction, depth_errors, point_errors
from synthgen.training.evaluation.paper_results import BY_MODEL, DEPTH_RATIO, MEAN_DEPTH, METHODS, paper_results
from synthgen.training.scans.scan_set import ScanSet, ScanSetInfo

RADII_MM = (2.0, 4.0, 10.0)
_DECIMALS = 6


@dataclass(frozen=True)
class Row:
    """The errors of one method at one landmark, or at all of them."""

    known: int
    """Landmarks of the scans whose truth is known."""
    missing: int
    """Those whose truth is not known; they are left out."""
    px: Stats
    """Pixels of the source."""
    mm: Stats
    """In the image plane."""
    mm_3d: Stats | None
    """In space; None without predicted depth."""
    outliers: tuple[int, ...] | None
    """Errors above each of `RADII_MM`; None where mm are not known."""
    success: tuple[float, ...] | None
    """Share of errors up to each of `RADII_MM`."""


@dataclass(frozen=True)
class MethodResult:
    """One method's errors on all scans."""

    errors: PointErrors
    overall: Row
    landmarks: Mapping[str, Row]
    """By name, in the set's order."""


@dataclass(frozen=True)
class DepthResult:
    """One method's absolute depth errors on all scans, mm."""

    errors: Floats
    """(N, K)"""
    overall: Stats
    landmarks: Mapping[str, Stats]


@dataclass(frozen=True)
class Ratio:
    """The mean error of one method by that of another, on the same scans."""

    name: str
    """Such as ``CNN(ft)/CNN(real)``."""
    value: float
    interval: Interval | None
    """From the same draws of subjects for both methods."""
    paper: float | None
    """None where the paper has no such ratio."""


@dataclass(frozen=True)
class Results:
    """All methods of an experiment under one cross-validation."""

    info: ScanSetInfo
    scans: int
    subjects: int
    unit: Literal["px", "mm"]
    """Of the errors that the ratios compare: pixels of the source, or mm where these are not known."""
    methods: Mapping[str, MethodResult]
    depth: Mapping[str, DepthResult]
    """Empty where no depth was predicted."""
    ratios: tuple[Ratio, ...]


def compare_methods(
    scans: ScanSet, predictions: Mapping[str, Prediction], depths: Mapping[str, Floats] | None = None, *, seed: int = 0
) -> Results:
    """Compare methods on the same scans.

    Args:
        scans: N scans with K landmarks.
        predictions: Of each method, for all scans, in patches.
        depths: Of each method of the depth experiment, ``Mean depth`` among them, (N, K) mm along the patches' depth.
        seed: Of the bootstrap.

    Raises:
        ScanError: A prediction is NaN where the true landmark is known.

    """
    bootstrap = draw_subjects([scan.subject for scan in scans.scans], seed)
    names = scans.info.landmark_names
    found = {name: _method(point_errors(scans, name, one), names, bootstrap) for name, one in predictions.items()}
    deep = {name: _depth(depth_errors(scans, name, one), names, bootstrap) for name, one in (depths or {}).items()}
    unit: Literal["px", "mm"] = "px" if all(np.isfinite(one.overall.px.mean) for one in found.values()) else "mm"
    return Results(
        info=scans.info,
        scans=len(scans.scans),
        subjects=bootstrap.times.shape[1],
        unit=unit,
        methods=found,
        depth=deep,
        ratios=_ratios(scans.info.model, unit, found, deep, bootstrap),
    )


def _method(errors: PointErrors, names: tuple[str, ...], bootstrap: Bootstrap) -> MethodResult:
    rows = {name: _row(errors, [k], bootstrap) for k, name in enumerate(names)}
    return MethodResult(errors, _row(errors, list(range(len(names))), bootstrap), rows)


def _row(errors: PointErrors, columns: list[int], bootstrap: Bootstrap) -> Row:
    mm = errors.mm[:, columns]
    in_mm = bool(np.isfinite(mm).any())
    return Row(
        known=int(errors.known[:, columns].sum()),
        missing=int((~errors.known[:, columns]).sum()),
        px=describe(errors.px[:, columns], bootstrap),
        mm=describe(mm, bootstrap),
        mm_3d=None if errors.mm_3d is None else describe(errors.mm_3d[:, columns], bootstrap),
        outliers=tuple(count_beyond(mm, radius) for radius in RADII_MM) if in_mm else None,
        success=tuple(share_within(mm, radius) for radius in RADII_MM) if in_mm else None,
    )


def _depth(errors: Floats, names: tuple[str, ...], bootstrap: Bootstrap) -> DepthResult:
    rows = {name: describe(errors[:, [k]], bootstrap) for k, name in enumerate(names)}
    return DepthResult(errors, describe(errors, bootstrap), rows)


def _ratios(
    model: str,
    unit: Literal["px", "mm"],
    methods: Mapping[str, MethodResult],
    depth: Mapping[str, DepthResult],
    bootstrap: Bootstrap,
) -> tuple[Ratio, ...]:
    errors = {name: getattr(method.errors, unit) for name, method in methods.items()}
    pairs = [(f"{one}/{other}", errors[one], errors[other]) for one, other in _pairs(list(methods))]
    if "CNN(ft)" in depth and MEAN_DEPTH in depth:
        pairs.append((DEPTH_RATIO, depth["CNN(ft)"].errors, depth[MEAN_DEPTH].errors))
    paper = BY_MODEL.get(model)
    return tuple(
        Ratio(name, *ratio_of(one, other, bootstrap), paper.ratio(name) if paper else None)
        for name, one, other in pairs
    )


def _pairs(methods: list[str]) -> list[tuple[str, str]]:
    """Return which methods are compared: each family's networks with its real one, and others' best with the CNN's."""
    pairs = []
    for method in methods:
        found = re.fullmatch(r"(.+)\((syn|ft)\)", method)
        if found and f"{found[1]}(real)" in methods:
            pairs.append((method, f"{found[1]}(real)"))
        if found and found[2] == "ft" and method != "CNN(ft)" and "CNN(ft)" in methods:
            pairs.append((method, "CNN(ft)"))
    return sorted(pairs, key=lambda pair: pair != ("CNN(ft)", "CNN(real)"))


def results_json(results: Results) -> dict[str, Any]:
    """Return the content of ``results.json``; what is not known is null."""
    theirs = paper_results(results.info.model, results.info.landmark_set)
    return _plain(
        {
            "format": "synthgen-results",
            "version": 1,
            "scans": results.scans,
            "subjects": results.subjects,
            "landmark_set": results.info.landmark_set,
            "spec_sha256": results.info.spec_sha256,
            "methods": {
                name: _row_json(method.overall)
                | {"landmarks": {landmark: _row_json(row) for landmark, row in method.landmarks.items()}}
                for name, method in results.methods.items()
            },
            "depth": {
                name: _stats_json("mm", one.overall)
                | {"landmarks": {landmark: _stats_json("mm", stats) for landmark, stats in one.landmarks.items()}}
                for name, one in results.depth.items()
            },
            "ratios_of": f"mean_{results.unit}",
            "ratios": {ratio.name: ratio.value for ratio in results.ratios},
            "ratio_intervals": {ratio.name: ratio.interval for ratio in results.ratios},
            "paper": {
                "ratios": {ratio.name: ratio.paper for ratio in results.ratios if ratio.paper is not None},
                "rmse_px": {name: theirs.mean_rmse_px(name) for name in METHODS} if theirs else {},
            },
        }
    )


def _row_json(row: Row) -> dict[str, Any]:
    radii = [f"{radius:g}" for radius in RADII_MM]
    return {
        "points": row.known,
        "missing": row.missing,
        "points_mm": row.mm.known,
        **_stats_json("px", row.px),
        **_stats_json("mm", row.mm),
        **(_stats_json("mm_3d", row.mm_3d) if row.mm_3d else {}),
        "outliers_mm": None if row.outliers is None else dict(zip(radii, row.outliers, strict=True)),
        "success_mm": None if row.success is None else dict(zip(radii, row.success, strict=True)),
    }


def _stats_json(unit: str, stats: Stats) -> dict[str, Any]:
    return {
        f"mean_{unit}": stats.mean,
        f"mean_{unit}_interval": stats.mean_interval,
        f"sd_{unit}": stats.sd,
        f"rmse_{unit}": stats.rmse,
        f"rmse_{unit}_interval": stats.rmse_interval,
        f"median_{unit}": stats.median,
    }


def _plain(value: Any) -> Any:
    """Return JSON's own types, floats rounded, NaN as null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, _DECIMALS) if np.isfinite(value) else None
    return value
