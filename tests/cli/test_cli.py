"""The command line: it answers at once, mistakes are one line, and every command says how to use it."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support.command_line import call, refuse, refuse_with
from typer.testing import CliRunner

import synthgen
from synthgen.cli import main as cli
from synthgen.errors import AssetError
from synthgen.generator.runs import doctor

COMMANDS = (
    ["render"],
    ["preview"],
    ["inspect"],
    ["blend"],
    ["doctor"],
    ["bake"],
    ["spec", "init"],
    ["spec", "show"],
    ["spec", "schema"],
    ["target", "check"],
    ["target", "list"],
    ["scans", "build"],
    ["scans", "check"],
    ["scans", "info"],
    ["scans", "preview"],
    ["scans", "phantom"],
    ["train"],
    ["finetune"],
    ["experiment"],
    ["predict"],
    ["push"],
    ["pull"],
    ["verify"],
)
HEAVY = ("bpy", "torch", "dask", "distributed", "pyarrow", "anny", "SimpleITK", "h5py", "numba")


def loaded_after(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded after some code."""
    tail = f"\nimport sys\nprint('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())


HELP = """
import sys
sys.argv = ["synthgen", "--help"]
from synthgen.cli.main import main
try:
    main()
except SystemExit:
    pass
"""


def test_help_and_import_load_nothing_heavy():
    assert loaded_after("import synthgen") == set()
    assert loaded_after(HELP) == set()
    assert loaded_after(HELP.replace('"--help"', '"render", "--help"')) == set()


def test_the_check_for_heavy_modules_can_fail():
    assert loaded_after("import pyarrow") == {"pyarrow"}


def test_version():
    done = call("--version")

    assert (done.returncode, done.stdout) == (0, f"synthgen {synthgen.__version__}\n")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command):
    result = CliRunner().invoke(cli.app, [*command, "--help"])

    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"synthgen {' '.join(command)}" in " ".join(result.stdout.split())


def called(command) -> str:
    return command.name or command.callback.__name__


def test_no_command_is_untested():
    groups = {group.name: group.typer_instance for group in cli.app.registered_groups}
    names = [[called(command)] for command in cli.app.registered_commands]
    names += [[name, called(command)] for name, group in groups.items() for command in group.registered_commands]

    assert sorted(names) == sorted(COMMANDS)


def test_render_has_the_options_of_its_documentation():
    text = " ".join(CliRunner().invoke(cli.app, ["render", "--help"]).stdout.split())
    for option in [
        "spec",
        "workers",
        "out",
        "count",
        "seed",
        "shards",
        "scheduler",
        "engine",
        "overwrite",
        "dashboard",
    ]:
        assert f"--{option} " in text


BAD_SPEC = "name: mine\nmodel: hand\ncount: 5\nimag: 3\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--spec", "hnad.yaml"], "hand"),
        (["--spec", "bad.yaml"], "imag"),
        (["--spec", "hand", "--count", "0"], "count: value 0"),
        (["--spec", "hand", "--count", "-3"], "count: value -3"),
        (["--spec", "hand", "--seed", "-1"], "seed: value -1"),
        (["--spec", "hand", "--engine", "povray"], 'engine: value "povray"'),
        (["--spec", "hand", "--count", "10", "--shards", "7"], "--shards"),
        (["--spec", "hand", "--count", "10", "--workers", "0"], "--workers"),
        (["--spec", "hand", "--count", "10", "--out", "bad.yaml/data"], "bad.yaml"),
        (["--spec", "hand", "--count", "10", "--scheduler", "tcp://127.0.0.1:9"], "cannot be reached"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, arguments, expected):
    (tmp_path / "bad.yaml").write_text(BAD_SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("synthgen.generator.runs.cluster._CONNECT_S", 1)
    monkeypatch.setattr("synthgen.generator.prepare.prepare_scene", lambda spec, say: SimpleNamespace(spec=spec))

    assert expected in refuse(capsys, monkeypatch, "render", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_files_that_cannot_be_written_or_read_are_refused_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert ".png" in refuse(capsys, monkeypatch, "preview", "--spec", "hand", "--out", "sheet.doc")
    assert "nowhere" in refuse(capsys, monkeypatch, "preview", "--spec", "hand", "--out", "nowhere/sheet.png")
    assert ".blend" in refuse(capsys, monkeypatch, "blend", "--spec", "hand", "--index", "1", "--out", "a.png")
    assert "missing" in refuse(capsys, monkeypatch, "inspect", "missing", "3")
    assert "nothing.target" in refuse(capsys, monkeypatch, "target", "check", "nothing.target")


def test_a_wrong_option_is_a_usage_error():
    done = call("render", "--spec", "hand", "--wrokers", "3")

    assert done.returncode == 2
    assert "--workers" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_the_system_is_one_line(monkeypatch, capsys):
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device", "somewhere/file")

    monkeypatch.setattr("synthgen.specs.files.load_spec", full)

    assert refuse(capsys, monkeypatch, "spec", "show", "hand") == "error: somewhere/file: No space left on device"


@pytest.mark.parametrize("name", ["hand", "body", "paper_hand", "paper_body"])
def test_spec_init_writes_a_copy_that_means_the_same(tmp_path, name):
    runner = CliRunner()
    mine = tmp_path / "mine.yaml"

    assert runner.invoke(cli.app, ["spec", "init", name, "--out", str(mine)]).exit_code == 0
    assert mine.read_text().startswith("#")
    shown = runner.invoke(cli.app, ["spec", "show", str(mine)])
    assert shown.exit_code == 0
    assert shown.stdout == runner.invoke(cli.app, ["spec", "show", f"{name}.yaml"]).stdout


def test_spec_init_overwrites_nothing(tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text("precious")

    assert "exists" in refuse(capsys, monkeypatch, "spec", "init", "hand", "--out", str(mine))
    assert mine.read_text() == "precious"


def test_spec_schema_is_json():
    schema = json.loads(CliRunner().invoke(cli.app, ["spec", "schema"]).stdout)

    assert {"name", "model", "count", "image"} <= set(schema["properties"])


def test_target_check_reads_a_file_and_names_a_broken_line(tmp_path, monkeypatch, capsys):
    good, bad = tmp_path / "good.target", tmp_path / "bad.target"
    good.write_text("# long thumb\n7 0.1 0 0\n8 0 0.2 0\n")
    bad.write_text("7 0.1 0 0\n8 0 zero 0\n")
    result = CliRunner().invoke(cli.app, ["target", "check", str(good)])

    assert result.stdout == f"{good}: moves 2 vertices by up to 20.00 mm\n"
    assert "bad.target:2" in refuse(capsys, monkeypatch, "target", "check", str(bad))


def test_doctor_notices_what_is_missing(tmp_path, monkeypatch):
    assert doctor.check_python((3, 10)).status == "fail"
    assert doctor.check_python((3, 13)).status == "ok"
    assert doctor.check_packages(("numpy", "no_such_package")).status == "fail"
    assert doctor.check_packages(("numpy",)).status == "ok"
    assert doctor.check_blender("import os; os.abort()").found.endswith("crashed with signal 6")
    assert doctor.check_blender("raise ImportError('libGL')").found.endswith("ImportError: libGL")
    assert doctor.check_blender("print('bpy 5 depth 3.0')").status == "fail"
    assert doctor.check_blender(installed=False).status == "warn"
    assert "--engine raster" in doctor.check_blender(installed=False).fix
    assert doctor.check_raster("raise ImportError('llvmlite')").found == "raster: ImportError: llvmlite"
    assert doctor.check_scratch(tmp_path / "none").status == "ok"
    monkeypatch.setattr(doctor, "disk_free", lambda path: 100)
    assert doctor.check_scratch(tmp_path).status == "warn"
    assert doctor.check_disk_here().status == "warn"


def test_doctor_exits_with_1_when_something_fails(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Check("python", "fail", "3.9 [x]", "use 3.11")])
    result = CliRunner().invoke(cli.app, ["doctor"])

    assert result.exit_code == 1
    assert "3.9 [x]" in result.stdout

    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Check("disk", "warn", "little", "")])
    assert CliRunner().invoke(cli.app, ["doctor"]).exit_code == 0


@pytest.mark.bpy
def test_doctor_renders_in_a_child_process():
    before = "bpy" in sys.modules
    assert doctor.check_blender().status == "ok"
    assert doctor.check_raster().status == "ok"
    assert ("bpy" in sys.modules) == before


def test_spec_init_names_the_file_after_the_spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    assert runner.invoke(cli.app, ["spec", "init", "hand"]).exit_code == 0
    assert (tmp_path / "hand.yaml").read_text() == runner.invoke(cli.app, ["spec", "init", "hand", "--out", "-"]).stdout


def test_target_list_prints_makehumans_names():
    hand = CliRunner().invoke(cli.app, ["target", "list", "--model", "hand"]).stdout.split()
    body = CliRunner().invoke(cli.app, ["target", "list"]).stdout.split()

    assert "l-hand-scale-incr" in hand
    assert len(body) == 256
    assert set(hand) < set(body)


def test_an_interrupted_command_says_so(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)

    assert refuse_with(130, capsys, monkeypatch, "doctor") == "error: stopped\n"


@pytest.mark.parametrize("error", [RuntimeError, AssetError])  # here, and in the process that bakes
def test_code_that_can_be_kept_nowhere_is_a_mistake_with_its_fix(monkeypatch, capsys, error):
    def no_place():
        raise error("cannot cache function 'products': no locator available for file 'kernels.py'")

    monkeypatch.setattr(doctor, "examine", no_place)

    assert "NUMBA_CACHE_DIR" in refuse(capsys, monkeypatch, "doctor")


def test_other_defects_are_not_hidden(monkeypatch):
    def defect():
        raise RuntimeError("a defect")

    monkeypatch.setattr(doctor, "examine", defect)
    monkeypatch.setattr(sys, "argv", ["synthgen", "doctor"])

    with pytest.raises(RuntimeError, match="a defect"):
        cli.main()
