"""The dataset card (README.md) and the license."""

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from synthgen.citation import citation
from synthgen.datasets.plan import SPLITS, ShardPlan
from synthgen.generator.dataset.manifest import RENDERERS, DatasetInfo, environment
from synthgen.generator.dataset.shards import ShardReceipt
from synthgen.specs.safe_yaml import to_yaml
from synthgen.storage.dataset_paths import PEOPLE, POSES

if TYPE_CHECKING:
    from synthgen.generator.dataset.summary import Spread, Statistics

_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)
_NOTE = """\
The images and labels of this dataset are dedicated to the public domain under CC0 1.0, whose text follows.
They are renderings of MakeHuman bodies; MakeHuman's assets and exported models are CC0 1.0 as well.

"""


def card(
    info: DatasetInfo,
    plans: Sequence[ShardPlan],
    receipts: Sequence[ShardReceipt],
    features: Sequence[Mapping[str, Any]],
    numbers: "Statistics | None" = None,
) -> str:
    """Return the text of README.md, a pure function of its arguments.

    Args:
        info: The dataset.
        plans: Its shards.
        receipts: Their receipts, in the same order.
        features: The columns, as declared by the `datasets` library.
        numbers: Statistics of its samples.

    """
    front = to_yaml(_front_matter(info, plans, receipts, features))
    body = Template(_text("card.txt")).substitute(_facts(info, plans), **_numbers(info, numbers))
    return f"---\n{front}---\n\n{body}"


def pretty_name(info: DatasetInfo) -> str:
    """Return the dataset's display name."""
    return f"synthgen {info.name.replace('_', ' ')}, version {info.version}"


def license_text() -> str:
    """Return the text of LICENSE: CC0 1.0 with a note on its scope."""
    return _NOTE + _text("CC0-1.0.txt")


def size_category(count: int) -> str:
    """Return the Hub's size category for a number of samples."""
    return next((word for limit, word in _SIZES if count < limit), "n>1B")


def _front_matter(
    info: DatasetInfo,
    plans: Sequence[ShardPlan],
    receipts: Sequence[ShardReceipt],
    features: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    configs = _configs(plans, receipts, features)
    return {
        "license": "cc0-1.0",
        "pretty_name": pretty_name(info),
        "size_categories": [size_category(info.count)],
        "task_categories": ["keypoint-detection"],
        "annotations_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "tags": [
            "webdataset",
            "synthetic",
            "image",
            "anatomical-landmarks",
            "depth",
            "medical",
            "makehuman",
            "synthgen",
        ],
        "configs": [config for config, _ in configs],
        "dataset_info": [described for _, described in configs],
    }


def _configs(
    plans: Sequence[ShardPlan], receipts: Sequence[ShardReceipt], features: Sequence[Mapping[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each configuration with its dataset_info: the shards, only their json, and one small shard.

    The `datasets` library reads all configurations of a repository with the same builder, so all of these read
    archives. The label tables are read through their folder, ``data_dir="labels"``.
    """
    present = [split for split in SPLITS if any(plan.split == split for plan in plans)]
    files = [{"split": split, "path": f"{split}/*.tar"} for split in present]
    pairs = list(zip(plans, receipts, strict=True))
    splits = [_split(split, [pair for pair in pairs if pair[0].split == split]) for split in present]
    labels = [feature for feature in features if feature["name"] in {"json", "__key__"}]
    configs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"config_name": "default", "default": True, "data_files": files},
         {"config_name": "default", "features": list(features), "splits": splits}),
        ({"config_name": "labels", "data_files": files},
         {"config_name": "labels", "features": labels, "splits": splits}),
    ]  # fmt: skip
    if pairs:
        small = min(pairs, key=lambda pair: (pair[0].samples, -pair[0].number))
        preview = [{"split": "preview", "path": small[0].path}]
        described: dict[str, Any] = {
            "config_name": "preview",
            "features": list(features),
            "splits": [_split("preview", [small])],
        }
        configs.append(({"config_name": "preview", "data_files": preview}, described))
    return configs


def _split(name: str, pairs: Sequence[tuple[ShardPlan, ShardReceipt]]) -> dict[str, Any]:
    size, samples = sum(receipt.bytes for _, receipt in pairs), sum(plan.samples for plan, _ in pairs)
    return {"name": name, "num_bytes": size, "num_examples": samples}


_CHECKED = {
    "blender": "The reference engine rendered them; `--engine raster` compares them with the native engine's pixels.",
    "raster": (
        "The native engine rendered them. It was checked against Blender on 1,000 hands and 200 bodies of each\n"
        "built-in spec: at most 2 in a million mask pixels differ, and depth by less than 0.05 mm away from edges;\n"
        "`synthgen verify . --rerender 50 --engine blender` checks these samples in the same way."
    ),
}
"""How the pixels of each engine were checked (benchmarks/engines.py), and how to check these samples."""


def _facts(info: DatasetInfo, plans: Sequence[ShardPlan]) -> dict[str, str]:
    orthographic = info.projection == "orthographic"
    rows = []
    for split in SPLITS:
        own = [plan for plan in plans if plan.split == split]
        rows.append(f"| {split} | {sum(plan.samples for plan in own):,} | {len(own)} |")
    projected = f"px = {info.width} / 2 + x / mm_per_px`, `py = {info.height} / 2 + y / mm_per_px"
    subject = {"hand": (f"image of a {info.side} hand", f"images of {info.side} hands", "hands")}.get(
        info.model, ("image of a whole body", "images of whole bodies", "bodies")
    )
    versions = environment(info.engine)
    return {
        "pretty": pretty_name(info),
        "count": f"{info.count:,}",
        "images": subject[0] if info.count == 1 else subject[1],
        "subjects": subject[2],
        "width": str(info.width),
        "height": str(info.height),
        "k": str(len(info.landmarks)),
        "renderer": RENDERERS[info.engine],
        "checked": _CHECKED[info.engine],
        "projection": info.projection,
        "splits": "\n".join(rows),
        "steps": f"{info.depth_steps_per_mm:g}",
        "half": f"{0.5 / info.depth_steps_per_mm:g}",
        "perspective": "" if orthographic else ", at the distance in `camera`",
        "projected": f"; `{projected}`" if orthographic else "",
        "spec_sha256": info.spec_sha256,
        "seed": str(info.seed),
        "version": versions["synthgen"],
        "citation": citation(),
        "versions": f"| {' | '.join(versions)} |\n|{'---|' * len(versions)}\n| {' | '.join(versions.values())} |",
    }


def _numbers(info: DatasetInfo, numbers: "Statistics | None") -> dict[str, str]:
    """Return the card's statistics: bodies, poses, and how often each landmark is visible."""
    if numbers is None:
        rows = [f"{k}. `{name}`" for k, name in enumerate(info.landmarks, 1)]
        return {"landmarks": "\n".join(rows), "statistics": ""}
    shares = zip(info.landmarks, numbers.visible, numbers.in_frame, strict=True)
    rows = [f"| {k} | `{name}` | {seen:.1%} | {inside:.1%} |" for k, (name, seen, inside) in enumerate(shares, 1)]
    table = ["| | landmark | visible | inside the image |", "|---|---|---|---|", *rows]
    return {"landmarks": "\n".join(table), "statistics": "\n".join(_statistics(numbers))}


def _statistics(numbers: "Statistics") -> Iterator[str]:
    if not numbers.people and numbers.women is None and not numbers.poses:
        return
    yield "\n## Bodies and poses"
    if numbers.measured:
        yield (f"Of {numbers.samples:,} samples; heights, weights, lengths and breadths are measured on the bodies of "
               f"the first {numbers.measured:,} training samples, as in anthropometry.")  # fmt: skip
    if numbers.women is not None:
        female, male = percentages((numbers.women, 1 - numbers.women))
        yield f"{female} of the bodies are female, {male} male."
    if numbers.people:
        yield "\n| | mean ± SD | 1 % | median | 99 % |\n|---|---|---|---|---|"
        for spread in numbers.people:
            low, _, middle, _, high = (f"{value:,.{_digits(spread)}f}" for value in spread.percentiles)
            name = f"{spread.name}, {spread.unit}" if spread.unit else spread.name
            mean, deviation = (f"{value:,.{_digits(spread)}f}" for value in (spread.mean, spread.deviation))
            yield f"| {name} | {mean} ± {deviation} | {low} | {middle} | {high} |"
    if numbers.people or numbers.women is not None:
        yield f"\n![Distributions of age, sex and measures]({PEOPLE})"
    if numbers.poses:
        yield "\nJoint angles: thin lines span 98 % of the samples, thick lines the middle half; dots are medians."
        yield f"\n![Ranges of the joints' angles]({POSES})"
    yield ""


def percentages(shares: Sequence[float], decimals: int = 1) -> list[str]:
    """Return shares of a whole as percentages that sum to exactly 100, rounded by the largest-remainder method."""
    unit = 10**decimals
    exact = [share / sum(shares) * 100 * unit for share in shares]
    steps = [math.floor(value) for value in exact]
    upward = sorted(range(len(exact)), key=lambda k: steps[k] - exact[k])  # ties: first come
    for k in upward[: 100 * unit - sum(steps)]:
        steps[k] += 1
    return [f"{step // unit}.{step % unit:0{decimals}d}%" if decimals else f"{step}%" for step in steps]


def _digits(spread: "Spread") -> int:
    """Return the number of decimals with which a quantity is printed."""
    return {"": 2, "mm": 0}.get(spread.unit, 1)


def _text(name: str) -> str:
    return files("synthgen.generator.dataset").joinpath(name).read_text(encoding="utf-8")
