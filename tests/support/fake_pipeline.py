"""Stand-ins for the pipeline, so that runs are tested without Blender and the model.

A module of its own, because worker processes import it. What a stand-in does beside its work stands in files of the
folder that the environment variable FAKE_FOLDER names, so that a test can change it while workers are at work.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from synthgen.errors import EngineError
from synthgen.randomness.seeding import stream
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.sample import Labels, Sample


def folder() -> Path | None:
    name = os.environ.get("FAKE_FOLDER")
    return Path(name) if name else None


class FakePipeline:
    """Draws a disc; misbehaves as the files in the folder say."""

    def __init__(self, spec: ResolvedSpec) -> None:
        self.spec = spec
        self.folder = folder()
        if self.folder:
            (self.folder / f"opened-{os.getpid()}").touch()

    def sample(self, index: int) -> Sample:
        if self.folder:
            self._misbehave(index)
        height, width = self.spec.image.height, self.spec.image.width
        rng = stream(self.spec.seed, index, "shape")
        y, x = np.mgrid[:height, :width]
        radius = rng.uniform(5, 12)
        inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < radius**2
        depth = np.where(inside, 900 + 30 * rng.random((height, width)), np.inf).astype(np.float32)
        k = len(self.spec.landmarks.names)
        labels = Labels(rng.random((k, 2)) * width, rng.random((k, 3)), np.ones(k, bool), np.ones(k, bool))
        return Sample(
            index, depth, labels, 1.5, {"radius": float(radius)}, {"redraws": float(index % 4 == 0)}, {"yaw_deg": 0.0}
        )

    def samples(self, indices):
        return map(self.sample, map(int, indices))

    def close(self) -> None:
        if self.folder:
            (self.folder / f"closed-{os.getpid()}").touch()

    def _misbehave(self, index: int) -> None:
        if (self.folder / "slow").exists():
            (self.folder / f"busy-{os.getpid()}").touch()
            time.sleep(0.02)
        if (self.folder / f"crash-{index}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.folder / f"fail-{index}").exists():
            raise ValueError(f"sample {index} is wrong")


def open_fake(spec: ResolvedSpec) -> FakePipeline:
    return FakePipeline(spec)


def open_broken(spec: ResolvedSpec) -> FakePipeline:
    raise EngineError("engine: blender cannot run here; run `synthgen doctor`")


def command(arguments: list[str]) -> None:
    """Run the real command line with the stand-in: ``python -c 'import fake_pipeline; …'``."""
    from synthgen.cli import main as cli
    from synthgen.generator import prepare
    from synthgen.generator.runs import run as run_module

    prepare.prepare_scene = lambda spec, say: SimpleNamespace(spec=spec)
    run_module.run = partial(run_module.run, opener=open_fake)
    sys.argv = ["synthgen", *arguments]
    cli.main()
