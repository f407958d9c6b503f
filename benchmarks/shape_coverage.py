"""Do the built-in shape spaces cover real adults? Compares drawn people with the ANSUR II survey, by sex.

    python -m benchmarks.shape_coverage --draws 3000 --data FOLDER

For each measure: mean, standard deviation, 1st and 99th percentile of both, and whether the drawn p1 to p99 contains
the survey's p1 to p99 and the means differ by less than one standard deviation of the survey. Exits with status 1 if
not. Measures are those of generator/bodies/anthropometry.py; drawn people are those of the space aged 18 to 60 (the
survey's are 17 to 58).
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synthgen.blender_assets.bake import ensure_model
from synthgen.blender_assets.model import BodyModel
from synthgen.generator.bodies.anthropometry import body_measures, hand_measures
from synthgen.generator.bodies.shape_and_skin import rest_body
from synthgen.randomness.seeding import Streams
from synthgen.shape_spaces.draw import ShapeDrawer
from synthgen.specs.shape_space import ShapeSpace
from synthgen.specs.spec import load_part

COLUMNS = {
    "stature": ("stature", 1.0), "mass": ("weightkg", 0.1), "hand_length": ("handlength", 1.0),
    "hand_breadth": ("handbreadth", 1.0), "biacromial_breadth": ("biacromialbreadth", 1.0),
}  # fmt: skip
"""Each measure's column in the survey and the unit of that column in mm or kg."""
SPACES = {"ct_body": "body", "body_any": "body", "hand_any": "hand"}
SEXES = {"women": ("FEMALE", 1.0), "men": ("MALE", 0.0)}
AGES = (18, 60)
MAX_TRIES = 100
"""Draws of a space for one adult of the wanted sex, before giving up."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    mean: float
    deviation: float
    p1: float
    p99: float

    @classmethod
    def of(cls, values: Values) -> "Statistics":
        p1, p99 = np.percentile(values, [1, 99])
        return cls(float(values.mean()), float(values.std(ddof=1)), float(p1), float(p99))

    def __str__(self) -> str:
        return f"{self.mean:7.1f} ± {self.deviation:5.1f} [{self.p1:6.1f}, {self.p99:6.1f}]"


@dataclass(frozen=True)
class Coverage:
    space: str
    sex: str
    measure: str
    drawn: Statistics
    people: Statistics

    @property
    def contains(self) -> bool:
        return self.drawn.p1 <= self.people.p1 and self.people.p99 <= self.drawn.p99

    @property
    def offset(self) -> float:
        """Difference of the means in people's standard deviations."""
        return (self.drawn.mean - self.people.mean) / self.people.deviation

    @property
    def passes(self) -> bool:
        return self.contains and abs(self.offset) < 1

    def __str__(self) -> str:
        verdict = "covers" if self.passes else "FAILS "
        unit = "kg" if self.measure == "mass" else "mm"
        name = f"{self.measure.replace('_', ' ')} {unit}"
        return f"{self.space:9} {self.sex:6} {name:21} {self.drawn}   {self.people}   {self.offset:+5.2f}  {verdict}"


def data_folder() -> Path:
    """The folder of real data: $SYNTHGEN_REAL_DATA, or shared/data beside the checkout."""
    return Path(os.environ.get("SYNTHGEN_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared/data")


def read_people(folder: Path, sex: str) -> dict[str, Values]:
    """Read the survey's measures of one sex, in mm and kg."""
    path = folder / f"ANSUR_II_{SEXES[sex][0]}_Public.csv"
    with path.open(encoding="latin-1", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[column]) * unit for row in rows]) for name, (column, unit) in COLUMNS.items()}


def adults(space: ShapeSpace, model: BodyModel, sex: str, n: int) -> Iterator[dict[str, float]]:
    """Draw the shapes of the space's first n adults of one sex."""
    drawer = ShapeDrawer(space, model.calibration)
    found = 0
    for shape in drawer.draw(Streams(0, tuple(range(MAX_TRIES * n)), "shape")):
        if shape["gender"] == SEXES[sex][1] and AGES[0] <= shape["age_years"] <= AGES[1]:
            yield shape
            found += 1
        if found == n:
            return
    msg = f"the space has too few adult {sex}: {found} in {MAX_TRIES * n} draws"
    raise ValueError(msg)


def draw_measures(space: str, sex: str, n: int) -> dict[str, Values]:
    """Draw and measure n adults of one sex from a built-in space."""
    model = ensure_model(SPACES[space])
    measure = body_measures if SPACES[space] == "body" else hand_measures
    drawn = [measure(model, rest_body(model, shape)) for shape in adults(load_part("shape", space), model, sex, n)]
    return {name: np.array([one[name] for one in drawn]) for name in drawn[0]}


def coverage(folder: Path, spaces: Sequence[str], n: int) -> Iterator[Coverage]:
    """Compare n drawn women and n drawn men of each space with the survey."""
    for space in spaces:
        for sex in SEXES:
            people = read_people(folder, sex)
            for measure, values in draw_measures(space, sex, n).items():
                yield Coverage(space, sex, measure, Statistics.of(values), Statistics.of(people[measure]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=data_folder(), help="folder with ansur2/; also $SYNTHGEN_REAL_DATA"
    )
    parser.add_argument("--draws", type=int, default=3000, help="adults of each sex and space")
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES), metavar="SPACE")
    options = parser.parse_args()
    folder = options.data / "ansur2"
    if not folder.is_dir():
        print(f"{folder}: no such folder; put ANSUR II's two CSV files there, or name another folder with --data")
        return 2
    print(f"{'space':9} {'sex':6} {'measure':21} {'drawn: mean ± SD [p1, p99]':33} {'ANSUR II':33} offset in SD")
    failures = 0
    for row in coverage(folder, options.spaces, options.draws):
        print(row, flush=True)
        failures += not row.passes
    print("every measure is covered" if not failures else f"{failures} measures are not covered")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
