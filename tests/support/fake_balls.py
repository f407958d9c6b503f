"""Sealed dataset folders for tests of training: cheap, small, and with landmarks that can be learnt from the images."""

from pathlib import Path

import numpy as np

from support import fake_dataset
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import Labels, Sample

WIDTH, HEIGHT = 28, 32
COUNT = 230
"""222 for training in 16 shards, 4 for validation and 4 for tests in one each."""


def ball(index: int, width: int = WIDTH, height: int = HEIGHT) -> Sample:
    """A ball somewhere in the image; its landmarks are its middle and four points on its outline."""
    rng = np.random.default_rng(index)
    radius = rng.uniform(0.2, 0.3) * width
    centre = np.array([rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)])
    y, x = np.mgrid[:height, :width] + 0.5
    squared = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    near = rng.uniform(700, 900)
    depth = np.where(squared < radius**2, near - np.sqrt(np.maximum(radius**2 - squared, 0)), np.inf)
    points = centre + radius * np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])
    points_mm = np.column_stack([points - (width / 2, height / 2), np.full(5, near)])
    labels = Labels(points, points_mm, np.ones(5, bool), np.ones(5, bool))
    recipe = ({"radius": float(radius)}, {"redraws": 0}, {"yaw_deg": 0.0})
    return Sample(index, depth.astype(np.float32), labels, 1.0, *recipe)


def small_spec(count: int = COUNT, **changes) -> ResolvedSpec:
    return fake_dataset.small_spec(count, size=(WIDTH, HEIGHT), **changes)


def make_dataset(root: Path, spec: ResolvedSpec | None = None) -> Path:
    """Write and seal a dataset of balls."""
    return fake_dataset.make_dataset(root, spec or small_spec(), ball, draw=lambda samples, info: b"no picture")
