"""The dataset's description in Croissant 1.0, with the responsible-AI (RAI) properties."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synthgen.datasets.plan import SPLITS, ShardPlan
from synthgen.generator.dataset.card import pretty_name
from synthgen.generator.dataset.manifest import RENDERERS, DatasetInfo
from synthgen.storage.dataset_paths import labels_path

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_COLUMNS = {
    "key": ("sc:Text", "Name of the sample's files up to their first dot."),
    "shard": ("sc:Text", "Path of the archive that contains the sample."),
    "index": ("sc:Integer", "The sample's index; index mod 50 determines its split."),
    "mm_per_px": ("sc:Float", "Size of a pixel, mm."),
    "depth_near_mm": ("sc:Float", "Depth whose code is 1, mm."),
    "depth_steps_per_mm": ("sc:Float", "Steps of the stored depth per mm."),
}
_IMAGES = {"mask": "Silhouette, 1-bit.", "depth": "Coded depth, 16-bit, 0 for the background."}
_RAI = {
    "rai:dataBiases": "Shapes and poses follow the distributions of spec/spec.yaml, not those of a population.",
    "rai:dataLimitations": "No soft-tissue contact, clothing or pathology. "
    "Results need validation on real scans before any medical use.",
    "rai:dataUseCases": "Training of anatomical landmark detectors that are fine-tuned on binarized or depth images "
    "of real scans.",
    "rai:dataSocialImpact": "Reduces the need to record and label patients; "
    "trained detectors may fail on shapes that the shape space does not cover.",
    "rai:personalSensitiveInformation": "None.",
}


def croissant(info: DatasetInfo, plans: Sequence[ShardPlan], sha256: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``croissant.json`` holds.

    Args:
        info: The dataset.
        plans: Its shards.
        sha256: Digests of its files, by relative path.

    """
    splits = [split for split in SPLITS if any(plan.split == split for plan in plans)]
    tars = [_file(plan.path, "application/x-tar", sha256) for plan in plans]
    tables = [_file(labels_path(split), "application/x-parquet", sha256) for split in splits]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": info.title,
        "alternateName": pretty_name(info),
        "description": f"{info.count} synthetic {info.model} images, each with mask, metric depth and "
        f"{len(info.landmarks)} exact 2D and 3D landmarks: {', '.join(info.landmarks)}.",
        "version": f"{info.version}.0.0",
        "license": "https://creativecommons.org/publicdomain/zero/1.0/",
        "url": "https://doi.org/10.1109/ICCVW.2015.21",
        "citeAs": "Riegler et al., Anatomical Landmark Detection in Medical Applications Driven by Synthetic Data, "
        "ICCVW 2015",
        "isLiveDataset": False,
        "rai:dataCollection": f"Rendered from a parametric body model (MakeHuman) by {RENDERERS[info.engine]}; "
        "no person was recorded.",
        **_RAI,
        "distribution": [*tars, *tables, *(_file_set(name, plans) for name in _IMAGES)],
        "recordSet": [*(_image_records(name) for name in _IMAGES), *(_label_records(split) for split in splits)],
    }


def _file(path: str, encoding: str, sha256: Mapping[str, str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "encodingFormat": encoding,
        "sha256": sha256[path],
    }


def _file_set(name: str, plans: Sequence[ShardPlan]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}-files",
        "name": f"{name}-files",
        "containedIn": [{"@id": plan.path} for plan in plans],
        "encodingFormat": "image/png",
        "includes": f"*.{name}.png",
    }


def _image_records(name: str) -> dict[str, Any]:
    files, records = {"@id": f"{name}-files"}, f"{name}s"
    key = {
        "fileSet": files,
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": rf"^([0-9]+)\.{name}\.png$"},
    }
    image = {"fileSet": files, "extract": {"fileProperty": "content"}}
    return {
        "@type": "cr:RecordSet",
        "@id": records,
        "name": records,
        "description": _IMAGES[name],
        "key": {"@id": f"{records}/key"},
        "field": [
            _field(f"{records}/key", "sc:Text", _COLUMNS["key"][1], key),
            _field(f"{records}/image", "sc:ImageObject", _IMAGES[name], image),
        ],
    }


def _label_records(split: str) -> dict[str, Any]:
    records = f"labels-{split}"
    return {
        "@type": "cr:RecordSet",
        "@id": records,
        "name": records,
        "description": f"Labels of the {split} split; the file's further columns are described in README.md.",
        "key": {"@id": f"{records}/key"},
        "field": list(_columns(split, records)),
    }


def _columns(split: str, records: str) -> Iterator[dict[str, Any]]:
    for name, (kind, text) in _COLUMNS.items():
        source = {"fileObject": {"@id": labels_path(split)}, "extract": {"column": name}}
        yield _field(f"{records}/{name}", kind, text, source)


def _field(identity: str, kind: str, text: str, source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": identity,
        "name": identity,
        "description": text,
        "dataType": kind,
        "source": source,
    }
