"""Plots of a dataset's statistics as PNG; the same numbers give the same bytes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from synthgen.generator.dataset.summary import Spread, Statistics
from synthgen.pictures import pixels as drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 110
_INK = {"page": drawing.PAGE, "panel": drawing.PANEL, "text": drawing.TEXT, "muted": drawing.MUTED}
_COLOURS = {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in _INK.items()}
_BAR = "#31b591"
_FAINT = "#2b5f57"


def people_png(statistics: Statistics) -> bytes:
    """Draw the distributions of age, sex and measurements, one panel each."""
    panels = len(statistics.people) + (statistics.women is not None)
    columns = 4 if panels > 6 else min(panels, 3)
    rows = -(-panels // columns)
    with _figure(3.1 * columns, 2.1 * rows) as (figure, file):
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, spread in zip(axes, statistics.people, strict=False):
            _histogram(panel, spread)
        if statistics.women is not None:
            _sexes(axes[panels - 1], statistics.women)
        for panel in axes[panels:]:
            panel.remove()
    return file.getvalue()


def poses_png(statistics: Statistics) -> bytes:
    """Draw the range of every angle: thin lines span 98 % of the samples, thick lines half, dots are medians."""
    poses = statistics.poses
    with _figure(7.5, 0.6 + 0.2 * len(poses)) as (figure, file):
        panel = figure.subplots()
        _style(panel)
        heights = np.arange(len(poses))[::-1]
        low, lower, middle, upper, high = np.array([spread.percentiles for spread in poses]).T
        panel.hlines(heights, low, high, color=_FAINT, linewidth=3)
        panel.hlines(heights, lower, upper, color=_BAR, linewidth=6)
        panel.plot(middle, heights, "o", color=_COLOURS["text"], markersize=3)
        panel.axvline(0, color=_COLOURS["muted"], linewidth=0.6, zorder=0)
        panel.set_yticks(heights, [spread.name for spread in poses])
        panel.set_ylim(-0.8, len(poses) - 0.2)
        panel.set_xlabel("degrees", color=_COLOURS["muted"], fontsize=8)
    return file.getvalue()


def _histogram(panel: "Axes", spread: Spread) -> None:
    _style(panel)
    edges = np.linspace(*spread.span, len(spread.counts) + 1)
    panel.stairs(spread.counts, edges, fill=True, color=_BAR)
    panel.set_title(f"{spread.name}, {spread.unit}" if spread.unit else spread.name, color=_COLOURS["text"], fontsize=9)
    panel.set_yticks([])
    panel.set_ylim(bottom=0)


def _sexes(panel: "Axes", women: float) -> None:
    _style(panel)
    shares = (women, 1 - women)
    panel.bar(("female", "male"), shares, color=_BAR, width=0.5)
    for place, share in enumerate(shares):
        panel.text(place, share + 0.03, f"{100 * share:.1f} %", color=_COLOURS["text"], fontsize=8, ha="center")
    panel.set_title("sex", color=_COLOURS["text"], fontsize=9)
    panel.set_yticks([])
    panel.set_ylim(0, 1.2)
    panel.set_xlim(-0.7, 1.7)


def _style(panel: "Axes") -> None:
    panel.set_facecolor(_COLOURS["panel"])
    panel.tick_params(colors=_COLOURS["muted"], labelsize=8, length=2)
    for spine in panel.spines.values():
        spine.set_visible(False)


@contextmanager
def _figure(width: float, height: float) -> "Iterator[tuple[Figure, io.BytesIO]]":
    """Create a figure, size in inches; it is written to the file when the block ends."""
    import matplotlib as mpl  # noqa: PLC0415 (slow to load)
    from matplotlib.figure import Figure  # noqa: PLC0415

    file = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # ignore the user's style
        figure = Figure((width, height), _DPI, facecolor=_COLOURS["page"], layout="constrained")
        yield figure, file
        figure.savefig(file, format="png", metadata={"Software": None})
