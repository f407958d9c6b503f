"""The table of scans: settings, paths, and every mistake with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.errors import ScanError
from synthgen.training.scans.table import ScanRow, ScanSettings, read_scan_table

HEAD = "id,subject,image,landmarks"


@pytest.fixture
def table(tmp_path):
    """Write a table beside the files that it names."""
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b/points.mrk.json").touch()

    def write(content, name="scans.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path):
    with pytest.raises(ScanError) as caught:
        read_scan_table(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


def test_a_table_is_read_with_its_settings(table, tmp_path):
    path = table(
        f"{HEAD},side,up,viewed_from,threshold,method,remove_table,fill_holes,largest,min_speckle_mm2,mm_per_px\n"
        "a-1,Müller,a.nii.gz,b/points.mrk.json,left,S,auto,-400,volume,yes,No,TRUE,2.5,0.1\n"
        '\nb,"Müller, jun.",b,,,,,Otsu,,,false,,,\n'
    )
    first = ScanSettings(
        side="left",
        up="S",
        viewed_from="auto",
        threshold=-400,
        method="volume",
        remove_table=True,
        fill_holes=False,
        largest=True,
        min_speckle_mm2=2.5,
        mm_per_px=0.1,
    )
    expected = (
        ScanRow(2, "a-1", "Müller", tmp_path / "a.nii.gz", tmp_path / "b/points.mrk.json", first),
        ScanRow(4, "b", "Müller, jun.", tmp_path / "b", None, ScanSettings(threshold="otsu", fill_holes=False)),
    )

    assert read_scan_table(path) == expected


def test_other_programs_tables_are_read(table, tmp_path):
    path = table(b"\xef\xbb\xbf" + b"id;subject;image;mm_per_px\r\nx;y;a.nii.gz;0.5\r\n")
    absolute = table(f"id,subject,image\nx,y,{tmp_path / 'a.nii.gz'}\n", "absolute.csv")

    assert read_scan_table(path)[0].settings == ScanSettings(mm_per_px=0.5)
    assert read_scan_table(absolute)[0].image == tmp_path / "a.nii.gz"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", ": is empty; write the column names in the first line"),
        (f"{HEAD}\n", ": lists no scan"),
        ("id,subject,imge\n", ": no column is named 'imge'; did you mean \"image\"?"),
        ("id,subject,image,treshold\n", 'did you mean "threshold"?'),
        ("id,image\nx,a.nii.gz\n", ": has no column subject; add it"),
        ("id,id,subject,image\n", ":1: column 'id' occurs twice"),
        (f"{HEAD}\nx,y,a.nii.gz\n", ":2: 3 cells where the header has 4"),
        (f"{HEAD}\nx,y,a.nii.gz,\n\nx,z,a.nii.gz,\n", ":4: id x is already used in line 2"),
        (f"{HEAD}\n,y,a.nii.gz,\n", ":2: id: is empty"),
        (f"{HEAD}\nx,,a.nii.gz,\n", ":2: subject: is empty"),
        (f"{HEAD}\nx,y,,\n", ":2: image: is empty"),
        (f"{HEAD}\n../x,y,a.nii.gz,\n", ":2: id: value '../x'"),
        (f"{HEAD}\n{'x' * 101},y,a.nii.gz,\n", ":2: id: value"),
        (f'{HEAD}\nx,"y\nz",a.nii.gz,\n', ":3: subject: value"),
        (f"{HEAD}\nx,y,no.nii,\n", ":2: image: 'no.nii' does not exist; paths are relative to the table's folder"),
        (f"{HEAD}\nx,y,{'n' * 5000},\n", "does not exist"),
        (f"{HEAD}\nx,y,a.nii.gz,no.csv\n", ":2: landmarks: 'no.csv' does not exist"),
        (f"{HEAD},up\nx,y,a.nii.gz,,up\n", ':2: up: value "up"; use one of: L, R, A, P, S, I, auto'),
        (f"{HEAD},side\nx,y,a.nii.gz,,lift\n", ':2: side: value "lift"; did you mean "left"?'),
        (
            f"{HEAD},method\nx,y,a.nii.gz,,xray\n",
            ':2: method: value "xray"; use one of: auto, volume, radiograph, mask',
        ),
        (f"{HEAD},threshold\nx,y,a.nii.gz,,high\n", ':2: threshold: value "high"; write a number, otsu'),
        (f"{HEAD},threshold\nx,y,a.nii.gz,,nan\n", ':2: threshold: value "nan"'),
        (f"{HEAD},largest\nx,y,a.nii.gz,,1\n", ':2: largest: value "1"; write yes or no'),
        (f"{HEAD},mm_per_px\nx,y,a.nii.gz,,0\n", ":2: mm_per_px: value"),
        (f"{HEAD},mm_per_px\nx,y,a.nii.gz,,inf\n", ":2: mm_per_px: value"),
        (f"{HEAD},min_speckle_mm2\nx,y,a.nii.gz,,-1\n", ":2: min_speckle_mm2: value"),
        (b"id,subject,image\n\xff,y,a.nii.gz\n", ": is not UTF-8 text"),
        ("id,subject,image\n" + "x,y,a.nii.gz\n" * 1_300_000, ": is larger than 16 MB"),
    ],
)
def test_a_bad_table_is_refused(table, content, text):
    assert text in refused(table(content))


def test_a_table_that_is_not_there_is_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "no.csv")


@given(st.text(max_size=100))
def test_no_text_is_worse_than_one_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")

    refused(path)


def test_what_is_not_said_is_the_models_default():
    body, hand = ScanSettings().for_model("body"), ScanSettings(up="S", largest=False).for_model("hand")

    assert (body.up, body.viewed_from, body.remove_table, body.fill_holes, body.largest) == ("S", "A", True, True, True)
    assert (hand.up, hand.viewed_from, hand.remove_table, hand.fill_holes, hand.largest) == (
        *("S", "auto", False, True),
        False,
    )
    assert ScanSettings(remove_table=False, viewed_from="P").for_model("body") == body.model_copy(
        update={"remove_table": False, "viewed_from": "P"}
    )
    assert body.for_model("body") == body
