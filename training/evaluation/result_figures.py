"""The paper's figures, redrawn from an experiment's results. The same results give the same bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthgen.geometry import Floats
from synthgen.pictures.pixels import landmark_colours
from synthgen.training.evaluation.errors import Prediction, known_mean
from synthgen.training.evaluation.paper_results import METHODS, PaperResults, paper_results
from synthgen.training.evaluation.plot_style import (
    Bars,
    Figure,
    Theme,
    draw_bars,
    dress,
    legend,
    make_figure,
    new_page,
    palette,
)
from synthgen.training.evaluation.results import RADII_MM, Results
from synthgen.training.scans.scan_set import Scan, ScanSet

_TILES = 5
"""Scans that are shown, from the best to the worst."""
_SHOWN = ("CNN(real)", "CNN(ft)")
"""Methods whose predictions are shown, where they are there."""
_EDGE = 0.07
"""Shown round a patch, as a part of its width, for predictions that lie outside."""
_WHISKERS = "whiskers are 95 % intervals over subjects."


def draw_figures(scans: ScanSet, predictions: Mapping[str, Prediction], results: Results) -> tuple[Figure, ...]:
    """Draw all figures that the results have something for.

    Args:
        scans: N scans.
        predictions: Of each method, for all scans, in patches.
        results: Of the same.

    """
    figures = (error_bars(results), examples(scans, predictions, results), success_curves(results))
    return (*figures, depth_bars(results)) if results.depth else figures


def error_bars(results: Results) -> Figure:
    """Draw the paper's Figure 2: the RMSE of each landmark and method; the paper's own below."""
    unit, names = results.unit, results.info.landmark_names
    stats = {
        method: [getattr(found.landmarks[name], unit) for name in names] for method, found in results.methods.items()
    }
    ours = Bars(
        title=_about(results),
        unit=f"RMSE, {_unit(unit)}",
        groups=names,
        heights={method: [one.rmse for one in row] for method, row in stats.items()},
        ends={method: [one.rmse_interval for one in row] for method, row in stats.items()},
    )
    paper = paper_results(results.info.model, results.info.landmark_set)
    parts = (ours, _paper_errors(paper, names)) if paper else (ours,)
    caption = f"Root mean square error of each landmark; {_WHISKERS}{_below(paper)}"
    return make_figure("figure2", "Errors by landmark (Figure 2)", caption, lambda theme: draw_bars(parts, theme))


def depth_bars(results: Results) -> Figure:
    """Draw the paper's Figure 4: the mean absolute depth error of each landmark and method; the paper's own below."""
    names = results.info.landmark_names
    stats = {method: [found.landmarks[name] for name in names] for method, found in results.depth.items()}
    ours = Bars(
        title=_about(results),
        unit="depth error, mm",
        groups=names,
        heights={method: [one.mean for one in row] for method, row in stats.items()},
        ends={method: [one.mean_interval for one in row] for method, row in stats.items()},
    )
    paper = paper_results(results.info.model, results.info.landmark_set)
    theirs = paper if paper and paper.depth_voxels else None
    parts = (ours, _paper_depths(theirs, names)) if theirs else (ours,)
    caption = f"Mean absolute error of the landmarks' depth; {_WHISKERS}{_below(theirs)}"
    return make_figure("figure4", "Depth errors (Figure 4)", caption, lambda theme: draw_bars(parts, theme))


def success_curves(results: Results) -> Figure:
    """Draw the share of landmarks that each method finds within a distance, in mm where they are known."""
    unit = _common_unit(results)
    errors = {name: getattr(method.errors, unit) for name, method in results.methods.items()}
    sorted_errors = {name: np.sort(one[np.isfinite(one)]) for name, one in errors.items()}
    together = np.concatenate(list(sorted_errors.values()))
    reach = max(RADII_MM[-1], float(np.quantile(together, 0.9)) if together.size else 0.0)

    def draw(theme: Theme) -> Any:
        page = new_page(6.6, 4.0, theme)
        axes = page.subplots()
        handles = {}
        for name, colour in palette(sorted_errors).items():
            values = sorted_errors[name]
            share = 100 * np.arange(len(values) + 1) / max(len(values), 1)
            (handles[name],) = axes.step([0, *values], share, where="post", color=colour, linewidth=1.8)
        axes.set(xlim=(0, reach), ylim=(0, 101), xlabel=f"within, {_unit(unit)}", ylabel="landmarks found, %")
        dress(axes, theme, "both")
        legend(axes, handles, theme, "lower right")
        return page

    caption = "Share of landmarks whose error is at most the distance on the axis."
    return make_figure("success", "Success rates", caption, draw)


def examples(scans: ScanSet, predictions: Mapping[str, Prediction], results: Results) -> Figure:
    """Draw the paper's Figure 3: all predictions in one common image, and single scans from the best to the worst."""
    methods = [name for name in _SHOWN if name in predictions] or list(predictions)[-1:]
    unit = _common_unit(results)
    chosen = _spread(getattr(results.methods[methods[-1]].errors, unit))

    def draw(theme: Theme) -> Any:
        height, width = scans.scans[0].mask.shape
        columns = 1 + len(chosen)
        page = new_page(1.75 * columns, (1.7 * height / width + 0.28) * len(methods), theme)
        grid = page.subplots(len(methods), columns, squeeze=False)
        for row, method in zip(grid, methods, strict=True):
            points = predictions[method].points_px
            mine = getattr(results.methods[method].errors, unit)
            _common_image(row[0], scans, points, theme)
            row[0].set_title(f"{method}: all", fontsize=9, color=theme.ink, parse_math=False)
            for axes, n in zip(row[1:], chosen, strict=True):
                scan = scans.scans[n]
                draw_scan(axes, scan, points[n], theme)
                title = f"{scan.id[:16]}: {float(known_mean(mine[n], axis=0)):.1f} {unit}"
                axes.set_title(title, fontsize=9, color=theme.ink, parse_math=False)
        return page

    caption = (
        "Rings are true, crosses predicted. Left, all scans in one image: the mean silhouette, and each prediction as "
        "far from the mean true landmark as it lies from its own. Then single scans, from the best to the worst of "
        f"{methods[-1]}, with their mean error."
    )
    return make_figure("figure3", "Predictions (Figure 3)", caption, draw)


def draw_scan(axes: Any, scan: Scan, points_px: Floats, theme: Theme) -> None:
    """Draw a scan's patch with its true landmarks and predicted ones (K, 2), joined where both are known."""
    _silhouette(axes, scan.mask.astype(np.float64), theme)
    ends = np.stack([scan.landmarks_px, points_px])
    axes.plot(ends[..., 0], ends[..., 1], color=theme.ink, linewidth=0.8)
    _rings(axes, scan.landmarks_px, theme)
    _crosses(axes, points_px[None], theme)


def _about(results: Results) -> str:
    return f"Here: {results.scans} scans of {results.subjects} subjects"


def _common_unit(results: Results) -> str:
    """Return mm where they are known, for they say more than pixels."""
    return "mm" if all(np.isfinite(method.overall.mm.mean) for method in results.methods.values()) else "px"


def _unit(unit: str) -> str:
    return "pixels of the source" if unit == "px" else "mm"


def _below(paper: PaperResults | None) -> str:
    return " Below, the paper's own bars, of other scans and other pixels." if paper else ""


def _paper_errors(paper: PaperResults, names: Sequence[str]) -> Bars:
    bars = {method: [paper.rmse_px[name][n] for name in names] for n, method in enumerate(METHODS)}
    return Bars(
        title=f"The paper: {paper.about}",
        unit="RMSE, pixels of the source",
        groups=tuple(names),
        heights={method: [bar[0] for bar in row] for method, row in bars.items()},
        ends={method: [bar[1:] for bar in row] for method, row in bars.items()},
    )


def _paper_depths(paper: PaperResults, names: Sequence[str]) -> Bars:
    heights = {method: [row[name] for name in names] for method, row in paper.depth_voxels.items()}
    nothing = {method: [None] * len(names) for method in heights}
    return Bars(f"The paper: {paper.about}", "depth error, voxels", tuple(names), heights, nothing)


def _spread(errors: Floats) -> list[int]:
    """Return scans evenly spaced in the order of their mean errors (N, K), those without any left out."""
    means = known_mean(errors, axis=1)
    order = np.argsort(means, kind="stable")[: int(np.isfinite(means).sum())]
    places = np.unique(np.linspace(0, max(len(order) - 1, 0), _TILES).round().astype(int))
    return [int(order[place]) for place in places] if len(order) else []


def _common_image(axes: Any, scans: ScanSet, points_px: Floats, theme: Theme) -> None:
    truth = scans.stacked("landmarks_px")
    mean = known_mean(truth, axis=0)
    _silhouette(axes, scans.stacked("mask").mean(axis=0), theme)
    _crosses(axes, mean + points_px - truth, theme)
    _rings(axes, mean, theme)


def _silhouette(axes: Any, cover: Floats, theme: Theme) -> None:
    """Draw how far each pixel is covered (H, W), in [0, 1]; the axes then count continuous pixels."""
    height, width = cover.shape
    page, ink = _rgb(theme.page), _rgb(theme.silhouette)
    axes.imshow(page + cover[..., None] * (ink - page), extent=(0, width, height, 0), interpolation="nearest")
    edge = _EDGE * width
    axes.set(xlim=(-edge, width + edge), ylim=(height + edge, -edge), xticks=[], yticks=[], facecolor=theme.page)
    for spine in axes.spines.values():
        spine.set_color(theme.faint)


def _rgb(colour: str) -> Floats:
    """Return ``#rrggbb`` as (3,) in [0, 1]."""
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def _rings(axes: Any, truth: Floats, theme: Theme) -> None:
    """Draw true landmarks (K, 2)."""
    axes.plot(*truth.T, "o", markersize=6, markerfacecolor="none", color=theme.ink, markeredgewidth=1.1)


def _crosses(axes: Any, predicted: Floats, theme: Theme) -> None:
    """Draw predicted landmarks (N, K, 2), a colour for each of the K."""
    for k, rgb in enumerate(landmark_colours(predicted.shape[1])):
        colour = np.array(rgb) / 255 * theme.strength
        axes.plot(*predicted[:, k].T, "x", markersize=5, color=colour, markeredgewidth=1.4)
