"""Shared fixtures. Settings of hypothesis: few examples, no deadline, because two cores are shared with Blender."""

import pytest
from hypothesis import settings

from synthgen.blender_assets.bake import ensure_model
from synthgen.blender_assets.model import BodyModel

settings.register_profile("synthgen", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("synthgen")


@pytest.fixture(scope="session")
def hand() -> BodyModel:
    return ensure_model("hand")


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return ensure_model("body")
