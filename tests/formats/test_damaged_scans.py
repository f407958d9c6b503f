"""Scans of every format that are cut off, damaged, or claim to be huge: one line each, no crash, no memory."""

import bz2
import contextlib
import gzip
import os
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from support.fake_scans import content, refusal, voxels, write_all, write_itk, write_nifti

from synthgen.errors import ScanError
from synthgen.training.scans.formats import voxels as voxel_file
from synthgen.training.scans.formats.read_image import read_image


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("kinds"))


KIND_NAMES = [
    *(
        "series",
        "palette.png",
        "deep.png",
        "grey.png",
        "colour.jpg",
        "radiograph.dcm",
        "small.mhd",
        "small.nhdr",
        "packed.dcm",
    ),
    *("small.nii", "small.nii.gz", "second.nii", "small.mha", "packed.mha", "small.nrrd", "packed.nrrd"),
]


def test_all_kinds_are_tested(all_kinds):
    assert [path.name for path in all_kinds] == KIND_NAMES


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("packed.dcm", "series") else [])
        for name in (*KIND_NAMES, "small.raw")
    ],
)
def test_a_file_cut_off_anywhere_is_refused_or_whole(all_kinds, name):
    folder = all_kinds[0].parent
    scan = folder / ("small.mhd" if name == "small.raw" else name)
    target = folder / name if name != "series" else folder / name / "IM0002"
    data, whole = target.read_bytes(), content(read_image(scan))
    kept = []
    try:
        for length in range(len(data)):
            target.write_bytes(data[:length])
            with contextlib.suppress(ScanError):
                assert content(read_image(scan)) == whole
                kept.append(length)
    finally:
        target.write_bytes(data)
    assert kept == [*range(len(data) - len(kept), len(data))]
    assert len(kept) <= (4 if name == "packed.dcm" else 1)  # no voxels: the end of a header's last line, of a delimiter
    assert content(read_image(scan)) == whole


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from synthgen.errors import ScanError
from synthgen.training.scans.formats.read_image import read_image

random = np.random.default_rng(5)
for name in sys.argv[2:]:
    scan = Path(sys.argv[1]) / name
    target = scan / "IM0001" if scan.is_dir() else scan
    data = target.read_bytes()
    refused = 0
    for case in range(300):
        bad = bytearray(data)
        for _ in range(random.integers(1, 5)):
            bad[random.integers(0, min(512, len(bad)) if case % 3 else len(bad))] = random.integers(0, 256)
        target.write_bytes(bad)
        try:
            read_image(scan)
        except ScanError as error:
            assert "\\n" not in str(error), error
            refused += 1
    target.write_bytes(data)
    print(name, refused, flush=True)
"""


@pytest.mark.slow
def test_damaged_headers_never_end_the_process(tmp_path):
    write_all(tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, str(tmp_path), *KIND_NAMES],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    refused = dict(line.split() for line in done.stdout.splitlines())
    assert list(refused) == KIND_NAMES
    assert all(int(count) > 20 for count in refused.values())


def packed_claim(folder, kind):
    """A small packed file whose header says that it is huge."""
    if kind == "nifti":
        path = write_nifti(folder / "x.nii", voxels(), np.eye(4))
        header = np.frombuffer(path.read_bytes()[:348], dtype=nibabel.nifti1.header_dtype).copy()
        header["dim"] = [3, 30000, 30000, 30000, 1, 1, 1, 1]
        (folder / "x.nii.gz").write_bytes(gzip.compress(header.tobytes() + b"\0" * 100000))
        return folder / "x.nii.gz"
    ending, old, new = {
        "mha": ("mha", b"DimSize = 5 4 3", b"DimSize = 50000 40000 30000"),
        "nrrd": ("nrrd", b"sizes: 5 4 3", b"sizes: 50000 40000 30000"),
    }[kind]
    path = write_itk(folder / f"x.{ending}", voxels(), compress=True)
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


@pytest.mark.parametrize("kind", ["nifti", "mha", "nrrd"])
def test_a_packed_file_that_claims_to_be_huge_takes_no_memory(tmp_path, kind):
    path = packed_claim(tmp_path, kind)
    tracemalloc.start()
    try:
        assert "compressed bytes cannot hold" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_a_packed_file_that_holds_more_than_it_says_takes_no_memory(tmp_path):
    small = write_nifti(tmp_path / "x.nii", voxels(), np.eye(4)).read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(small + b"\0" * 50_000_000))
    tracemalloc.start()
    try:
        assert "decompresses to more than" in refusal(tmp_path / "x.nii.gz")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", KIND_NAMES[:1] + KIND_NAMES[5:])
def test_what_does_not_fit_the_memory_is_refused_before_it_is_read(all_kinds, name, monkeypatch):
    monkeypatch.setattr(voxel_file.psutil, "virtual_memory", lambda: SimpleNamespace(available=10))
    monkeypatch.setattr(voxel_file.np, "empty", None)

    assert "memory are free" in refusal(all_kinds[0].parent / name)


def test_a_packed_file_that_holds_less_than_it_says_is_refused(tmp_path):
    data = write_nifti(tmp_path / "x.nii", voxels((20, 20, 20)), np.eye(4)).read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(data[:-2]))

    assert "ends too early, with 15998 bytes of voxels; its header declares 16000" in refusal(tmp_path / "x.nii.gz")


def test_damaged_packed_voxels_are_found_by_their_checksum(tmp_path):
    path = write_nifti(tmp_path / "x.nii.gz", voxels((20, 20, 20), "u1"), np.eye(4))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the checksum
    path.write_bytes(data)

    assert "incorrect data check" in refusal(path)


@pytest.mark.parametrize(
    "name", ["x.bmp", "x.tif", "x", "x.dcm", "x.nii", "x.mha", "x.nrrd", "x.png", "x.hdr", "x.nii.bz2"]
)
def test_what_is_no_scan_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(bz2.compress(b"nothing at all") * 20)

    refusal(tmp_path / name)


def test_what_is_not_there_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "no.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    assert "not a regular file" in refusal(tmp_path / "pipe.nii")
    assert "does not exist" in refusal(tmp_path / "a\0.nii")


def test_dicom_alone_loads_itk():
    code = "import sys, synthgen.training.scans.formats.read_image; sys.exit('SimpleITK' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
