"""Statistics of a dataset, read from its label tables when it is sealed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthgen.datasets.plan import SPLITS, ShardPlan
from synthgen.geometry import Floats
from synthgen.storage.dataset_paths import labels_path

MEASURED = 1000
"""Number of bodies rebuilt for measuring: the first ones, which are as random as any others."""
_PERCENTS = (1, 25, 50, 75, 99)
_WORDS = {
    "age_years": ("age", "years"),
    "stature": ("height", "mm"),
    "mass": ("weight", "kg"),
    "hand_length": ("hand length", "mm"),
    "hand_breadth": ("hand breadth", "mm"),
    "biacromial_breadth": ("shoulder breadth", "mm"),
}
"""Names of the measurements for people, in order, with their units."""
_SLIDERS = {"height": "height, on MakeHuman's scale", "weight": "weight, on MakeHuman's scale"}
"""Names of MakeHuman's sliders, for bodies that are not measured."""
Measurer = Callable[[Mapping[str, float]], Mapping[str, float]]
"""Maps a recipe's shape to the measurements of its body by name."""


@dataclass(frozen=True)
class Spread:
    """The distribution of one quantity."""

    name: str
    unit: str
    mean: float
    deviation: float
    percentiles: tuple[float, ...]
    """1 %, 25 %, 50 %, 75 %, 99 %."""
    counts: tuple[int, ...]
    """Histogram with bins of equal width from minimum to maximum."""
    span: tuple[float, float]
    """Minimum and maximum."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of the samples of a dataset."""

    samples: int
    people: tuple[Spread, ...]
    women: float | None
    """Fraction, 0 to 1; None if the recipes do not contain the sex."""
    measured: int
    """Number of bodies measured for lengths and weights; 0 if none."""
    poses: tuple[Spread, ...]
    """Distribution of each angle, in the recipe's order."""
    visible: tuple[float, ...]
    """For each landmark, the fraction of samples in which it is visible, 0 to 1."""
    in_frame: tuple[float, ...]
    """For each landmark, the fraction of samples in which it is inside the image, 0 to 1."""


def read_statistics(root: Path, plans: Sequence[ShardPlan], measurer: Measurer | None = None) -> Statistics:
    """Compute statistics from the label tables of a dataset, one column at a time.

    Args:
        root: The dataset folder, with its label tables.
        plans: Its shards.
        measurer: Measures bodies; None omits the measurements.

    """
    paths = [root / labels_path(split) for split in SPLITS if any(plan.split == split for plan in plans)]
    files = [pq.ParquetFile(path) for path in paths]
    try:
        schema = files[0].schema_arrow
        shape, pose = _numbers(schema, "shape"), _numbers(schema, "pose")
        women = _column(files, "shape", "gender").mean() if "gender" in shape else None
        measures = _measure(files[0], measurer) if measurer else {}
        age = {"age_years": _column(files, "shape", "age_years")} if "age_years" in shape else {}
        sliders = [] if "stature" in measures else [name for name in _SLIDERS if name in shape]
        people = [_spread(*_WORDS[name], (age | measures)[name]) for name in _WORDS if name in age | measures]
        people += [_spread(_SLIDERS[name], "", _column(files, "shape", name)) for name in sliders]
        poses = [_spread(_plain(name), "°", _column(files, "pose", name)) for name in pose if name.endswith("_deg")]
        seen, inside = (tuple(_shares(files, name)) for name in ("visible", "in_frame"))
        count = len(next(iter(measures.values()), ()))
        samples = sum(file.metadata.num_rows for file in files)
        return Statistics(
            samples, tuple(people), None if women is None else float(women), count, tuple(poses), seen, inside
        )
    finally:
        for file in files:
            file.close()


def _numbers(schema: pa.Schema, field: str) -> list[str]:
    """Return the names of the numbers in a part of the recipe, in order."""
    if field not in schema.names:
        return []
    return [child.name for child in schema.field(field).type if pa.types.is_floating(child.type)]


def _column(files: Sequence[pq.ParquetFile], field: str, name: str) -> Floats:
    """Return one number of every recipe, (N,)."""
    chunks = [chunk for file in files for chunk in file.read(columns=[f"{field}.{name}"])[field].chunks]
    return np.concatenate([chunk.field(name).to_numpy(zero_copy_only=False) for chunk in chunks])


def _shares(files: Sequence[pq.ParquetFile], field: str) -> Iterator[float]:
    """Yield, for each landmark, the fraction of samples in which its flag is set."""
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for f in files for chunk in f.read([field])[field].chunks]
    samples = sum(file.metadata.num_rows for file in files)
    yield from np.concatenate(parts).reshape(samples, -1).mean(axis=0).tolist()


def _measure(file: pq.ParquetFile, measurer: Measurer) -> dict[str, Floats]:
    """Return the measurements of the first bodies by name, (n,) each."""
    shapes = next(file.iter_batches(MEASURED, columns=["shape"]))["shape"].to_pylist()
    measured = [measurer(shape) for shape in shapes]
    return {name: np.array([body[name] for body in measured]) for name in measured[0]}


def _spread(name: str, unit: str, values: Floats) -> Spread:
    low, high = float(values.min()), float(values.max())
    bins = min(40, max(8, round(2 * len(values) ** (1 / 3))))
    counts = np.histogram(values, bins, (low, high) if high > low else (low - 0.5, low + 0.5))[0]
    percentiles = np.percentile(values, _PERCENTS).tolist()
    center, deviation = float(values.mean()), float(values.std())
    return Spread(name, unit, center, deviation, tuple(percentiles), tuple(counts.tolist()), (low, high))


def _plain(name: str) -> str:
    return name.removesuffix("_deg").replace("_", " ").replace(".", ", ")
