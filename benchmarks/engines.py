"""Compare the raster engine's pixels with Blender's, on samples of the built-in specs.

    python -m benchmarks.engines --hands 1000 --bodies 200

At most 2 in a million mask pixels may differ, and depth by at most 0.05 mm where both hit, away from depth edges.
"""

import argparse
import sys

import numpy as np
from scipy import ndimage

from synthgen.generator.engines.blender_process import exit_process, pin_to_core
from synthgen.generator.engines.raster import RasterEngine
from synthgen.generator.pipeline import open_pipeline
from synthgen.specs.files import load_spec

MASK_PPM, DEPTH_MM, EDGE_MM = 2.0, 0.05, 10.0


def compare(name: str, count: int) -> bool:
    pipeline = open_pipeline(load_spec(name), "blender")
    scene = pipeline.scene
    size = scene.spec.image
    raster = RasterEngine(scene.triangles, scene.model.n_vertices, size.width, size.height, "orthographic")
    pixels, differ, deepest, edges = 0, 0, 0.0, 0.0
    for index in range(count):
        body = scene.posed(index)
        vertices = body.points_mm[: scene.model.n_vertices].astype(np.float32)
        one, other = pipeline.engine.render(vertices, body.camera), raster.render(vertices, body.camera)
        pixels += one.size
        differ += int((np.isfinite(one) != np.isfinite(other)).sum())
        both = np.isfinite(one) & np.isfinite(other)
        apart = np.abs(np.where(both, one, 0) - np.where(both, other, 0))
        beside = beside_edge(one) | beside_edge(other)
        deepest = max(deepest, float(apart[both & ~beside].max(initial=0)))
        edges = max(edges, float(apart[both & beside].max(initial=0)))
    kept = differ <= np.ceil(MASK_PPM * pixels / 1e6) and deepest <= DEPTH_MM
    print(f"{name}: {count} samples, {differ} of {pixels:,} mask pixels differ, depth by at most {deepest:.4f} mm "
          f"({edges:.2f} mm beside edges): {'passed' if kept else 'FAILED'}", flush=True)  # fmt: skip
    pipeline.close()
    return kept


def beside_edge(depth: np.ndarray) -> np.ndarray:
    """Pixels whose neighbourhood of 3 x 3 spans more than a step of depth, or the background."""
    far = np.where(np.isfinite(depth), depth, 1e6)
    return ndimage.maximum_filter(far, 3) - ndimage.minimum_filter(far, 3) > EDGE_MM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hands", type=int, default=1000, help="of hand and paper_hand each")
    parser.add_argument("--bodies", type=int, default=200, help="of body and paper_body each")
    options = parser.parse_args()
    pin_to_core()
    counts = {"hand": options.hands, "paper_hand": options.hands, "body": options.bodies, "paper_body": options.bodies}
    kept = [compare(name, count) for name, count in counts.items()]
    sys.stdout.flush()
    exit_process(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
