from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.laws import examples

from synthgen.errors import ScanError
from synthgen.specs.files import load_spec
from synthgen.training.scans.build import scanset_info
from synthgen.training.scans.scan_set import Scan, ScanSet, read_scanset, scan_points_mm, write_scanset

INFO = scanset_info(load_spec("hand"))
K = len(INFO.landmark_names)


def scan(name: str = "a", seed: int = 0, *, flat: bool = False) -> Scan:
    rng = np.random.default_rng(seed)
    mask = rng.random((INFO.height, INFO.width)) < 0.5
    depth = np.where(mask, rng.uniform(200, 300, mask.shape), np.nan).astype(np.float32)
    px = rng.uniform(0, 96, (K, 2))
    px[seed % K] = np.nan
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    return Scan(
        mask=mask,
        depth_mm=None if flat else depth,
        landmarks_px=px,
        landmarks_mm=np.full((K, 3), np.nan) if flat else rng.normal(size=(K, 3)),
        patch_to_source=affine,
        mm_per_px=1.25,
        touches_border=bool(seed % 2),
        id=name,
        subject=f"subject {seed}, Zoë",
        side="left",
        source=f"images/{name}.nii.gz",
        sha256="0" * 64,
        settings='{"asked": {}, "used": {"threshold": 40}}',
    )


def equal(one: Scan, other: Scan) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in Scan.__dataclass_fields__]
    return all(a == b if isinstance(a, str) or a is None else np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@examples(15, HealthCheck.function_scoped_fixture)
@given(seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=5, unique=True), flat=st.booleans())
def test_what_is_written_is_read(tmp_path, seeds, flat):
    scans = [scan(f"s{seed}", seed, flat=flat) for seed in seeds]

    write_scanset(tmp_path / "scans.h5", INFO, scans)
    back = read_scanset(tmp_path / "scans.h5")

    assert back.info == INFO
    assert len(back.scans) == len(scans)
    assert all(equal(a, b) for a, b in zip(back.scans, scans, strict=True))
    assert back.has_depth is not flat


def test_the_file_is_laid_out_as_documented(tmp_path):
    write_scanset(tmp_path / "scans.h5", INFO, [scan("a", 1), scan("b", 2)])

    with h5py.File(tmp_path / "scans.h5") as store:
        kinds = {name: (data.shape, data.dtype.str) for name, data in store.items() if data.dtype.kind != "O"}
        assert store.attrs["format"] == "synthgen-scanset"
        assert store.attrs["landmark_set"] == "fingertips"
        assert list(store.attrs["landmark_names"]) == ["thumb", "index", "middle", "ring", "little"]
        assert (store.attrs["width"], store.attrs["height"]) == (96, 96)
        assert store["mask"].chunks == (1, 96, 96)
        assert store["mask"].compression == "gzip"
        assert store["subject"].asstr()[0] == "subject 1, Zoë"
    assert kinds == {
        "mask": ((2, 96, 96), "|u1"),
        "depth_mm": ((2, 96, 96), "<f4"),
        "landmarks_px": ((2, 5, 2), "<f8"),
        "landmarks_mm": ((2, 5, 3), "<f8"),
        "patch_to_source": ((2, 4, 4), "<f8"),
        "mm_per_px": ((2,), "<f8"),
        "touches_border": ((2,), "|b1"),
    }


def test_the_way_back_is_the_affine():
    one = replace(scan(), patch_to_source=np.array([[2.0, 0, 0, 5], [0, 0, 3, 7], [0, 1, 0, 0], [0, 0, 0, 1]]))

    points = scan_points_mm(one, np.array([[1.0, 2.0]]), np.array([10.0]))

    assert points.tolist() == [[7.0, 37.0, 2.0]]


def test_both_kinds_in_one_set_are_refused(tmp_path):
    with pytest.raises(ScanError, match="b is 2D and others are volumes"):
        write_scanset(tmp_path / "scans.h5", INFO, [scan("a"), scan("b", flat=True)])

    assert list(tmp_path.iterdir()) == []


def test_an_empty_set_is_refused(tmp_path):
    with pytest.raises(ScanError, match="no scan"):
        write_scanset(tmp_path / "scans.h5", INFO, [])


@pytest.fixture
def stored(tmp_path):
    write_scanset(tmp_path / "scans.h5", INFO, [scan("a", 1), scan("b", 2)])
    return tmp_path / "scans.h5"


def _delete(store):
    del store["mm_per_px"]


def _reshape(store):
    del store["mask"]
    store["mask"] = np.zeros((2, 96, 95), np.uint8)


def _retype(store):
    del store["mask"]
    store["mask"] = np.zeros((2, 96, 96), np.float64)


def _link(store):
    del store["mask"]
    store["mask"] = h5py.ExternalLink("other.h5", "mask")


def _outside(store):
    del store["mm_per_px"]
    store.create_dataset("mm_per_px", (2,), "f8", external=[("/etc/hostname", 0, 16)])


def _newer(store):
    store.attrs["version"] = 2


def _another(store):
    store.attrs["format"] = "something"


def _unnamed(store):
    del store.attrs["landmark_names"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_delete, "mm_per_px is missing"),
        (_reshape, r"mask is uint8 \(2, 96, 95\)"),
        (_retype, "mask is float64"),
        (_link, "mask is missing, or is stored in another file"),
        (_outside, "mm_per_px is missing, or is stored in another file"),
        (_newer, "version 2 is newer"),
        (_another, "no scan set"),
        (_unnamed, "is damaged"),
    ],
)
def test_a_changed_file_is_refused(stored, change, text):
    with h5py.File(stored, "r+") as store:
        change(store)

    with pytest.raises(ScanError, match=text):
        read_scanset(stored)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(stored, share):
    data = stored.read_bytes()
    stored.write_bytes(data[: int(share * len(data))])

    with pytest.raises(ScanError, match=r"scans\.h5"):
        read_scanset(stored)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ScanError, match=r"none\.h5: cannot be read"):
        read_scanset(tmp_path / "none.h5")


def test_fields_are_stacked():
    both = ScanSet(INFO, (scan("a", 1), scan("b", 2)))

    assert both.stacked("mask").shape == (2, 96, 96)
    assert both.stacked("id").tolist() == ["a", "b"]
