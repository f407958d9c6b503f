"""The child process that reads scans: what a file does to it is one line, and the next file is read."""

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from synthgen.errors import ScanError, SpecError
from synthgen.training.scans.child_reader import ChildReader


@pytest.fixture
def reader():
    with ChildReader() as child:
        yield child


def fault(reader, function, *arguments):
    with pytest.raises(ScanError) as caught:
        reader.call("scan.nii", function, *arguments)
    text = str(caught.value)
    assert text.startswith("scan.nii: ")
    assert "\n" not in text
    return text


def refuse(error, text):
    raise error(text)


def take(count):
    return len(bytearray(count))


def test_one_child_answers_many_calls_and_is_another_process(reader):
    first = reader.call("a", os.getpid)

    assert first != os.getpid()
    assert reader.call("b", os.getpid) == first
    assert reader.call("c", divmod, 7, 2) == (3, 1)


def test_a_child_that_dies_is_one_line_and_another_one_reads_on(reader):
    first = reader.call("a", os.getpid)

    assert "broke the reader" in fault(reader, os.abort)
    assert "broke the reader" in fault(reader, os._exit, 0)
    assert reader.call("b", os.getpid) != first


def test_a_child_that_hangs_is_stopped():
    start = time.monotonic()
    with ChildReader(time_limit_s=3.0) as reader:
        first = reader.call("a", os.getpid)
        assert "took longer than 3 s" in fault(reader, time.sleep, 600)
        assert reader.call("b", os.getpid) != first
    assert time.monotonic() - start < 300


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_memory_that_is_not_there_is_refused_to_the_child(reader):
    assert "more memory than is free" in fault(reader, take, 2**50)
    assert reader.call("a", take, 1000) == 1000


def test_errors_keep_their_type_and_others_name_the_file(reader):
    with pytest.raises(SpecError, match="as it is"):
        reader.call("a", refuse, SpecError, "as it is")
    with pytest.raises(ModuleNotFoundError) as missing:
        reader.call("a", importlib.import_module, "not_installed")
    assert missing.value.name == "not_installed"
    assert "cannot be read (ValueError: two lines); copy" in fault(reader, refuse, ValueError, "two\nlines")


def test_the_child_ends_with_its_parent_and_leaves_ctrl_c_to_it(reader):
    child = reader.call("a", os.getpid)
    os.kill(child, signal.SIGINT)

    assert reader.call("b", os.getpid) == child
    reader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_script_without_a_main_guard_may_read_scans(tmp_path):
    """multiprocessing would run it once more in the child."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom synthgen.training.scans.child_reader import ChildReader\n"
        "with ChildReader() as reader:\n    print(reader.call('a', os.getcwd))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert done.stdout == f"{tmp_path}\n"


def test_the_libraries_of_formats_are_loaded_by_the_child_alone(tmp_path):
    code = (
        "import sys, synthgen.training.scans.build, synthgen.training.scans.formats.read_image\n"
        "sys.exit(any(name in sys.modules for name in ('SimpleITK', 'pydicom', 'nibabel')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0
