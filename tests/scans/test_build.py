"""Scan sets from a table of scans: phantoms in, HDF5 out, and every mistake in one line."""

import csv
import json
import math

import nibabel
import numpy as np
import pytest
from support.command_line import call_here

from synthgen.errors import ScanError
from synthgen.generator.phantoms.folder import make_phantoms
from synthgen.generator.phantoms.phantom import PhantomOptions
from synthgen.specs.files import load_spec
from synthgen.training.scans import build as scans
from synthgen.training.scans import import_scan as importing
from synthgen.training.scans.formats.image_types import Volume
from synthgen.training.scans.formats.landmark_files import Points, read_landmarks, write_markups
from synthgen.training.scans.scan_set import read_scanset, scan_points_mm

HAND = load_spec("hand", {"seed": 3})
NAMES = HAND.landmarks.names


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "phantoms"
    return make_phantoms(HAND, 2, folder, PhantomOptions(spacing_mm=(2.0, 2.0, 2.0)))


@pytest.fixture
def table(phantoms, tmp_path):
    """A copy of the phantoms' table, whose rows a test may change; its images stay where they are."""

    def write(change=lambda rows: None):
        with phantoms.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["image"] = str(phantoms.parent / row["image"])
            row["landmarks"] = str(phantoms.parent / row["landmarks"])
        change(rows)
        path = tmp_path / "scans.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.mark.slow
def test_a_table_of_phantoms_becomes_a_scan_set(phantoms, tmp_path):
    built = scans.build(phantoms, HAND, tmp_path / "scans.h5")
    back = read_scanset(tmp_path / "scans.h5")

    assert built.refused == ()
    assert back.info.landmark_set == "fingertips"
    assert [scan.id for scan in back.scans] == ["hand-000000000", "hand-000000001"]
    assert back.has_depth
    for scan in back.scans:
        truth = read_landmarks(phantoms.parent / f"{scan.id}.mrk.json", NAMES).points
        assert np.abs(scan.landmarks_mm - [truth[name] for name in NAMES]).max() < 1e-6
        assert scan.source == f"{scan.id}.nii.gz"
        assert json.loads(scan.settings)["used"]["threshold_rule"] == "otsu"
        affine = np.linalg.inv(scan.patch_to_source)
        depth = (np.column_stack([scan.landmarks_mm, np.ones(5)]) @ affine.T)[:, 2]
        assert np.abs(scan_points_mm(scan, scan.landmarks_px, depth) - scan.landmarks_mm).max() < 1e-6


@pytest.mark.slow
def test_the_same_table_gives_the_same_set(phantoms, tmp_path):
    one, other = (scans.build(phantoms, HAND, tmp_path / f"{n}.h5").set for n in "ab")

    assert np.array_equal(one.stacked("mask"), other.stacked("mask"))
    assert [scan.sha256 for scan in one.scans] == [scan.sha256 for scan in other.scans]


@pytest.mark.slow
def test_landmarks_may_be_missing(table, tmp_path):
    def without(rows):
        rows[0]["landmarks"] = ""

    built = scans.build(table(without), HAND, tmp_path / "scans.h5")

    assert np.isnan(built.set.scans[0].landmarks_px).all()
    assert np.isfinite(built.set.scans[1].landmarks_px).all()


def scaled(phantoms, tmp_path, matrix, name="moved.mrk.json"):
    truth = read_landmarks(phantoms.parent / "hand-000000000.mrk.json", NAMES).points
    write_markups(tmp_path / name, {key: np.array(matrix) @ point for key, point in truth.items()})
    return tmp_path / name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.diag([0.001] * 3), "they look like metres"),
        (np.diag([-1, -1, 1]), "thumb lies at the image's left"),
        (np.diag([0.1] * 3), "they look like cm"),
    ],
)
def test_landmarks_in_another_frame_are_explained(phantoms, table, tmp_path, matrix, text):
    def move(rows):
        rows[0]["landmarks"] = str(scaled(phantoms, tmp_path, matrix))

    try:
        _, wrong = scans.check(table(move), HAND)
    except ScanError as error:
        wrong = [error]

    assert any(text in str(one) for one in wrong)


def test_ras_outside_the_volume_is_explained(tmp_path):
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = (100, 50, 0)
    image, points = Volume(np.zeros((50, 50, 50)), affine), Points("lps_mm", {"thumb": (-120.0, -70.0, 20.0)})

    assert "RAS" in importing._outside(image, points)
    assert "voxel indices" in importing._outside(image, Points("lps_mm", {"thumb": (3.0, 4.0, 5.0)}))
    assert importing._outside(image, Points("voxel", {"thumb": (3.0, 4.0, 5.0)})) is None
    assert importing._outside(image, Points("lps_mm", {"thumb": (99.0, 99.9, 20.0)})) is None


@pytest.mark.slow
def test_exchanged_sides_are_told(table):
    def exchange(rows):
        for row in rows:
            row["side"] = "right"

    _, wrong = scans.check(table(exchange), HAND)

    assert len(wrong) == 2
    assert all("side" in refused.reason for refused in wrong)


def test_a_body_with_exchanged_names_is_told():
    places = {"left_knee": np.array([20.0, 0]), "right_knee": np.array([50.0, 0])}

    assert importing._swapped(places, "body") is not None
    assert importing._swapped({"left_knee": places["right_knee"], "right_knee": places["left_knee"]}, "body") is None


def _broken(rows, tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b" + bytes(40))
    rows[1]["image"] = str(tmp_path / "broken.nii.gz")


def _air(rows, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 20, 20), np.int16), np.eye(4)), tmp_path / "air.nii.gz")
    rows[1] |= {"image": str(tmp_path / "air.nii.gz"), "landmarks": ""}


def _four(rows, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 5, 5, 3), np.int16), np.eye(4)), tmp_path / "four.nii.gz")
    rows[1] |= {"image": str(tmp_path / "four.nii.gz"), "landmarks": ""}


def _many(rows, tmp_path):
    points = {f"p{n}": (n, n, n) for n in range(37)}
    write_markups(tmp_path / "many.mrk.json", points)
    rows[1]["landmarks"] = str(tmp_path / "many.mrk.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "text"),
    [(_broken, "broken.nii.gz: "), (_air, "air.nii.gz: "), (_four, "four.nii.gz: is 4D"), (_many, "many.mrk.json: ")],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(table, tmp_path, capsys, monkeypatch, spoil, text):
    path, out = table(lambda rows: spoil(rows, tmp_path)), tmp_path / "set.h5"
    command = ["scans", "build", path, "--spec", "hand", "--out", out]

    status, _, err = call_here(capsys, monkeypatch, *command)

    assert status == 2
    assert err.count("\n") == 1
    assert text in err
    assert "Traceback" not in err
    assert not out.exists()

    status, said, err = call_here(capsys, monkeypatch, *command, "--skip-bad")

    assert status == 0
    assert text in err
    assert "1 scans of 1 subjects" in said
    assert len(read_scanset(out).scans) == 1


@pytest.mark.slow
def test_a_set_that_is_there_is_not_replaced(table, tmp_path, capsys, monkeypatch):
    (tmp_path / "set.h5").write_text("mine")

    status, _, err = call_here(
        capsys, monkeypatch, "scans", "build", table(), "--spec", "hand", "--out", tmp_path / "set.h5"
    )

    assert (status, (tmp_path / "set.h5").read_text()) == (2, "mine")
    assert "--overwrite" in err


@pytest.mark.slow
def test_check_info_and_preview_show_the_scans(phantoms, tmp_path, capsys, monkeypatch):
    sheet, out = tmp_path / "sheet.png", tmp_path / "scans.h5"

    assert call_here(capsys, monkeypatch, "scans", "check", phantoms, "--spec", "hand", "--out", sheet)[0] == 0
    assert call_here(capsys, monkeypatch, "scans", "build", phantoms, "--spec", "hand", "--out", out)[0] == 0
    status, said, _ = call_here(capsys, monkeypatch, "scans", "info", out)

    assert status == 0
    assert "2 scans, fingertips (5 landmarks), 96 x 96, with depth" in said
    assert sheet.stat().st_size > 1000
    assert call_here(capsys, monkeypatch, "scans", "preview", out, "--out", tmp_path / "p.png")[0] == 0


@pytest.mark.slow
def test_a_reader_that_dies_is_one_bad_scan(table, monkeypatch):
    """Python's own crash, in the child, stands for a library's."""
    monkeypatch.setattr(scans, "import_scan", die_over_the_first)

    results = [result for _, result in scans._imported(table(), HAND, lambda *_: None)]

    assert "broke the reader" in results[0]
    assert math.isfinite(results[1].scan.mm_per_px)


def die_over_the_first(row, path, domain):
    if row.line == 2:
        import os

        os.abort()
    return importing.import_scan(row, path, domain)
