"""What the figures share: pages for light and for dark, axes, colours, PNG bytes. Matplotlib loads inside functions."""

import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.training.evaluation.bootstrap import Interval

_DPI = 160
_LETTERS_PER_INCH = 11
"""Of a title, at most."""
_COLOURS = {
    "NN(syn)": "#f0bd77", "NN(real)": "#d0761b", "RF": "#8d8f98", "CNN(syn)": "#9cc7ee", "CNN(real)": "#3f7fcf",
    "CNN(ft)": "#12a06c", "Mean depth": "#8d8f98",
}  # fmt: skip
"""Families keep together: nearest neighbours warm, networks cool, the fine-tuned network green."""
_MORE = ("#b25fc4", "#7d4fd0", "#d64f7f", "#3aa3a3", "#a4a13a", "#e0604a")


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    page: str
    ink: str
    faint: str
    silhouette: str
    strength: float
    """By which bright colours are multiplied to be seen on the page."""


LIGHT = Theme("#ffffff", "#1d2129", "#d9dce2", "#c3c9d4", 0.72)
DARK = Theme("#16181d", "#e3e6ec", "#343942", "#4d5563", 1.0)


@dataclass(frozen=True)
class Figure:
    """A picture as PNG, for a light and for a dark page."""

    name: str
    """Of its file, without a suffix."""
    title: str
    caption: str
    light: bytes
    dark: bytes


@dataclass(frozen=True)
class Bars:
    """Grouped bars: one group for each landmark, one bar in it for each method."""

    title: str
    unit: str
    groups: tuple[str, ...]
    heights: Mapping[str, Sequence[float]]
    """By method, a number for each group; NaN leaves a gap."""
    ends: Mapping[str, Sequence[Interval | None]]
    """By method, the whisker of each bar."""


def make_figure(name: str, title: str, caption: str, draw: Callable[[Theme], Any]) -> Figure:
    """Draw a figure for both kinds of pages; a user's own matplotlib settings do not count."""
    import matplotlib.style  # noqa: PLC0415 (slow to load)

    pages = []
    for theme in (LIGHT, DARK):
        with matplotlib.style.context("default"):
            data = io.BytesIO()
            draw(theme).savefig(data, format="png", dpi=_DPI, metadata={"Software": None})
        pages.append(data.getvalue())
    return Figure(name, title, caption, *pages)


def new_page(width: float, height: float, theme: Theme) -> Any:
    """Return an empty matplotlib figure, inches."""
    from matplotlib.figure import Figure as Page  # noqa: PLC0415 (slow to load)

    return Page(figsize=(width, height), facecolor=theme.page, layout="constrained")


def palette(methods: Iterable[str]) -> dict[str, str]:
    """Return a colour for each method."""
    more = iter(_MORE * 100)
    return {name: _COLOURS.get(name) or next(more) for name in methods}


def dress(axes: Any, theme: Theme, grid: str) -> None:
    """Give axes the page's colours, a faint grid along ``x``, ``y`` or ``both``, and no frame."""
    axes.set_facecolor(theme.page)
    axes.grid(axis=grid, color=theme.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.ink)
    for tick in axes.get_xticklabels():
        tick.set_parse_math(False)  # a dollar sign in a name does not start a formula


def legend(owner: Any, handles: Mapping[str, Any], theme: Theme, place: str, columns: int = 1) -> None:
    """Add a legend without a frame to axes or, with a place such as ``outside upper left``, to a page."""
    made = owner.legend(
        list(handles.values()), list(handles), loc=place, ncols=columns, frameon=False, labelcolor=theme.ink,
        fontsize=9, handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip
    for text in made.get_texts():
        text.set_parse_math(False)


def draw_bars(parts: Sequence[Bars], theme: Theme) -> Any:
    """Draw groups of bars, one set of axes below the other."""
    groups = max(len(part.groups) for part in parts)
    methods = max(len(part.heights) for part in parts)
    page = new_page(max(6.0, 0.8 * groups, 0.12 * groups * (methods + 1.5)), 2.9 * len(parts) + 0.4, theme)
    handles: dict[str, Any] = {}
    for axes, part in zip(page.subplots(len(parts), squeeze=False)[:, 0], parts, strict=True):
        handles |= _bars(axes, part, theme)
    legend(page, handles, theme, "outside upper left", columns=min(len(handles), 8))
    return page


def _bars(axes: Any, part: Bars, theme: Theme) -> dict[str, Any]:
    """Draw groups of bars and return the bars of each method."""
    width = 0.84 / max(len(part.heights), 1)
    places = np.arange(len(part.groups), dtype=np.float64)
    handles = {}
    for number, (method, colour) in enumerate(palette(part.heights).items()):
        x = places - 0.42 + (number + 0.5) * width
        heights = np.array(part.heights[method], dtype=np.float64)
        handles[method] = axes.bar(x, heights, 0.92 * width, color=colour)
        for place, ends in zip(x, part.ends[method], strict=True):
            if ends is not None:
                axes.plot([place, place], ends, color=theme.ink, linewidth=1, solid_capstyle="butt")
    axes.set_xticks(places, [name.replace("_", "\n") for name in part.groups])
    axes.set_ylabel(part.unit)
    axes.set_xlim(-0.6, len(part.groups) - 0.4)
    axes.set_ylim(bottom=0)
    title = textwrap.fill(part.title, int(_LETTERS_PER_INCH * axes.figure.get_figwidth()))
    axes.set_title(title, loc="left", fontsize=10, color=theme.ink, parse_math=False)
    dress(axes, theme, "y")
    return handles
