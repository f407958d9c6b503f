"""The dataset card (README.md) and the licence."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from synthgen.generator.manifest import RENDERERS, DatasetInfo
from synthgen.generator.shards import SPLITS, ShardPlan, ShardReceipt
from synthgen.safe_yaml import to_yaml

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
) -> str:
    """Return the text of README.md.

    Args:
        info: The dataset.
        plans: Its shards.
        receipts: What they turned out to be, in the same order.
        features: The columns, as `datasets` declares them.

    """
    front = to_yaml(_front_matter(info, plans, receipts, features))
    body = Template(_text("card.txt")).substitute(_facts(info, plans))
    return f"---\n{front}---\n\n{body}"


def pretty_name(info: DatasetInfo) -> str:
    """Return the dataset's name for people."""
    return f"synthgen {info.name.replace('_', ' ')}, version {info.version}"


def license_text() -> str:
    """Return the text of LICENSE: CC0 1.0 with a note on its reach."""
    return _NOTE + _text("CC0-1.0.txt")


def size_category(count: int) -> str:
    """Return the Hub's word for a number of samples."""
    return next((word for limit, word in _SIZES if count < limit), "n>1B")


def _front_matter(
    info: DatasetInfo,
    plans: Sequence[ShardPlan],
    receipts: Sequence[ShardReceipt],
    features: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    present = [split for split in SPLITS if any(plan.split == split for plan in plans)]
    splits = []
    for split in present:
        own = [(plan, receipt) for plan, receipt in zip(plans, receipts, strict=True) if plan.split == split]
        size, samples = sum(receipt.bytes for _, receipt in own), sum(plan.samples for plan, _ in own)
        splits.append({"name": split, "num_bytes": size, "num_examples": samples})
    # Only the shards are declared: `datasets` reads all of a repository's configurations with one builder.
    data_files = [{"split": split, "path": f"{split}/*.tar"} for split in present]
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
        "configs": [{"config_name": "default", "default": True, "data_files": data_files}],
        "dataset_info": {"config_name": "default", "features": list(features), "splits": splits},
    }


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
    return {
        "pretty": pretty_name(info),
        "count": f"{info.count:,}",
        "images": subject[0] if info.count == 1 else subject[1],
        "subjects": subject[2],
        "width": str(info.width),
        "height": str(info.height),
        "k": str(len(info.landmarks)),
        "renderer": RENDERERS[info.engine],
        "projection": info.projection,
        "splits": "\n".join(rows),
        "steps": f"{info.depth_steps_per_mm:g}",
        "half": f"{0.5 / info.depth_steps_per_mm:g}",
        "perspective": "" if orthographic else ", at the distance in `camera`",
        "projected": f"; `{projected}`" if orthographic else "",
        "landmarks": "\n".join(f"{i}. `{name}`" for i, name in enumerate(info.landmarks, 1)),
        "spec_sha256": info.spec_sha256,
    }


def _text(name: str) -> str:
    return files("synthgen.generator").joinpath(name).read_text(encoding="utf-8")
