"""The figures and the report: the same bytes again, nothing from elsewhere, and no text that becomes markup."""

import base64
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from support.fake_scansets import BODY, INFO, flat_scan, noisy, scan_set, squares, volume_scan

from synthgen.training.evaluation.html_report import Report, report_html
from synthgen.training.evaluation.paper_results import METHODS
from synthgen.training.evaluation.plot_style import DARK, LIGHT
from synthgen.training.evaluation.result_figures import draw_figures, draw_scan, error_bars
from synthgen.training.evaluation.results import compare_methods
from synthgen.training.evaluation.text_tables import method_table

HOSTILE = "<script>alert(1)</script>\"'&$\\frac{1}$|<b>"
LOADING = {"src", "srcset", "href", "data", "action", "poster"}
VOID = {"meta", "img", "source", "br"}


def experiment(*, flat=True, count=6, info=INFO, methods=METHODS):
    masks, points = squares(count)
    rng = np.random.default_rng(0)
    k = len(info.landmark_names)
    points = np.concatenate([points, points + 3], axis=1)[:, :k]
    points[1:2, 0] = np.nan
    scans = [
        flat_scan(f"scan{n}", f"p{n // 2}", px, mask=mask)
        if flat
        else volume_scan(f"scan{n}", f"p{n}", px, depths=rng.uniform(40, 60, k))
        for n, (mask, px) in enumerate(zip(masks, points, strict=True))
    ]
    found = scan_set(*scans, info=info)
    predictions = {name: noisy(found, 8 - n, n) for n, name in enumerate(methods)}
    depths = None if flat else {name: noisy(found, 3, depth=True).depth_mm for name in ("Mean depth", "CNN(ft)")}
    return found, predictions, compare_methods(found, predictions, depths)


def report_of(results, figures=()):
    return Report(
        title="An experiment", results=results, figures=figures,
        command="synthgen experiment --folds 3", facts=(("config", "quick_hand"), ("folds", "3")), notes=("A note.",),
    )  # fmt: skip


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.sources, self.attributes, self.texts = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.sources += [value for name, value in attrs if name in LOADING]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


@pytest.fixture(scope="module")
def flat_experiment():
    return experiment()


@pytest.fixture(scope="module")
def flat_report(flat_experiment):
    return report_of(flat_experiment[2], draw_figures(*flat_experiment))


@pytest.fixture(scope="module")
def flat_page(flat_report):
    return report_html(flat_report)


@pytest.mark.slow
def test_the_same_results_give_the_same_figures_and_the_same_report(flat_report, flat_page):
    found, predictions, results = experiment()
    again = report_of(results, draw_figures(found, predictions, results))

    assert again.figures == flat_report.figures
    assert report_html(again) == flat_page


@pytest.mark.slow
def test_a_users_own_settings_of_matplotlib_do_not_count(flat_experiment):
    import matplotlib as mpl

    usual = error_bars(flat_experiment[2])
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "lines.linewidth": 9, "savefig.facecolor": "red"}):
        assert error_bars(flat_experiment[2]) == usual


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param(
            {"flat": False, "info": BODY}, ["figure2", "figure3", "success", "figure4"], marks=pytest.mark.slow
        ),
        ({"count": 1, "methods": ("CNN(syn)",)}, ["figure2", "figure3", "success"]),
    ],
)
def test_figures_are_pictures_on_pages_of_their_colour(options, names):
    figures = draw_figures(*experiment(**options))

    assert [figure.name for figure in figures] == names
    for figure in figures:
        for data, theme in ((figure.light, LIGHT), (figure.dark, DARK)):
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            assert picture.getpixel((0, 0)) == tuple(bytes.fromhex(theme.page[1:]))
            assert len(picture.getcolors(2**24)) > 20
        assert figure.light != figure.dark


def test_each_prediction_is_joined_to_its_own_landmark():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    truth, predicted = np.arange(10.0).reshape(5, 2), np.arange(10.0, 20).reshape(5, 2)
    draw_scan(axes, flat_scan(px=truth), predicted, LIGHT)
    joined = [line.get_xydata().tolist() for line in axes.lines if line.get_linestyle() == "-"]

    assert joined == [[one.tolist(), other.tolist()] for one, other in zip(truth, predicted, strict=True)]


def test_the_report_needs_nothing_else(flat_page):
    page = Page(flat_page)

    assert page.sources
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert {"script", "link", "iframe", "object", "base"} & set(page.tags) == set()
    assert not [name for name in page.attributes if name.startswith("on")]
    assert not re.search(r"https?:|//[a-z]|@import|url\(", flat_page.split("<body>")[0])
    assert "default-src 'none'" in flat_page
    for source in page.sources:
        Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2], validate=True))).verify()


def test_the_report_says_what_the_results_say(flat_experiment, flat_page):
    results = flat_experiment[2]
    text = Page(flat_page).text

    for row in method_table(results).rows:
        assert all(cell in text for cell in row)
    ratio = results.ratios[0]
    assert f"{ratio.value:.2f} times as much" in text
    assert "the paper has 0.79" in text
    for words in ("An experiment", "A note.", "synthgen experiment --folds 3", "config", "quick_hand", *METHODS):
        assert words in text
    assert flat_page.count("<details>") == len(METHODS)
    assert all(name in text for name in INFO.landmark_names)


@pytest.mark.slow
def test_no_text_becomes_markup():
    names = (HOSTILE, *INFO.landmark_names[1:])
    info = replace(INFO, landmark_names=names, landmark_set=HOSTILE)
    found, predictions, _ = experiment(flat=False, info=info)
    scans = (replace(scan, id=f"{HOSTILE}{n}", subject=HOSTILE * n) for n, scan in enumerate(found.scans))
    found = scan_set(*scans, info=found.info)
    predictions = {f"{HOSTILE}{name}": one for name, one in predictions.items()}
    results = compare_methods(found, predictions, {HOSTILE: np.full((6, len(names)), 50.0)})
    drawn = draw_figures(found, predictions, results)
    figures = tuple(replace(figure, title=HOSTILE, caption=HOSTILE) for figure in drawn)

    hostile = replace(
        report_of(results, figures), title=HOSTILE, command=HOSTILE, facts=((HOSTILE, HOSTILE),), notes=(HOSTILE,)
    )
    html = report_html(hostile)
    page = Page(html)

    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "<script" not in html
    assert page.text.count(HOSTILE) > 10


def test_depth_is_reported_where_it_was_predicted(flat_page):
    text = Page(report_html(report_of(experiment(flat=False)[2]))).text

    assert "Absolute depth errors" in text
    assert "Depth CNN(ft)/Mean depth" in text
    assert "Absolute depth errors" not in Page(flat_page).text


def test_a_report_without_what_the_paper_compares_is_a_report():
    found, predictions, results = experiment(count=1, methods=("Heatmap(ft)",))
    figures = draw_figures(found, predictions, results)

    page = Page(report_html(replace(report_of(results, figures), notes=())))

    assert "Fine-tuned" not in page.text
    assert "Ratios" not in page.text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it(flat_page, tmp_path, dark):
    (tmp_path / "report.html").write_text(flat_page, encoding="utf-8")
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=500,2600",
        f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'page.png'}", *scheme,
        (tmp_path / "report.html").as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=300)

    picture = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    page = np.frombuffer(bytes.fromhex((DARK if dark else LIGHT).page[1:]), np.uint8)
    inked = (np.abs(picture - page).sum(axis=2) > 60).any(axis=1)

    assert picture.shape == (2600, 500, 3)
    assert (picture[0, 0] == page).all()
    # Nothing is wider than the page: its right margin is empty.
    assert (np.abs(picture[:, -8:] - page).sum(axis=2) < 10).all()
    assert inked[:2000].mean() > 0.4
