"""Files of landmarks: frames honoured, names and numbers checked, what is written read back equal."""

import contextlib
import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synthgen.errors import ScanError
from synthgen.training.scans.formats.landmark_files import Points, read_landmarks, write_csv, write_json, write_markups

NAMES = ("thumb", "index", "middle", "ring", "little")
NUMBERS = st.floats(-9e6, 9e6)
COLUMNS = {"lps_mm": "x_mm,y_mm,z_mm", "voxel": "i,j,k", "pixel": "x,y"}


def points_of(frame):
    count = 2 if frame == "pixel" else 3
    return st.dictionaries(st.sampled_from(NAMES), st.tuples(*[NUMBERS] * count), max_size=5)


def put(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, names=NAMES):
    with pytest.raises(ScanError) as caught:
        read_landmarks(path, names)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert len(text) < 500
    return text


def markups(points, *, kind="Fiducial", **more):
    controls = [{"label": name, "position": position} for name, position in points.items()]
    return {"type": kind, "controlPoints": controls} | more


def mrk(tmp_path, *nodes):
    return put(tmp_path, "x.mrk.json", json.dumps({"@schema": "…/markups-schema-v1.0.3.json#", "markups": list(nodes)}))


def fcsv(*rows, system="LPS"):
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {system}\n"
    columns = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    return head + columns + "".join(row + "\n" for row in rows)


def row(name, x, y, z, rest=",,"):
    return f"vtkMRMLMarkupsFiducialNode_0,{x},{y},{z},0,0,0,1,1,1,0,{name}{rest}"


# round trips


@pytest.mark.parametrize("frame", list(COLUMNS))
@pytest.mark.parametrize("write", [write_csv, write_json])
@given(data=st.data())
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path_factory, frame, write, data):
    given_points = data.draw(points_of(frame))
    path = tmp_path_factory.mktemp("points") / ("x.csv" if write is write_csv else "x.json")
    write(path, Points(frame, given_points))
    found = read_landmarks(path, NAMES)

    assert found == Points(frame, given_points)
    assert list(found.points) == [name for name in NAMES if name in given_points]


@given(points_of("lps_mm"))
@example({"thumb": (0.1, -1e-7, 1 / 3)})
def test_markups_are_read_back_to_the_last_bit(tmp_path_factory, given_points):
    path = tmp_path_factory.mktemp("points") / "x.mrk.json"
    write_markups(path, given_points | {"nobody": (math.nan, 1, 2)})

    assert read_landmarks(path, (*NAMES, "nobody")) == Points("lps_mm", given_points)


def test_markups_are_what_slicer_wants(tmp_path):
    write_markups(tmp_path / "x.mrk.json", {"thumb": (1, 2, 3), "ring": (math.nan,) * 3}, {"thumb": "sure"})
    content = json.loads((tmp_path / "x.mrk.json").read_text())
    (node,) = content["markups"]

    assert content["@schema"].endswith("/markups-schema-v1.0.3.json#")
    assert (node["type"], node["coordinateSystem"], node["coordinateUnits"]) == ("Fiducial", "LPS", "mm")
    assert node["controlPoints"] == [
        {"id": "1", "label": "thumb", "description": "sure", "position": [1.0, 2.0, 3.0]},
        {"id": "2", "label": "ring", "description": "", "positionStatus": "undefined"},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["x.mrk.json"]


@pytest.mark.parametrize("bad", [(1, 2), (1, 2, math.inf), (1, 2, 3, 4)])
def test_what_is_no_point_is_not_written(tmp_path, bad):
    for write in (write_csv, write_json):
        with pytest.raises(ValueError, match="3 finite numbers"):
            write(tmp_path / "x", Points("lps_mm", {"thumb": bad}))
    with pytest.raises(ValueError, match="3 finite numbers"):
        write_markups(tmp_path / "x", {"thumb": bad})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ScanError, match=r"file/x\.csv: cannot be written"):
        write_csv(tmp_path / "file" / "x.csv", Points("voxel", {}))


# Slicer


@pytest.mark.parametrize(("system", "expected"), [("LPS", (1, -2, 3)), ("RAS", (-1, 2, 3)), (None, (1, -2, 3))])
def test_the_frame_of_markups_is_honoured(tmp_path, system, expected):
    more = {} if system is None else {"coordinateSystem": system}
    path = mrk(tmp_path, markups({"thumb": [1, -2, 3]}, **more))

    assert read_landmarks(path, NAMES) == Points("lps_mm", {"thumb": expected})


def test_every_point_list_counts_and_what_is_not_placed_is_missing(tmp_path):
    first = markups({"ring": [1, 2, 3]}, coordinateSystem="RAS", coordinateUnits=["mm", "UCUM", "millimeter"])
    second = markups({"index": [4, 5, 6], "thumb": "", "middle": [0, 0, 0]}, coordinateUnits="mm")
    second["controlPoints"][1]["positionStatus"] = "undefined"
    second["controlPoints"][2]["positionStatus"] = "missing"
    path = mrk(tmp_path, first, markups({"a": [0, 0, 0]}, kind="Line"), second)

    assert read_landmarks(path, NAMES) == Points("lps_mm", {"index": (4, 5, 6), "ring": (-1, -2, 3)})


@pytest.mark.parametrize(("system", "sign"), [("LPS", 1), ("RAS", -1), ("1", 1), ("0", -1)])
def test_the_frame_of_fcsv_is_honoured(tmp_path, system, sign):
    rows = [row("thumb", 1.5, "-2e1", 3), row('"ring"', 4, 5, 6, ',"a, b",'), row("little", 0, 0, 0, ",,,0,0"), ""]
    rows += [row("index", 7, 8, 9, ",,,2,0")]
    path = put(tmp_path, "x.fcsv", fcsv(*rows, system=system).replace("\n", "\r\n"))
    expected = {"thumb": (sign * 1.5, sign * -20, 3), "index": (sign * 7, sign * 8, 9), "ring": (sign * 4, sign * 5, 6)}

    assert read_landmarks(path, NAMES) == Points("lps_mm", expected)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (markups({"thumb": [1, 2, 3]}, coordinateSystem="IJK"), "coordinateSystem is 'IJK'"),
        (markups({"thumb": [1, 2, 3]}, coordinateUnits="um"), "coordinateUnits is 'um'"),
        (markups({"thumb": [1, 2, 3]}, kind="Curve"), "contains no point list (Curve)"),
        (markups({"thumb": [1, 2]}), "thumb has 2 coordinates"),
        (markups({"thumb": [1, 2, "x"]}), "coordinate 'x'"),
        (markups({"thumb": [1, 2, True]}), "coordinate 'True'"),
        (markups({"thumb": [1, 2, 1e300]}), "coordinate '1e+300'"),
        (markups({"thumb": None}), "has no position"),
        (markups({"F-1": [1, 2, 3]}), "no landmark is named 'F-1'"),
        (markups({"thumbs": [1, 2, 3]}), 'did you mean "thumb"'),
        ({"type": "Fiducial", "controlPoints": 5}, "controlPoints is not a list"),
        ({"type": "Fiducial", "controlPoints": [5]}, "controlPoints is not a list"),
        ({"type": "Fiducial", "controlPoints": [{"positionStatus": 3}]}, "positionStatus is '3'"),
        (5, "contains no point list"),
    ],
)
def test_bad_markups_are_refused(tmp_path, node, text):
    assert text in refused(mrk(tmp_path, node))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (row("thumb", 1, 2, 3), "has no line `# CoordinateSystem"),
        (fcsv(row("thumb", 1, 2, 3), system="IJK"), ":2: CoordinateSystem is 'IJK'"),
        (fcsv(row("thumb", 1, 2, 3), system="2"), ":2: CoordinateSystem is '2'"),
        (fcsv("1,2,3"), ":4: has 3 cells"),
        (fcsv(row("thumb", 1, "", 3)), ":4: thumb has the coordinate ''"),
        (fcsv(row("thumb", 1, "nan", 3)), ":4: thumb has the coordinate 'nan'"),
        (fcsv(row("thumb", 1, 2, 3), row("thumb", 1, 2, 3)), ":5: thumb occurs twice"),
    ],
)
def test_a_bad_fcsv_is_refused(tmp_path, content, text):
    assert text in refused(put(tmp_path, "x.fcsv", content))


# tables and JSON


@pytest.mark.parametrize("frame", list(COLUMNS))
def test_the_columns_say_the_frame(tmp_path, frame):
    cells = "1.5,-2" if frame == "pixel" else "1.5,-2,+3.25e1"
    expected = (1.5, -2.0) if frame == "pixel" else (1.5, -2.0, 32.5)
    blank = cells.count(",") * ","
    keys = dict(zip(COLUMNS[frame].split(","), expected, strict=True))
    text = f"remark,name,{COLUMNS[frame]}\n\nsure, ring ,{cells}\n,thumb,{blank}\n"
    files = [
        put(tmp_path, "x.csv", text),
        put(tmp_path, "y.CSV", b"\xef\xbb\xbf" + text.replace(",", ";").replace("\n", "\r\n").encode()),
        put(
            tmp_path,
            "x.json",
            json.dumps([{"name": "ring"} | keys]),
        ),
        put(tmp_path, "y.json", json.dumps({"frame": frame, "points": {"thumb": None, "ring": expected}})),
    ]

    for path in files:
        assert read_landmarks(path, NAMES) == Points(frame, {"ring": expected})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("name,x,y,z\nthumb,1,2,3\n", "columns x,y,z leave frame and unit open; name the columns x_mm"),
        ("name,x_mm,y_mm\nthumb,1,2\n", "has no column z_mm"),
        ("name,x,y,i,j,k\nthumb,1,2,3,4,5\n", "several frames (voxel, pixel)"),
        ("name,a,b\nthumb,1,2\n", "has no coordinates"),
        ("label,x,y\nthumb,1,2\n", "has no column 'name' (only label, x, y)"),
        ("name,x,x\nthumb,1,2\n", ":1: column 'x' occurs twice"),
        ("name,x,y\nthumb,1\n", ":2: 2 cells where the header has 3"),
        ("name,x,y\nthumb,1,2\nthumb,1,2\n", ":3: thumb occurs twice"),
        ("name,x,y\nthumb,1,2\nthum,1,2\n", ":3: no landmark is named 'thum'; did you mean \"thumb\""),
        ("name,x,y\nthumb,1,\n", ":2: thumb has the coordinate ''"),
        ("name,x,y\nthumb,nan,2\n", ":2: thumb has the coordinate 'nan'"),
        ("name,x,y\nthumb,inf,2\n", ":2: thumb has the coordinate 'inf'"),
        ("name,x,y\nthumb,1e9,2\n", ":2: thumb has the coordinate '1e9'"),
        ("name,x,y\nthumb,1_0,2\n", ":2: thumb has the coordinate '1_0'"),
        ("name;x;y\nthumb;1,5;2\n", ":2: thumb has the coordinate '1,5'"),
        ("", "is empty"),
        (b"name,x,y\n\xff\xfe,1,2\n", "is not UTF-8"),
        ("name,x,y\nth\0umb,1,2\n", ":2: no landmark is named 'th\\x00umb'"),
        ("name,x,y\n" + "thumb" * 40_000 + ",1,2\n", ":2: is not valid CSV"),
        (
            "name,x,y\n" + "".join(f"{k},1,2\n" for k in range(37)),
            "has 37 points, expected at most 5; keep those",
        ),
        ("name,x,y\n" + "thumb,1,2\n" * 500_000, "is larger than 4 MB"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path, content, text):
    assert text in refused(put(tmp_path, "x.csv", content))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"frame": "ras", "points": {}}', "frame is 'ras'; use one of: lps_mm, voxel, pixel"),
        ('{"frame": ["voxel"], "points": {}}', "frame is"),
        ('{"frame": "voxel", "points": {"thumb": [1, 2]}}', "thumb has 2 coordinates, expected 3"),
        ('{"frame": "voxel", "points": {"thumb": "1 2 3"}}', "thumb has 1 coordinates"),
        ('{"frame": "voxel", "points": {"thumb": [1, 2, null]}}', "coordinate 'None'"),
        ('{"frame": "voxel", "points": {"thumb": [1, 2, NaN]}}', "NaN is not a finite number"),
        ('{"frame": "voxel", "points": {"thumb": [1, 2, 1e999]}}', "coordinate 'inf'"),
        ('{"frame": "voxel", "points": {"thumb": [1, 2, ' + "9" * 5000 + "]}}", "is not valid JSON"),
        ('{"frame": "voxel", "points": {"thumb": [1, 2, 3], "thumb": [1, 2, 3]}}', "'thumb' occurs twice"),
        ('{"frame": "voxel", "points": {"thunb": [1, 2, 3]}}', 'did you mean "thumb"'),
        ('[{"name": "thumb", "x": 1, "y": 2, "z": 3}]', "columns x,y,z leave"),
        ('[{"name": "thumb", "x": 1, "y": 2}, {"name": "ring", "x": 1}]', "point 2: has no y"),
        ('[{"name": "thumb", "i": 1, "j": 2, "k": []}]', "coordinate '[]'"),
        ("[[1, 2, 3]]", "holds no landmarks"),
        ("{}", "holds no landmarks"),
        ("5", "holds no landmarks"),
        ('{"markups": 5}', "contains no point list"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (json.dumps([{"name": str(k), "x": 1, "y": 2} for k in range(37)]), "has 37 points, expected at most 5"),
        (" " * 4_000_001, "is larger than 4 MB"),
    ],
)
def test_a_bad_json_is_refused(tmp_path, content, text):
    assert text in refused(put(tmp_path, "x.json", content))


def test_other_files_are_refused(tmp_path):
    assert "save the landmarks as .mrk.json" in refused(put(tmp_path, "x.txt", "thumb 1 2 3"))
    assert "does not exist" in refused(tmp_path / "no.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "not a regular file" in refused(tmp_path / "folder.csv")


@given(st.binary(max_size=300), st.sampled_from(["x.mrk.json", "x.fcsv", "x.csv", "x.json"]))
def test_no_bytes_are_worse_than_one_line(tmp_path_factory, content, name):
    path = put(tmp_path_factory.mktemp("any"), name, content)
    with contextlib.suppress(ScanError):
        assert set(read_landmarks(path, NAMES).points) <= set(NAMES)


@pytest.mark.parametrize("name", ["x.mrk.json", "x.fcsv", "x.csv", "y.csv", "x.json"])
def test_a_file_cut_off_anywhere_is_refused_or_holds_whole_points(tmp_path, name):
    whole = {"thumb": (1.25, -2.5, 3.75), "index": (-10.5, 20.25, 30.125), "ring": (4.5, 5.5, 6.5)}
    path = tmp_path / name
    if name == "x.fcsv":
        path.write_text(fcsv(*(row(key, *point) for key, point in whole.items())))
    elif name == "x.mrk.json":
        write_markups(path, whole)
    elif name == "x.json":
        write_json(path, Points("lps_mm", whole))
    else:
        write_csv(path, Points("lps_mm", whole))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            found = read_landmarks(path, NAMES).points
        except ScanError:
            continue
        assert name != "x.json" or length == len(data) - 1
        assert all(found[key] == whole[key] for key in list(found)[:-1])
