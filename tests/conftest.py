"""Shared fixtures, the profiles of hypothesis, and what only `make thorough` runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fake_balls
from support.fake_dataset import make_dataset
from support.hub_process import HubProcess, point_client
from support.laws import register_profiles

from synthgen.blender_assets.bake import ensure_model
from synthgen.blender_assets.model import BodyModel

register_profiles()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `thorough`, unless the expression after -m names it."""
    if "thorough" in config.option.markexpr:
        return
    left_out = [item for item in items if "thorough" in item.keywords]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if "thorough" not in item.keywords]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded, whichever way they are run."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            terminalreporter.section(f"{name} of {report.nodeid}")
            terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def hand() -> BodyModel:
    return ensure_model("hand")


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return ensure_model("body")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, spec) -> Path:
    """A dataset of fake samples, of the module's ``spec``; not to be changed."""
    return make_dataset(tmp_path_factory.mktemp("sealed") / "hand", spec)


@pytest.fixture
def folder(tmp_path, sealed) -> Path:
    """A copy of it, which may be changed."""
    return Path(shutil.copytree(sealed, tmp_path / "hand"))


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    """The folder of a dataset that can be learnt from; not to be changed."""
    return fake_balls.make_dataset(tmp_path_factory.mktemp("balls") / "hand")


@pytest.fixture(scope="session")
def dataset(balls):
    """That dataset."""
    from synthgen.datasets.opening import open_dataset

    return open_dataset(balls)


@pytest.fixture(scope="module", params=["lfs", pytest.param("xet", marks=pytest.mark.thorough)])
def server(request, tmp_path_factory) -> Iterator[HubProcess]:
    """A test Hub for the module, once for each way that content travels."""
    hub = HubProcess(tmp_path_factory.mktemp(f"hub-{request.param}"), request.param)
    yield hub
    hub.stop()


@pytest.fixture
def hub(server, monkeypatch) -> HubProcess:
    """The test Hub without faults, and the client pointed at it."""
    point_client(monkeypatch, server)
    server.fail()
    return server


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch computes with one thread meanwhile, so that the weights of this process are those of another's."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
