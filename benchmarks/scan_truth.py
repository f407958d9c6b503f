"""Compare phantom scans, converted to patches, with the renderer's own mask of the same recipe.

    python -m benchmarks.scan_truth --spec body --spacing 1.5 -n 50

Dice must be at least 0.98 at 1.5 mm voxels and 0.95 at 4 mm; nothing of the table may remain; landmarks must lie
within a voxel of the truth.
"""

import argparse
import sys

import numpy as np
from scipy import ndimage

from synthgen.errors import SynthgenError
from synthgen.generator.engines.raster import RasterEngine
from synthgen.generator.phantoms.phantom import PhantomOptions, as_scanned, make_phantom, phantom_scene
from synthgen.specs.files import load_spec
from synthgen.training.scans.formats.image_types import Volume
from synthgen.training.scans.formats.landmark_files import Points
from synthgen.training.scans.patch import scan_patch
from synthgen.training.scans.table import ScanSettings

LEAST_DICE = {1.5: 0.98, 4.0: 0.95}
BEYOND_PX = 1.5
"""What lies further than this, or two voxels, outside the true silhouette, is no part of the body."""


def judge(scene, index: int, spacing: float) -> tuple[float, int, float]:
    """Return the Dice, the pixels that are no part of the body, and the largest landmark error in voxels."""
    spec, n = scene.spec, scene.model.n_vertices
    phantom = make_phantom(scene, index, PhantomOptions(spacing_mm=(spacing,) * 3))
    settings = ScanSettings(side=phantom.side or None, up=phantom.up, viewed_from=phantom.viewed_from)
    points = Points("lps_mm", {name: tuple(point) for name, point in phantom.landmarks_mm.items()})
    patch = scan_patch(Volume(phantom.voxels, phantom.affine), points, settings, spec)
    body = as_scanned(scene, index)
    engine = RasterEngine(scene.triangles, n, spec.image.width, spec.image.height, "orthographic")
    truth = np.isfinite(engine.render(body.points_mm[:n].astype(np.float32), body.camera))
    if spec.model == "hand" and spec.side == "right":
        truth = truth[:, ::-1]
    dice = 2 * (truth & patch.mask).sum() / (truth.sum() + patch.mask.sum())
    reach = max(BEYOND_PX, 2 * spacing / patch.mm_per_px)
    left = int((patch.mask & (ndimage.distance_transform_edt(~truth) > reach)).sum())
    true_px = body.labels.landmarks_px.copy()
    if spec.model == "hand" and spec.side == "right":
        true_px[:, 0] = spec.image.width - true_px[:, 0]
    errors = np.linalg.norm(patch.landmarks_px - true_px, axis=1) * patch.mm_per_px / spacing
    return float(dice), left, float(np.nanmax(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", default="paper_body")
    parser.add_argument("--spacing", type=float, default=1.5)
    parser.add_argument("-n", type=int, default=50)
    options = parser.parse_args()
    scene = phantom_scene(load_spec(options.spec))
    found, failed = [], []
    for index in range(options.n):
        try:
            found.append((*judge(scene, index, options.spacing), index))
        except SynthgenError as error:
            failed.append(f"{index}: {error}")
    dice, left, errors, index = (np.array(column) for column in zip(*found, strict=True))
    least = LEAST_DICE.get(options.spacing, 0.98 if options.spacing <= 1.5 else 0.95)
    bad = index[(dice < least) | (left > 0) | (errors > 1)]
    verdict = f"FAILED: {list(map(int, bad))} {failed}" if len(bad) or failed else "passed"
    print(f"{options.spec} at {options.spacing:g} mm: {len(found)} phantoms, Dice at least {dice.min():.4f}, mean "
          f"{dice.mean():.4f}; table or speckle left in {int((left > 0).sum())}; landmarks within {errors.max():.2f} "
          f"voxels; {verdict}")  # fmt: skip
    sys.exit(int(bool(len(bad) or failed)))


if __name__ == "__main__":
    main()
