"""Samples for tests of storage: cheap, of any size, with recipes of every kind of value."""

import numpy as np

from synthgen.storage.sample import Labels, Sample


def fake_sample(index: int, height: int = 24, width: int = 20, k: int = 5) -> Sample:
    """A bumpy ellipse whose far side is 90 mm behind its near side."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width] + 0.5
    r = np.hypot((x - width / 2) / (0.4 * width), (y - height / 2) / (0.4 * height))
    z = 950 + rng.uniform(0, 50) + 90 * np.clip(r, 0, 1) ** 2 + 2 * np.sin(x / 3)
    labels = Labels(
        landmarks_px=rng.uniform(-5, width + 5, (k, 2)),
        landmarks_mm=rng.normal(0, 100, (k, 3)),
        visible=rng.random(k) < 0.5,
        in_frame=rng.random(k) < 0.9,
    )
    shape = {"age_years": float(rng.uniform(6, 90)), "gender": 1.0, "tiny": 1e-7 * (index + 1)}
    pose = {"spread_deg": -0.0, "redraws": index % 3, "fingers_deg": [1.0, 2.5], "kind": "drawn"}
    camera = {"projection": "orthographic", "axes": [[1.0, 0.0], [0.0, 1.0]], "cut": index % 2 == 0}
    depth = np.where(r < 1, z, np.inf).astype(np.float32)
    return Sample(index, depth, labels, float(rng.uniform(1, 3)), shape, pose, camera)
