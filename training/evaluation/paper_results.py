"""What the paper reports, to be set beside our own results.

Source: Riegler, Urschler, Rüther, Bischof, Štern, *Anatomical Landmark Detection in Medical Applications Driven by
Synthetic Data*, ICCV Workshops 2015, Figures 2 and 4. The figures are vector graphics; their bars were read off to
about 0.01. The bars of Figure 2 are mean RMSE in pixels of the original image, those of Figure 4 mean absolute depth
errors in voxels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

Bar = tuple[float, float, float]
"""Height, and the lower and upper end of its error bar."""
METHODS = ("NN(syn)", "NN(real)", "RF", "CNN(syn)", "CNN(real)", "CNN(ft)")
"""In the order of the paper's figure; it writes MR or CT for real."""
MEAN_DEPTH = "Mean depth"
DEPTH_RATIO = f"Depth CNN(ft)/{MEAN_DEPTH}"


@dataclass(frozen=True)
class PaperResults:
    """The paper's results on one of its two data sets."""

    about: str
    landmark_set: str
    """Ours, which has the same landmarks."""
    rmse_px: Mapping[str, tuple[Bar, ...]]
    """By landmark, a bar for each of `METHODS`."""
    depth_voxels: Mapping[str, Mapping[str, float]]
    """By method, the mean absolute depth error of each landmark; empty for the body."""

    def mean_rmse_px(self, method: str) -> float:
        """Return the mean over landmarks of a method's bars."""
        column = METHODS.index(method)
        return sum(bars[column][0] for bars in self.rmse_px.values()) / len(self.rmse_px)

    def ratio(self, name: str) -> float | None:
        """Return a ratio such as ``CNN(ft)/CNN(real)``; None for methods that the paper does not have."""
        if name == DEPTH_RATIO and self.depth_voxels:
            tuned, mean = (sum(self.depth_voxels[method].values()) for method in ("CNN(ft)", MEAN_DEPTH))
            return tuned / mean
        one, _, other = name.partition("/")
        if one not in METHODS or other not in METHODS:
            return None
        return self.mean_rmse_px(one) / self.mean_rmse_px(other)


HAND = PaperResults(
    about="263 MR images of left hands, 132 men of 13 to 24 years, three-fold",
    landmark_set="fingertips",
    rmse_px={
        "thumb": (
            (20.162, 18.741, 21.716), (12.678, 11.659, 13.791), (19.016, 17.080, 21.067),
            (13.298, 12.230, 14.455), (9.107, 8.194, 10.165), (7.890, 7.068, 8.775),
        ),
        "index": (
            (17.267, 15.808, 18.685), (9.112, 8.216, 10.136), (10.745, 9.619, 11.911),
            (11.769, 10.804, 12.862), (8.193, 7.400, 9.132), (6.870, 6.159, 7.720),
        ),
        "middle": (
            (13.227, 11.990, 14.555), (6.252, 5.392, 7.183), (9.092, 8.071, 10.232),
            (7.637, 6.780, 8.529), (8.593, 7.960, 9.252), (5.523, 4.912, 6.258),
        ),
        "ring": (
            (13.256, 12.302, 14.302), (7.480, 6.625, 8.504), (8.912, 7.969, 9.872),
            (9.316, 8.602, 10.081), (8.035, 7.298, 8.863), (6.369, 5.669, 7.139),
        ),
        "little": (
            (12.038, 11.294, 12.820), (8.774, 8.099, 9.536), (10.526, 9.492, 11.665),
            (12.104, 11.475, 12.713), (8.100, 7.467, 8.743), (6.493, 5.932, 7.060),
        ),
    },
    depth_voxels={
        MEAN_DEPTH: {"thumb": 2.620, "index": 2.604, "middle": 2.601, "ring": 2.590, "little": 2.576},
        "CNN(ft)": {"thumb": 0.902, "index": 0.908, "middle": 0.853, "ring": 0.832, "little": 0.844},
    },
)  # fmt: skip

BODY = PaperResults(
    about="20 CT images of whole bodies, 14 women and 6 men, leave-one-out",
    landmark_set="body9",
    rmse_px={
        "head_top": (
            (19.152, 15.343, 23.664), (12.000, 8.748, 15.476), (9.017, 6.688, 11.831),
            (18.389, 14.405, 22.025), (31.556, 24.995, 38.568), (18.515, 14.953, 22.028),
        ),
        "left_shoulder": (
            (61.388, 44.095, 86.698), (54.605, 33.587, 80.776), (24.882, 11.786, 48.899),
            (84.191, 66.854, 109.097), (46.545, 32.181, 68.539), (38.736, 24.579, 60.468),
        ),
        "right_shoulder": (
            (56.369, 39.229, 85.306), (51.966, 27.988, 78.652), (21.980, 8.684, 46.317),
            (78.774, 63.202, 102.247), (44.584, 31.015, 67.960), (36.109, 21.874, 60.717),
        ),
        "left_middle_finger": (
            (42.548, 36.278, 48.571), (31.529, 24.698, 38.598), (33.208, 23.735, 43.743),
            (27.018, 20.173, 35.254), (30.506, 23.266, 39.235), (30.118, 23.044, 37.514),
        ),
        "right_middle_finger": (
            (39.135, 32.967, 45.561), (33.517, 25.791, 41.672), (33.769, 24.946, 43.364),
            (31.884, 24.634, 39.000), (34.333, 28.033, 40.689), (34.882, 28.459, 40.951),
        ),
        "left_knee": (
            (19.506, 15.477, 23.688), (19.616, 14.655, 24.078), (23.800, 16.298, 33.142),
            (20.369, 14.733, 25.888), (23.178, 19.425, 26.581), (21.026, 16.465, 25.597),
        ),
        "right_knee": (
            (16.414, 12.732, 20.079), (19.872, 16.088, 24.359), (23.442, 15.386, 33.358),
            (18.049, 14.197, 22.056), (23.880, 18.970, 28.563), (18.259, 13.932, 22.613),
        ),
        "left_big_toe": (
            (42.629, 35.758, 49.572), (35.116, 27.696, 43.860), (38.856, 29.475, 48.416),
            (41.184, 32.446, 50.278), (35.363, 26.476, 45.039), (31.993, 24.087, 40.690),
        ),
        "right_big_toe": (
            (45.086, 36.360, 55.141), (35.320, 27.787, 42.816), (37.046, 26.361, 48.053),
            (42.946, 36.327, 50.632), (35.220, 24.543, 46.099), (28.075, 19.203, 37.229),
        ),
    },
    depth_voxels={},
)  # fmt: skip

BY_MODEL: Mapping[str, PaperResults] = {"hand": HAND, "body": BODY}


def paper_results(model: str, landmark_set: str) -> PaperResults | None:
    """Return what the paper reports on these landmarks, if it does.

    It does not say whether its fingertips are the ends of the skin or of the bones, so they are compared with both.
    """
    found = BY_MODEL.get(model)
    if found is HAND and landmark_set == "fingertip_bones":
        return _renamed(HAND, landmark_set, "{}_bone")
    return found if found and found.landmark_set == landmark_set else None


def _renamed(paper: PaperResults, landmark_set: str, name: str) -> PaperResults:
    """Return results under the names of another set's landmarks."""
    depths = {
        method: {name.format(mark): depth for mark, depth in found.items()}
        for method, found in paper.depth_voxels.items()
    }
    rmse_px = {name.format(mark): bars for mark, bars in paper.rmse_px.items()}
    return replace(paper, landmark_set=landmark_set, rmse_px=rmse_px, depth_voxels=depths)
