"""The report of an experiment: one HTML file that needs nothing else, on a phone or a desk, in light or dark."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from struct import unpack

from synthgen.training.evaluation.plot_style import Figure
from synthgen.training.evaluation.results import Results
from synthgen.training.evaluation.text_tables import (
    Table,
    depth_table,
    ends,
    landmark_table,
    method_table,
    ratio_table,
)

MAIN_RATIO = "CNN(ft)/CNN(real)"
_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1d2129; --muted: #626a78; --faint: #e3e6eb;
  --panel: #f5f6f8; --accent: #0b7f56; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181d; --ink: #e3e6ec; --muted: #9aa2b1; --faint: #2d323b; --panel: #1e2128; --accent: #38c492; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 64rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { margin: .5rem 0; }
.muted, figcaption { color: var(--muted); font-size: .9rem; }
.result { border-left: 4px solid var(--accent); background: var(--panel); padding: .7rem 1rem; margin: 1.2rem 0; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem .35rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--faint); }
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; white-space: normal; min-width: 4.5rem;
  overflow-wrap: normal; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); font-weight: 600; }
figure { margin: .6rem 0; }
figure img { display: block; width: 100%; height: auto; }
pre { background: var(--panel); padding: .8rem 1rem; white-space: pre-wrap; font-size: .85rem; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .25rem 1rem; margin: .6rem 0; }
dt { color: var(--muted); } dd { margin: 0; }
details { border-top: 1px solid var(--faint); padding: .5rem 0; }
summary { cursor: pointer; font-weight: 600; }
"""
_DEFINITIONS = (
    "Every scan is predicted by a method that has not seen its subject. Errors are Euclidean distances from the true "
    "landmark in the image plane, in pixels of the source image (of volumes: voxels), and in mm where its spacing is "
    "known.",
    "The mean and the RMSE of all landmarks are means over landmarks; SD, median, success rates (within) and outliers "
    "(beyond) are of all errors together.",
    "The 95 % intervals come from a bootstrap that draws whole subjects, the same draws for all methods. From fewer "
    "than about ten subjects they are too narrow.",
    "The paper's pixels are those of other scans: only the ratios can be compared.",
)


@dataclass(frozen=True)
class Report:
    """What a report says."""

    title: str
    results: Results
    figures: tuple[Figure, ...]
    command: str
    """The command that reproduces the results."""
    facts: tuple[tuple[str, str], ...]
    """What was run: names and values, such as the training config, the data and the folds."""
    notes: tuple[str, ...] = ()
    """Further remarks for the reader, one paragraph each."""


def report_html(report: Report) -> str:
    """Return the report as HTML; every text in it is escaped, every picture embedded, and it runs no script."""
    title = escape(report.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        f"'unsafe-inline'\">\n<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"{''.join(_parts(report, title))}</body>\n</html>\n"
    )


def _parts(report: Report, title: str) -> Iterator[str]:
    results = report.results
    yield f"<h1>{title}</h1>\n"
    about = f"{results.info.landmark_set}, {len(results.info.landmark_names)} landmarks"
    yield f'<p class="muted">{results.scans} scans of {results.subjects} subjects, {escape(about)}</p>\n'
    yield _verdict(results)
    yield from (f"<p>{escape(note)}</p>\n" for note in report.notes)
    yield _section("Errors", _table(method_table(results)))
    if results.ratios:
        yield _section(f"Ratios of mean errors, {results.unit}", _table(ratio_table(results)))
    yield from (_section(figure.title, _figure(figure)) for figure in report.figures)
    if results.depth:
        yield _section("Absolute depth errors, mean ± SD, mm", _table(depth_table(results)))
    each = "".join(
        f"<details><summary>{escape(name)}</summary>{_table(landmark_table(results, name))}</details>\n"
        for name in results.methods
    )
    yield _section("Each landmark", each)
    yield _section(
        "How errors are measured", "".join(f'<p class="muted">{escape(text)}</p>\n' for text in _DEFINITIONS)
    )
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in report.facts)
    yield _section("What was run", f"<pre>{escape(report.command)}</pre>\n<dl>{facts}</dl>\n")


def _verdict(results: Results) -> str:
    """Say what fine-tuning gains, whatever it is."""
    for ratio in results.ratios:
        if ratio.name == MAIN_RATIO:
            interval = f" (95 %: {ends(ratio.interval)})" if ratio.interval else ""
            paper = f"; the paper has {ratio.paper:.2f}" if ratio.paper is not None else ""
            return (
                '<p class="result">Fine-tuned from synthetic data, the network errs '
                f"<strong>{ratio.value:.2f}</strong> times as much as the same network trained on real scans alone"
                f"{interval}{paper}.</p>\n"
            )
    return ""


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}</section>\n"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>\n'
        for row in table.rows
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n'


def _figure(figure: Figure) -> str:
    """Return a figure whose dark picture is shown on dark pages."""
    light, dark = (f"data:image/png;base64,{b64encode(data).decode()}" for data in (figure.light, figure.dark))
    width, height = (side // 2 for side in unpack(">2I", figure.light[16:24]))  # of the PNG; half, for sharp screens
    return (
        f'<figure>\n<div class="wide"><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(figure.title)}" width="{width}" height="{height}" '
        f'style="min-width: {0.8 * width:.0f}px; max-width: {width}px"></picture></div>\n'
        f"<figcaption>{escape(figure.caption)}</figcaption>\n</figure>\n"
    )
