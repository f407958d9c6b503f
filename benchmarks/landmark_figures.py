"""Draw the landmark sets on rendered bodies, as shown in docs/landmarks.md.

python benchmarks/landmark_figures.py --out docs/images
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from synthgen.generator.engines.blender_process import exit_process
from synthgen.generator.exports.sample_pictures import landmark_figure
from synthgen.generator.pipeline import open_pipeline
from synthgen.specs.distributions import Constant
from synthgen.specs.files import load_spec
from synthgen.specs.spec import Framing, Image, load_part

FOREARM_MM = 45.0
"""How much forearm the pictures of hands show below the wrist crease, so that the wrist is in them."""


@dataclass(frozen=True)
class Figure:
    landmarks: str
    spec: str
    index: int
    width: int
    height: int


FIGURES = (
    Figure("fingertips", "paper_hand", 4, 640, 640),
    Figure("fingertip_bones", "paper_hand", 4, 640, 640),
    Figure("hand_joints", "paper_hand", 4, 640, 640),
    Figure("body9", "paper_body", 1, 400, 840),
    Figure("body", "paper_body", 1, 400, 840),
)


def draw(figure: Figure, out: Path) -> Path:
    size = Image(width=figure.width, height=figure.height)
    spec = load_spec(figure.spec)
    forearm = Constant(value=FOREARM_MM) if spec.model == "hand" else None
    framing = Framing(margin=Constant(value=0.03), forearm_mm=forearm)
    landmarks = load_part("landmarks", figure.landmarks)
    spec = spec.model_copy(update={"image": size, "landmarks": landmarks, "framing": framing})
    pipeline = open_pipeline(spec, "blender")
    sample = pipeline.sample(figure.index)
    pipeline.close()
    labels = sample.labels
    names = spec.landmarks.names
    image = landmark_figure(sample.depth_mm, labels.landmarks_px, names, labels.visible, sample.mm_per_px)
    path = out / f"landmarks_{figure.landmarks}.png"
    image.save(path, optimize=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for figure in FIGURES:
        path = draw(figure, out)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    exit_process(0)


if __name__ == "__main__":
    main()
