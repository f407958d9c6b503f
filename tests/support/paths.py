"""Where things are: the checkout, the tests and, on some machines, the real data."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
REAL_DATA = Path(os.environ.get("SYNTHGEN_REAL_DATA") or ROOT.parent / "shared" / "data")
"""Public data sets that CONTRIBUTING.md lists. Tests that read them are skipped where they are missing."""
PAPER = REAL_DATA.parent / "paper"
"""Numbers read off the figures of the paper."""


def import_paths(test_file: str) -> list[str]:
    """Return the folders that a child process needs on its path to import `support` and this test file."""
    return [str(TESTS), str(Path(test_file).resolve().parent)]


def with_import_paths(test_file: str) -> dict[str, str]:
    """Return this process's environment with those folders on PYTHONPATH."""
    before = [path for path in [os.environ.get("PYTHONPATH")] if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join([*import_paths(test_file), *before])}
