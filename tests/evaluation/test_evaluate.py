"""Errors by hand, and the laws of measuring them: what must not change a result, and what must."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_scansets import BODY, INFO, K, flat_scan, noisy, scan_set, volume_scan
from support.laws import examples
from support.paths import PAPER

from synthgen.errors import ScanError
from synthgen.specs.files import load_spec
from synthgen.specs.spec import load_part
from synthgen.training.evaluation.bootstrap import (
    count_beyond,
    describe,
    draw_subjects,
    mean_draws,
    ratio_of,
    share_within,
)
from synthgen.training.evaluation.errors import (
    Prediction,
    depth_errors,
    landmark_depths_mm,
    point_errors,
    source_pixel_mm,
    to_source,
)
from synthgen.training.evaluation.paper_results import BODY as PAPER_BODY
from synthgen.training.evaluation.paper_results import DEPTH_RATIO, HAND, METHODS, paper_results
from synthgen.training.evaluation.results import compare_methods, results_json
from synthgen.training.evaluation.text_tables import errors_csv, landmark_table, markdown, method_table, ratio_table
from synthgen.training.scans.formats.image_types import Volume
from synthgen.training.scans.formats.landmark_files import Points
from synthgen.training.scans.patch import scan_patch
from synthgen.training.scans.table import ScanSettings

NAN = float("nan")


def oblique(seed):
    """A way back whose axes are at right angles, turned anyhow: (4, 4)."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.0, 2.0, 1.0]
    affine[:3, 3] = rng.normal(scale=100, size=3)
    return affine


def volumes(count, seed=0, subjects=None):
    rng = np.random.default_rng(seed)
    return scan_set(
        *(
            volume_scan(
                f"v{n}", f"p{n if subjects is None else n % subjects}", rng.uniform(5, 90, (K, 2)),
                depths=rng.uniform(40, 60, K), affine=oblique(seed + n),
            )
            for n in range(count)
        )
    )  # fmt: skip


def flats(count, seed=0, subjects=None):
    rng = np.random.default_rng(seed)
    names = [f"p{n if subjects is None else n % subjects}" for n in range(count)]
    return scan_set(*(flat_scan(f"f{n}", name, rng.uniform(5, 90, (K, 2))) for n, name in enumerate(names)))


# Back to the source.


def test_points_of_a_patch_go_back_to_the_pixels_of_a_flat_source():
    scan = flat_scan(scale=(2, 3), shift=(10, 20))

    assert to_source(scan, np.array([[1.0, 2], [0, 0]])).tolist() == [[12, 26, 0], [10, 20, 0]]


@given(st.integers(0, 999))
def test_depths_are_those_that_lead_back_to_the_landmarks(seed):
    rng = np.random.default_rng(seed)
    depths = rng.uniform(0, 300, K)
    scan = volume_scan(px=rng.uniform(0, 96, (K, 2)), depths=depths, affine=oblique(seed))

    assert landmark_depths_mm(scan) == pytest.approx(depths)
    assert to_source(scan, scan.landmarks_px, landmark_depths_mm(scan)) == pytest.approx(scan.landmarks_mm, abs=1e-6)


def test_a_flat_scan_has_no_depths():
    assert np.isnan(landmark_depths_mm(flat_scan())).all()


@pytest.mark.parametrize(
    ("scan", "size"),
    [
        (flat_scan(spacing=(0.2, 0.3)), [0.2, 0.3]),
        (flat_scan(spacing=None), [NAN, NAN]),
        (replace(flat_scan(scale=(2, 8), spacing=(0.5, 0.5)), settings="{}"), [0.5, 0.5]),
        (replace(flat_scan(), settings='{"used": {"mm_per_px": [0, -1]}}'), [0.5, 0.5]),
        (replace(flat_scan(), settings='{"used": {"mm_per_px": "no"}}'), [0.5, 0.5]),
        (replace(flat_scan(), settings="[" * 100_000), [0.5, 0.5]),
        (volume_scan(voxel_mm=(0.4, 0.9)), [0.4, 0.9]),
        (volume_scan(voxel_mm=None), [NAN, NAN]),
    ],
)
def test_the_size_of_a_source_pixel_is_what_is_stated_or_follows(scan, size):
    assert source_pixel_mm(scan) == pytest.approx(np.array(size), nan_ok=True)


# Errors of points.


def test_errors_of_a_flat_scan_by_hand():
    scans = scan_set(flat_scan(px=np.full((K, 2), 30.0), scale=(2, 2), spacing=(0.5, 0.25)))
    moves = np.array([[3.0, 4], [0, 0], [1, 0], [0, 1], [-3, -4]])

    errors = point_errors(scans, "CNN", Prediction(scans.stacked("landmarks_px") + moves))

    assert errors.px[0] == pytest.approx([10, 0, 2, 2, 10])
    assert errors.mm[0] == pytest.approx([np.hypot(3, 2), 0, 1, 0.5, np.hypot(3, 2)])
    assert errors.mm_3d is None


def test_errors_of_a_volume_by_hand():
    scans = scan_set(volume_scan(px=np.full((K, 2), 30.0), voxel_mm=(0.5, 1.0)))  # patch pixels of 2 mm
    moves = np.array([[3.0, 4], [0, 0], [1, 0], [0, 1], [-3, -4]])
    prediction = Prediction(scans.stacked("landmarks_px") + moves, np.array([[50.0, 53, 50, 50, 74]]))

    errors = point_errors(scans, "CNN", prediction)

    assert errors.mm[0] == pytest.approx([10, 0, 2, 2, 10])
    assert errors.px[0] == pytest.approx([np.hypot(12, 8), 0, 4, 2, np.hypot(12, 8)])
    assert errors.mm_3d[0] == pytest.approx([10, 3, 2, 2, 26])
    assert depth_errors(scans, "CNN", prediction.depth_mm)[0] == pytest.approx([0, 3, 0, 0, 24])


def test_a_volume_that_was_brought_has_errors_in_its_own_voxels():
    voxels = np.full((60, 40, 80), -1000, dtype=np.int16)
    voxels[20:40, 10:30, 10:70] = 0
    volume = Volume(voxels, np.array([[2.0, 0, 0, 5], [0, 3, 0, 7], [0, 0, 4, 9], [0, 0, 0, 1]]))
    place = np.array([25.0, 10, 30])
    steps = [(0, 0, 0), (3, 0, 0), (0, 0, 2), (3, 5, 4), (0, 7, 0), (1, 0, 0), (0, 0, 1), (2, 0, 0), (0, 0, 3)]

    def brought(moves):
        points = Points("voxel", {n: tuple(place + move) for n, move in zip(BODY.landmark_names, moves, strict=True)})
        return scan_patch(volume, points, ScanSettings(remove_table=False), load_spec("body"))

    truth, moved = brought([(0, 0, 0)] * 9), brought(steps)
    scan = replace(
        volume_scan(px=truth.landmarks_px), depth_mm=truth.depth_mm, mask=truth.mask, landmarks_mm=truth.landmarks_mm,
        patch_to_source=truth.patch_to_source, settings=json.dumps({"used": truth.settings}),
    )  # fmt: skip
    errors = point_errors(scan_set(scan, info=BODY), "CNN", Prediction(moved.landmarks_px[None]))

    assert errors.px[0] == pytest.approx([np.hypot(x, z) for x, _, z in steps], abs=1e-9)
    assert errors.mm[0] == pytest.approx([np.hypot(2 * x, 4 * z) for x, _, z in steps], abs=1e-9)


def test_without_a_spacing_there_are_pixels_and_no_mm():
    errors = point_errors(scan_set(flat_scan(spacing=None)), "CNN", Prediction(np.ones((1, K, 2))))

    assert errors.px[0] == pytest.approx(np.full(K, np.hypot(2, 2)))
    assert np.isnan(errors.mm).all()


@given(st.integers(0, 99))
def test_the_truth_has_no_error(seed):
    for scans in (volumes(3, seed), flats(3, seed)):
        depth = np.stack([landmark_depths_mm(scan) for scan in scans.scans]) if scans.has_depth else None
        errors = point_errors(scans, "truth", Prediction(scans.stacked("landmarks_px"), depth))

        assert errors.px.max() < 1e-9
        assert errors.mm.max() < 1e-9
        assert errors.mm_3d is None or errors.mm_3d.max() < 1e-6


def mirrored(scans):
    """The same scans with their patches the other way round."""
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = INFO.width
    return scan_set(
        *(
            replace(
                scan, mask=scan.mask[:, ::-1], landmarks_px=scan.landmarks_px * [-1, 1] + [INFO.width, 0],
                patch_to_source=scan.patch_to_source @ flip,
            )
            for scan in scans.scans
        )
    )  # fmt: skip


@given(st.integers(0, 99), st.booleans())
def test_mirrored_patches_have_the_same_errors(seed, flat):
    scans = flats(3, seed) if flat else volumes(3, seed)
    one = noisy(scans, 5, seed, depth=not flat)
    other = Prediction(one.points_px * [-1, 1] + [INFO.width, 0], one.depth_mm)

    usual, turned = point_errors(scans, "a", one), point_errors(mirrored(scans), "a", other)

    assert turned.px == pytest.approx(usual.px)
    assert turned.mm == pytest.approx(usual.mm)
    assert flat or turned.mm_3d == pytest.approx(usual.mm_3d)


@given(st.integers(0, 99))
def test_where_the_patient_lies_does_not_count(seed):
    scans = volumes(3, seed)
    motion = oblique(seed + 1000)
    motion[:3, :3] /= [2, 2, 1]
    moved = scan_set(
        *(
            replace(
                scan, patch_to_source=motion @ scan.patch_to_source,
                landmarks_mm=scan.landmarks_mm @ motion[:3, :3].T + motion[:3, 3],
            )
            for scan in scans.scans
        )
    )  # fmt: skip
    prediction = noisy(scans, 5, seed, depth=True)

    usual, other = point_errors(scans, "a", prediction), point_errors(moved, "a", prediction)

    for unit in ("px", "mm", "mm_3d"):
        assert getattr(other, unit) == pytest.approx(getattr(usual, unit))


def test_missing_landmarks_are_left_out_and_counted():
    scans = flats(4)
    points = scans.stacked("landmarks_px")
    points[1, 2] = points[3, 2] = points[0, 4] = NAN
    some = scan_set(*(replace(scan, landmarks_px=px) for scan, px in zip(scans.scans, points, strict=True)))
    prediction = noisy(some, 3)
    prediction.points_px[1, 2] = NAN  # nobody asks for it

    result = compare_methods(some, {"CNN(ft)": prediction}).methods["CNN(ft)"]

    assert (result.overall.known, result.overall.missing) == (17, 3)
    assert [row.missing for row in result.landmarks.values()] == [0, 0, 2, 0, 1]
    assert result.landmarks["middle"].px.known == 2
    assert result.landmarks["middle"].px.mean == pytest.approx(result.errors.px[[0, 2], 2].mean())


@pytest.mark.parametrize("depth", [False, True])
def test_a_prediction_that_is_no_number_is_told_in_one_line(depth):
    scans = volumes(3)
    prediction = noisy(scans, 1, depth=True)
    (prediction.depth_mm if depth else prediction.points_px[..., 0])[1, 3] = np.inf

    with pytest.raises(ScanError, match=r"^CNN\(ft\): predicts NaN for ring of scan v1; .*lower its learning rate$"):
        point_errors(scans, "CNN(ft)", prediction)


def test_predictions_of_other_scans_are_a_programmers_mistake():
    with pytest.raises(ValueError, match="not"):
        point_errors(flats(3), "CNN", noisy(flats(2), 1))


# What errors come to.


def test_statistics_by_hand():
    errors = np.array([[3.0, 1], [4, NAN], [5, 5]])

    stats = describe(errors, draw_subjects(["a", "b", "c"]))

    assert stats.known == 5
    assert stats.mean == pytest.approx((4 + 3) / 2)
    assert stats.rmse == pytest.approx((np.sqrt(50 / 3) + np.sqrt(13)) / 2)
    assert stats.median == 4
    assert stats.sd == pytest.approx(np.std([3, 1, 4, 5, 5], ddof=1))
    assert share_within(errors, 4) == pytest.approx(3 / 5)
    assert count_beyond(errors, 4) == 2
    assert share_within(errors, 0.5) == 0
    assert count_beyond(errors, 0) == 5


def test_nothing_known_gives_nothing():
    stats = describe(np.full((3, 2), NAN), draw_subjects(["a", "b", "c"]))

    assert stats.known == 0
    assert np.isnan([stats.mean, stats.rmse, stats.sd, stats.median]).all()
    assert stats.mean_interval is None
    assert np.isnan(share_within(np.full((1, 1), NAN), 4))


def test_one_subject_has_no_interval():
    stats = describe(np.array([[1.0], [2.0]]), draw_subjects(["a", "a"]))

    assert stats.mean == 1.5
    assert stats.mean_interval is None
    assert stats.rmse_interval is None


def test_the_bootstrap_covers_the_mean_where_single_scans_would_not():
    rng = np.random.default_rng(0)
    subjects = [f"p{n:02}" for n in range(30) for _ in range(6)]
    covered = naive = 0
    for trial in range(150):
        errors = (rng.gamma(4, 1, 30).repeat(6) + rng.normal(scale=0.1, size=180))[:, None]  # one person errs alike
        low, high = describe(errors, draw_subjects(subjects, trial, 400)).mean_interval
        covered += low <= 4 <= high
        low, high = describe(errors, draw_subjects([str(n) for n in range(180)], trial, 400)).mean_interval
        naive += low <= 4 <= high

    assert 0.88 <= covered / 150 <= 0.99
    assert naive / 150 < 0.7


def test_more_scans_of_the_same_make_no_interval_narrower():
    rng = np.random.default_rng(0)
    errors, subjects = rng.gamma(2, 3, (12, K)), [f"p{n % 7}" for n in range(12)]

    once = describe(errors, draw_subjects(subjects))
    twice = describe(errors.repeat(2, axis=0), draw_subjects(np.repeat(subjects, 2).tolist()))

    assert twice.mean_interval == pytest.approx(once.mean_interval)
    assert twice.rmse_interval == pytest.approx(once.rmse_interval)


@examples(20)
@given(st.integers(0, 99))
def test_an_interval_holds_the_mean_and_comes_again_from_its_seed(seed):
    rng = np.random.default_rng(seed)
    errors, subjects = rng.gamma(2, 3, (20, K)), [f"p{n % 9}" for n in range(20)]

    stats = describe(errors, draw_subjects(subjects, seed))

    assert stats.mean_interval[0] <= stats.mean <= stats.mean_interval[1]
    assert stats.rmse_interval[0] <= stats.rmse <= stats.rmse_interval[1]
    assert stats.mean <= stats.rmse
    assert describe(errors, draw_subjects(subjects, seed)) == stats
    assert describe(errors, draw_subjects(subjects, seed + 1)).mean_interval != stats.mean_interval


def test_ratios_are_of_the_same_draws():
    rng = np.random.default_rng(0)
    errors = rng.gamma(2, 3, (20, K))
    bootstrap = draw_subjects([f"p{n % 9}" for n in range(20)])

    assert ratio_of(errors, errors, bootstrap) == (1.0, (1.0, 1.0))
    half, interval = ratio_of(errors, 2 * errors, bootstrap)
    assert half == pytest.approx(0.5)
    assert interval == pytest.approx((0.5, 0.5))
    value, interval = ratio_of(errors, np.zeros_like(errors) + NAN, bootstrap)
    assert np.isnan(value)
    assert interval is None


def test_a_landmark_that_a_draw_lacks_is_left_out_of_it():
    errors = np.array([[1.0, NAN], [1.0, 3.0]])

    draws = mean_draws(errors, draw_subjects(["a", "b"]))

    assert set(np.round(draws, 9)) == {1.0, 2.0}


# Results.

METHOD_ERRORS = {"NN(syn)": 9, "NN(real)": 6, "RF": 7, "CNN(syn)": 6, "CNN(real)": 4, "CNN(ft)": 2}


def results_of(scans, *, depth=False):
    predictions = {name: noisy(scans, spread, n) for n, (name, spread) in enumerate(METHOD_ERRORS.items())}
    depths = None
    if depth:
        depths = {
            name: noisy(scans, spread, depth=True).depth_mm for name, spread in (("Mean depth", 4), ("CNN(ft)", 1))
        }
    return compare_methods(scans, predictions, depths)


def close(one, other):
    """Whether two contents of results.json say the same."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    return one == pytest.approx(other, rel=1e-6, abs=2e-6) if isinstance(one, float | list) else one == other


def test_the_order_of_scans_does_not_count():
    scans = volumes(12, subjects=5)
    order = np.random.default_rng(0).permutation(12)
    prediction = noisy(scans, 4, depth=True)

    moved = scan_set(*(scans.scans[n] for n in order))
    usual = results_json(compare_methods(scans, {"CNN(ft)": prediction}))
    other = Prediction(prediction.points_px[order], prediction.depth_mm[order])

    assert close(usual, results_json(compare_methods(moved, {"CNN(ft)": other})))


def test_the_order_of_landmarks_does_not_count():
    scans = flats(9)
    order = np.array([3, 1, 4, 0, 2])
    prediction = noisy(scans, 4)
    info = replace(INFO, landmark_names=tuple(INFO.landmark_names[k] for k in order))

    usual = results_json(compare_methods(scans, {"CNN(ft)": prediction}))
    turned = scan_set(*(replace(s, landmarks_px=s.landmarks_px[order], landmarks_mm=s.landmarks_mm[order])
                        for s in scans.scans), info=info)  # fmt: skip
    other = results_json(compare_methods(turned, {"CNN(ft)": Prediction(prediction.points_px[:, order])}))

    assert close(usual, other)


def test_results_are_plain_json_with_the_names_that_are_documented():
    results = results_of(volumes(9), depth=True)
    found = results_json(results)
    thumb = results.methods["CNN(ft)"].errors.mm[:, 0]

    again = json.loads(json.dumps(found, allow_nan=False))

    assert again == found
    assert list(again["methods"]) == list(METHOD_ERRORS)
    tuned = again["methods"]["CNN(ft)"]
    assert list(tuned["landmarks"]) == list(INFO.landmark_names)
    for entry in (tuned, *tuned["landmarks"].values()):
        for key in ("mean_px", "sd_px", "rmse_px", "median_px", "mean_mm", "sd_mm", "rmse_mm", "median_mm"):
            assert entry[key] > 0
        assert entry["mean_px_interval"][0] < entry["mean_px"] < entry["mean_px_interval"][1]
        assert list(entry["outliers_mm"]) == list(entry["success_mm"]) == ["2", "4", "10"]
        for radius in ("2", "4", "10"):
            assert entry["outliers_mm"][radius] == round(entry["points"] * (1 - entry["success_mm"][radius]))
    assert tuned["landmarks"]["thumb"]["mean_mm"] == pytest.approx(thumb.mean(), abs=1e-5)
    assert tuned["landmarks"]["thumb"]["rmse_mm"] == pytest.approx(np.sqrt((thumb**2).mean()), abs=1e-5)
    for unit in ("px", "mm"):
        for number in ("mean", "rmse"):
            rows = [row[f"{number}_{unit}"] for row in tuned["landmarks"].values()]
            assert tuned[f"{number}_{unit}"] == pytest.approx(np.mean(rows), abs=1e-5)
    assert again["depth"]["Mean depth"]["landmarks"]["thumb"]["mean_mm"] > 0


def test_ratios_stand_beside_the_papers():
    found = results_json(results_of(volumes(9), depth=True))

    assert list(found["ratios"]) == ["CNN(ft)/CNN(real)", "NN(syn)/NN(real)", "CNN(syn)/CNN(real)", DEPTH_RATIO]
    assert found["ratios_of"] == "mean_px"
    for name, ratio in found["ratios"].items():
        one, other = name.split("/")
        if name != DEPTH_RATIO:
            means = [found["methods"][method]["mean_px"] for method in (one, other)]
            assert ratio == pytest.approx(means[0] / means[1], rel=1e-5)
        assert found["ratio_intervals"][name][0] < ratio < found["ratio_intervals"][name][1]
    assert found["paper"]["ratios"] == pytest.approx(
        {"CNN(ft)/CNN(real)": 0.79, "NN(syn)/NN(real)": 1.71, "CNN(syn)/CNN(real)": 1.29, DEPTH_RATIO: 0.33}, abs=0.006
    )


def test_another_network_is_compared_with_its_own_and_with_the_papers():
    scans = flats(6)
    names = ("CNN(real)", "CNN(ft)", "Heatmap(real)", "Heatmap(ft)")

    results = compare_methods(scans, {name: noisy(scans, 2, n) for n, name in enumerate(names)})

    assert [ratio.name for ratio in results.ratios] == [
        "CNN(ft)/CNN(real)",
        "Heatmap(ft)/Heatmap(real)",
        "Heatmap(ft)/CNN(ft)",
    ]
    assert [ratio.paper is None for ratio in results.ratios] == [False, True, True]


def test_what_is_not_known_is_null():
    flat = results_json(results_of(scan_set(*(replace(scan, settings="{}", mm_per_px=NAN) for scan in flats(4).scans))))
    deep = results_json(results_of(scan_set(*(replace(scan, settings="{}") for scan in volumes(4).scans))))

    tuned = flat["methods"]["CNN(ft)"]
    assert tuned["mean_mm"] is None
    assert tuned["mean_mm_interval"] is None
    assert tuned["outliers_mm"] is None
    assert tuned["landmarks"]["thumb"]["rmse_mm"] is None
    assert tuned["mean_px"] > 0
    assert (tuned["points"], tuned["points_mm"]) == (20, 0)
    assert deep["methods"]["CNN(ft)"]["mean_px"] is None  # a volume whose voxels' size is not stated
    assert deep["ratios_of"] == "mean_mm"
    assert deep["ratios"]["CNN(ft)/CNN(real)"] > 0


def test_depth_gives_errors_in_space_that_are_no_smaller():
    scans = volumes(8)

    row = compare_methods(scans, {"CNN(ft, depth)": noisy(scans, 3, depth=True)}).methods["CNN(ft, depth)"].overall

    assert row.mm_3d.mean > row.mm.mean


# The paper.


@pytest.mark.parametrize(
    ("paper", "row"),
    [
        (HAND, (15.19, 8.86, 11.66, 10.82, 8.41, 6.63)),
        (PAPER_BODY, (38.03, 32.62, 27.33, 40.31, 33.91, 28.63)),
    ],
)
def test_the_papers_bars_have_the_means_of_its_table(paper, row):
    assert [round(paper.mean_rmse_px(method), 2) for method in METHODS] == pytest.approx(row, abs=0.011)


def test_the_papers_bars_are_of_our_landmarks():
    assert tuple(HAND.rmse_px) == INFO.landmark_names
    assert tuple(PAPER_BODY.rmse_px) == BODY.landmark_names
    for paper in (HAND, PAPER_BODY):
        assert all(low < height < high for bars in paper.rmse_px.values() for height, low, high in bars)


@pytest.mark.skipif(not PAPER.is_dir(), reason="the shared folder is not here")
def test_the_papers_bars_are_those_that_were_read_off():
    ours = {"pinky": "little", "head": "head_top"}
    parts = {"foot": "big_toe", "knee": "knee", "hand": "middle_finger", "shoulder": "shoulder"}
    for letter, side in (("L", "left"), ("R", "right")):
        ours |= {f"{part}{letter}": f"{side}_{name}" for part, name in parts.items()}
    rows = list(csv.DictReader((PAPER / "figure2_rmse_px.csv").open(encoding="utf-8")))
    for row in rows:
        paper = HAND if row["figure"] == "hand_MR" else PAPER_BODY
        bar = paper.rmse_px[ours.get(row["landmark"], row["landmark"])][METHODS.index(row["method"])]
        assert bar == tuple(float(row[key]) for key in ("mean_rmse_px", "err_lo", "err_hi"))
    assert len(rows) == 6 * (len(HAND.rmse_px) + len(PAPER_BODY.rmse_px))
    for row in csv.DictReader((PAPER / "figure4_depth_error_voxel.csv").open(encoding="utf-8")):
        method = {"Dataset mean": "Mean depth"}.get(row["method"], row["method"])
        landmark = ours.get(row["landmark"], row["landmark"])
        assert HAND.depth_voxels[method][landmark] == float(row["mean_abs_depth_error_voxel"])


# Tables.


def test_tables_say_what_the_results_say():
    results = results_of(volumes(9), depth=True)
    tuned = results.methods["CNN(ft)"].overall

    (line,) = (line for line in markdown(method_table(results)).splitlines() if line.startswith("| CNN(ft) |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]

    assert cells[1] == f"{tuned.px.mean:.2f} ± {tuned.px.sd:.2f}"
    assert cells[3] == f"{tuned.px.rmse:.2f}"
    assert cells[-1] == "6.63"
    for table in (method_table(results), ratio_table(results), landmark_table(results, "RF")):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert markdown(table).count("\n") == len(table.rows) + 2
    assert [row[0] for row in landmark_table(results, "RF").rows] == [*INFO.landmark_names, "all"]


def test_every_single_error_is_in_the_csv():
    scans = flats(4)
    scans = scan_set(replace(scans.scans[0], id='a "b", c', landmarks_px=np.full((K, 2), NAN)), *scans.scans[1:])
    results = results_of(scans)

    rows = list(csv.DictReader(io.StringIO(errors_csv(scans, results))))

    assert len(rows) == 6 * 4 * K
    assert rows[0]["id"] == 'a "b", c'
    assert {row["error_px"] for row in rows if row["id"] == 'a "b", c'} == {""}
    mine = [float(row["error_px"]) for row in rows if row["method"] == "RF" and row["error_px"]]
    assert mine == pytest.approx(results.methods["RF"].errors.px[1:].ravel(), abs=1e-4)
    assert {row["error_mm_3d"] for row in rows} == {""}


def test_the_papers_fingertips_stand_for_the_ends_of_skin_and_bone():
    skin, bone = (paper_results("hand", name) for name in ("fingertips", "fingertip_bones"))

    assert skin is HAND
    assert bone is not None
    assert tuple(bone.rmse_px) == load_part("landmarks", "fingertip_bones").names
    assert list(bone.rmse_px.values()) == list(HAND.rmse_px.values())
    assert bone.ratio(DEPTH_RATIO) == HAND.ratio(DEPTH_RATIO)
    assert paper_results("hand", "hand_joints") is None
    assert paper_results("body", "fingertip_bones") is None
