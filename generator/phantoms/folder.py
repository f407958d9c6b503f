"""Writes phantom scans to a folder: volumes, their landmarks, a table of both, and a README."""

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from synthgen.errors import DatasetError, SpecError, need
from synthgen.generator.phantoms.nifti_writer import write_nifti
from synthgen.generator.phantoms.phantom import PhantomOptions, checked, make_phantom, phantom_scene
from synthgen.geometry import Floats
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.atomic_files import write_file
from synthgen.storage.sample import sample_key

COLUMNS = ("id", "subject", "image", "landmarks", "side", "up", "viewed_from")
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_README = """Phantom scans, made by synthgen from the spec {spec!r} with seed {seed}. No patient was scanned.

Each image is a voxelized, posed MakeHuman body, {what}.
Its landmarks are in a file of the same name (3D Slicer markups, LPS mm); scans.csv lists all scans. The surface is
exact: it is the mesh that synthgen renders for the same sample. Bones, organs, noise and artefacts are only rough
approximations that make the images look like scans; do not draw conclusions about anatomy or scanners from them.
The same spec and seed give the same files. CC0 1.0, as is everything that synthgen renders.
"""
_WHAT = {
    "body": "CT-like, in Hounsfield units, supine on a scanner's table",
    "hand": "MR-like, in arbitrary units, with a sandbag on the hand",
}


def make_phantoms(
    spec: ResolvedSpec,
    n: int,
    out: Path,
    options: PhantomOptions | None = None,
    on_file: Callable[[Path], None] | None = None,
) -> Path:
    """Write the phantom scans of a spec's first samples, their landmarks and a table; return the table's path.

    Args:
        spec: The spec of the bodies.
        n: Number of phantoms.
        out: Folder to create; it may exist if it is empty.
        options: How the volumes are stored.
        on_file: Called with the path of each file after it is written.

    Raises:
        SynthgenError: The spec, the number or an option is invalid.
        DatasetError: The folder is not empty, or cannot be written.
        MissingPackageError: nibabel is not installed; nothing is written then.
    """
    need("nibabel")
    if n < 1:
        raise SpecError(f"-n: value {n}; make at least 1 phantom")
    checked(options or PhantomOptions())
    _check_empty(out)
    report = on_file or (lambda _: None)
    scene, rows = phantom_scene(spec), []
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for index in range(n):
        phantom, name = make_phantom(scene, index, options), f"{scene.spec.name}-{sample_key(index)}"
        image, landmarks = f"{name}.nii.gz", f"{name}.mrk.json"
        with _writing(out):
            write_nifti(out / image, phantom.voxels, phantom.affine)
            write_file(out / landmarks, markups(phantom.landmarks_mm).encode())
        report(out / image)
        rows.append((name, name, image, landmarks, phantom.side, phantom.up, phantom.viewed_from))
    readme = _README.format(spec=scene.spec.name, seed=scene.spec.seed, what=_WHAT[scene.spec.model])
    with _writing(out):
        write_file(out / "README.txt", readme.encode())
        write_file(out / "scans.csv", _table(rows).encode())
    report(out / "scans.csv")
    return out / "scans.csv"


def markups(landmarks_mm: Mapping[str, Floats]) -> str:
    """Return the content of a 3D Slicer markups file with points (3,) in LPS mm by name."""
    points = [
        {
            "id": str(n),
            "label": name,
            "position": [round(float(v), 6) + 0.0 for v in place],
            "positionStatus": "defined",
        }
        for n, (name, place) in enumerate(landmarks_mm.items(), 1)
    ]
    nodes = [{"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}]
    return json.dumps({"@schema": _SCHEMA, "markups": nodes}, indent=1) + "\n"


def _check_empty(out: Path) -> None:
    with _writing(out):
        if out.exists() and not out.is_dir():
            raise DatasetError(f"--out: value {out} is a file; choose a folder")
        if out.is_dir() and any(out.iterdir()):
            raise DatasetError(f"--out: value {out} is not an empty folder; choose another")


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(f"--out: value {out} cannot be written ({why}); choose another or free some space") from None


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()
