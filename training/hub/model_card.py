"""The model card (README.md), generated from a network's checkpoint and results, and its figure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from synthgen.citation import citation
from synthgen.specs.safe_yaml import to_yaml
from synthgen.training.evaluation.plot_style import Bars, draw_bars, make_figure
from synthgen.training.evaluation.text_tables import UNKNOWN, Table, ends, markdown
from synthgen.training.experiments.cross_validation import METHOD
from synthgen.training.hub.stored_results import StoredResults, StoredRow
from synthgen.training.loop.checkpoint import Checkpoint

FIGURE = "figures/errors.png"
TASK = "keypoint-detection"
_NETWORKS = {"paper": "The convolutional network of Riegler et al. (2015)",
             "heatmap": "A small fully-convolutional network with soft-argmax coordinates"}  # fmt: skip
_IMAGES = {"mask": "silhouettes", "depth": "normalized depth images"}
_SUBJECTS = {"hand": "hands", "body": "whole bodies"}
_EXPECTED = {"hand": "a hand seen from its back (right ones are mirrored)", "body": "a body seen from the front"}
_SEEN = {"dataset": "renderings", "spec": "renderings, made during training", "scan set": "real scans"}
_METRICS = {
    "mean_mm": "Mean error in the image plane, mm",
    "median_mm": "Median error in the image plane, mm",
    "rmse_mm": "Root mean square error in the image plane, mm",
    "mean_mm_3d": "Mean error in space, mm",
    "mean_px": "Mean error, pixels of the scan",
    "rmse_px": "Root mean square error, pixels of the scan",
}
"""Titles of the metrics by their field in the results."""


@dataclass(frozen=True)
class Model:
    """What a card describes."""

    checkpoint: Checkpoint
    results: StoredResults | None
    """None if it was not fine-tuned, so that its errors on scans are unknown."""
    knows_depth: bool
    """Whether the mean depth of its training scans replaces a network for depth."""

    @property
    def title(self) -> str:
        """A title for readers."""
        domain, config = self.checkpoint.domain, self.checkpoint.config
        return f"{len(domain.landmarks)} landmarks in {_IMAGES[config.input]} of {_SUBJECTS[domain.model]}"


def model_card(model: Model, repo: str) -> str:
    """Return the text of README.md; the same network in the same repository gives the same text.

    Args:
        model: The network.
        repo: Where it is published, ``owner/name``.

    """
    body = Template(files("synthgen.training.hub").joinpath("model_card.txt").read_text(encoding="utf-8"))
    front = to_yaml(_front_matter(model, repo.split("/")[1]))
    return f"---\n{front}---\n\n{body.substitute(_facts(model), repo=repo)}"


def errors_png(results: StoredResults) -> bytes:
    """Draw the mean error at each landmark, with its interval over subjects, as PNG."""
    unit, rows = results.unit, results.found.landmarks
    means = [getattr(row, f"mean_{unit}") for row in rows.values()]
    bars = Bars(
        title=f"{results.scans} scans of {results.subjects} subjects, each predicted without training on its subject",
        unit=f"mean error, {_unit(unit)}",
        groups=tuple(rows),
        heights={METHOD: [float("nan") if mean is None else mean for mean in means]},
        ends={METHOD: [getattr(row, f"mean_{unit}_interval") for row in rows.values()]},
    )
    return make_figure("errors", "Errors", "", lambda theme: draw_bars((bars,), theme)).light


def _front_matter(model: Model, name: str) -> dict[str, Any]:
    domain, config = model.checkpoint.domain, model.checkpoint.config
    front: dict[str, Any] = {
        "license": "apache-2.0",
        "library_name": "synthgen",
        "pipeline_tag": TASK,
        "tags": ["synthgen", "anatomical-landmarks", "medical", "synthetic", "makehuman", domain.model, config.input],
    }
    if model.results is None:
        return front
    found = {field: value for field in _METRICS if (value := getattr(model.results.found, field)) is not None}
    metrics = [{"type": field, "value": round(value, 4), "name": _METRICS[field]} for field, value in found.items()]
    scans = f"{model.results.scans} real scans of {model.results.subjects} subjects"
    result = {
        "task": {"type": TASK, "name": "Anatomical landmarks"},
        "dataset": {"type": "synthgen-scan-set", "name": f"{scans}, cross-validation by subject"},
        "metrics": metrics,
    }
    return front | {"metrics": list(found), "model-index": [{"name": name, "results": [result]}]}


def _facts(model: Model) -> dict[str, str]:
    domain, config = model.checkpoint.domain, model.checkpoint.config
    hand, masks = domain.model == "hand", config.input == "mask"
    settings = {"side": "left", "up": "S", "viewed_from": "P"} if hand else {}
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    sees = "It sees only silhouettes" if masks else "It sees only the depth of the outer surface"
    return {
        "title": f"{model.title[0].upper()}{model.title[1:]}",
        "network": _NETWORKS[config.arch],
        "k": str(len(domain.landmarks)),
        "images": _IMAGES[config.input],
        "expected": _EXPECTED[domain.model],
        "subjects": _SUBJECTS[domain.model],
        "width": str(domain.width),
        "height": str(domain.height),
        "landmarks": ", ".join(f"`{name}`" for name in domain.landmarks),
        "data": markdown(_data(model)),
        "about_data": _about_data(model),
        "config": markdown(Table("", ("Setting", "value"), tuple(_settings(config.model_dump(mode="json"))))),
        "results": _results(model.results),
        "options": f"{options} " if options else "",
        "settings": "".join(f', {name}="{value}"' for name, value in settings.items()),
        "sees": f"{sees}: nothing inside the body, and nothing that the outline hides.",
        "depth": _depth(model),
        "citation": citation(),
    }


def _data(model: Model) -> Table:
    """Return the network's training data in order; the file names of scan sets are omitted."""
    rows, results = [], model.results
    for number, data in enumerate(model.checkpoint.history, 1):
        origin = f"`{' '.join(data.name.replace('`', '').split()):.80}`"
        if data.kind == "scan set":
            last = results if number == len(model.checkpoint.history) else None
            origin = f"{last.scans} scans of {last.subjects} subjects" if last else UNKNOWN
        rows.append((f"{number}. {_SEEN[data.kind]}", origin, f"`{data.sha256:.64}`"))
    return Table("", ("", "what", "SHA-256 of the manifest, the spec or the scan set's file"), tuple(rows))


def _about_data(model: Model) -> str:
    lines = [f"Framing of the patches, as in the spec: `{model.checkpoint.domain.framing}`."]
    if model.results:
        lines.append(f"The scans were converted with the spec of digest `{model.results.spec_sha256}`.")
    return "\n".join(lines)


def _settings(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of a training config by their path, without those that are not set."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{above}{name}.")
        elif value is not None and value != []:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"`{above}{name}`", text.lower() if isinstance(value, bool) else text


def _results(results: StoredResults | None) -> str:
    if results is None:
        return ("Its errors on real scans are unknown: it was not fine-tuned with cross-validation. "
                "`synthgen experiment` measures that.")  # fmt: skip
    folds = f"in {results.folds} folds " if results.folds else ""
    summary = (
        f"Cross-validation {folds}split by subject: each scan was predicted by a network not trained on its subject.\n"
        "The network here is trained on all scans, so its errors on other people were not measured; expect similar "
        "ones.\nIntervals are 95 %, by bootstrap over subjects."
    )
    return f"{summary}\n\n{markdown(_table(results))}\n![Mean error at each landmark]({FIGURE})"


def _table(results: StoredResults) -> Table:
    rows = {**results.found.landmarks, "all": results.found}
    has_mm, has_3d = (
        any(getattr(row, name) is not None for row in rows.values()) for name in ("mean_mm", "mean_mm_3d")
    )
    columns = ["Landmark", "known"]
    columns += ["mean ± SD, mm", "95 %", "median, mm", "RMSE, mm"] if has_mm else []
    columns += ["mean in space, mm"] if has_3d else []
    columns += ["mean ± SD, px of the scan"]
    columns += [] if has_mm else ["95 %", "median, px", "RMSE, px"]
    lines = []
    for name, row in rows.items():
        cells = [name, str(row.points)]
        cells += _cells(row, "mm") if has_mm else []
        cells += [_number(row.mean_mm_3d)] if has_3d else []
        cells += _cells(row, "px")[:1] if has_mm else _cells(row, "px")
        lines.append(tuple(cells))
    return Table("", tuple(columns), tuple(lines))


def _cells(row: StoredRow, unit: str) -> Sequence[str]:
    mean, deviation, median, rmse = (getattr(row, f"{name}_{unit}") for name in ("mean", "sd", "median", "rmse"))
    spread = _number(mean) if deviation is None else f"{_number(mean)} ± {deviation:.2f}"
    return [spread, ends(getattr(row, f"mean_{unit}_interval")), _number(median), _number(rmse)]


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def _unit(unit: str) -> str:
    return "pixels of the scan" if unit == "px" else "mm"


def _depth(model: Model) -> str:
    if model.checkpoint.config.input == "depth":
        return "- It needs the depth of volumes and cannot be used on 2D scans.\n"
    if model.knows_depth:
        return (
            "- Unless `--depth-model` names a network for depth, the third coordinate is the training scans' mean, "
            "that of an average pose.\n"
        )
    return "- In volumes, the third coordinate needs a network for depth, given with `--depth-model`.\n"
