"""Places a posed body in front of the camera: view, side, framing.

Hand: dorsal view, fingers up, a left hand's thumb at the image's right. Body: front view, head up, the patient's left
at the image's right. A right hand is the mirror image of the left hand with the same recipe.
"""

from collections.abc import Mapping
from math import radians

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import SpecError
from synthgen.framing import Box, Frame, FrameDraw, frame_box
from synthgen.generator.bodies.mesh_kernels import box_above
from synthgen.generator.bodies.numba_kernels import kernel
from synthgen.generator.bodies.vectors import Rotation, about, times
from synthgen.geometry import Camera, Floats, Projection
from synthgen.specs.spec import Framing, Image

GRID_MM = 2.0**-10
"""Points are rounded to this grid before rendering and labelling, so that both use the same numbers."""
CREASE = 0.10
"""Position of the wrist crease, as a fraction of the way from the wrist joint to the middle knuckle."""
_FRONT_VIEW = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
_FROM_ABOVE = np.array([[1.0], [-1.0], [-1.0]])
_PERSPECTIVE_STEPS = 6


def dorsal_view(axes: Floats) -> Floats:
    """Return the rotation (3, 3) from the body frame to a camera facing the back of the hand, fingers up.

    Args:
        axes: (3, 3) rows: the posed hand's radial, distal and dorsal directions.
    """
    return axes * _FROM_ABOVE


def front_view() -> Floats:
    """Return the rotation (3, 3) from the body frame to a camera in front of the body, head up."""
    return _FRONT_VIEW


def turned(view: Floats, draw: Mapping[str, float]) -> Floats:
    """Rotate a view by the drawn yaw, pitch and roll about the camera's y, x and z axes."""
    return np.array(_turn(*(radians(draw[name]) for name in ("yaw_deg", "pitch_deg", "roll_deg")))) @ view


@kernel
def _turn(yaw: float, pitch: float, roll: float) -> Rotation:  # pragma: no cover
    return times(about((0.0, 0.0, 1.0), roll), times(about((1.0, 0.0, 0.0), pitch), about((0.0, 1.0, 0.0), yaw)))


class Framer:
    """Computes the frame of a posed body: the box of its silhouette, for a hand cut across the forearm."""

    def __init__(self, triangles: NDArray[np.int32], framing: Framing, image: Image, projection: Projection) -> None:
        edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        edges, count = np.unique(edges, axis=0, return_counts=True)
        self._first, self._second = np.ascontiguousarray(edges.T, dtype=np.uint32)
        self._open_end = np.unique(edges[count == 1])
        self._framing, self._image, self._projection = framing, image, projection

    def frame(self, points_mm: Floats, draw: Mapping[str, float], crease_y_mm: float | None) -> tuple[Frame, Floats]:
        """Return the frame of points (V, 3), and the shift (3,) from the subject's origin to the camera frame.

        Args:
            points_mm: Vertices along the view's axes, relative to the subject's origin.
            draw: The recipe's camera values.
            crease_y_mm: y of the wrist crease, or None for a whole body.
        """
        distance = draw["distance_mm"]
        shift = np.array([0.0, 0.0, distance])
        for _ in range(_PERSPECTIVE_STEPS if self._projection == "perspective" else 1):
            seen = points_mm
            if self._projection == "perspective":
                nearer = distance / (points_mm[:, 2:] + distance)
                seen = (points_mm[:, :2] + shift[:2]) * nearer - shift[:2]
            frame = self._frame_plane(seen, draw, crease_y_mm)
            shift = np.array([-frame.centre[0], -frame.centre[1], distance])
        return frame, shift

    def _frame_plane(self, seen: Floats, draw: Mapping[str, float], crease_y_mm: float | None) -> Frame:
        touches: frozenset[str] = frozenset()
        cut = np.inf
        if crease_y_mm is not None and self._framing.forearm_mm is not None:
            cut = min(crease_y_mm + draw["forearm_mm"], float(seen[self._open_end, 1].min()))
            touches = frozenset({"bottom"})
        left, top, right, bottom = box_above(seen, cut, self._first, self._second)
        if cut <= top:
            msg = (f"camera.roll_deg: value {draw['roll_deg']:g} puts the whole hand below the line that cuts the "
                   "forearm; narrow camera.roll_deg, camera.pitch_deg or camera.yaw_deg")  # fmt: skip
            raise SpecError(msg)
        place = FrameDraw(draw["margin"], draw["offset_x"], draw["offset_y"])
        size = (self._image.width, self._image.height)
        return frame_box(Box(left, top, right, cut if touches else bottom), touches, size, place, self._framing.aspect)


def camera_of(frame: Frame, projection: Projection, distance_mm: float) -> Camera:
    """Return the camera whose image is the frame."""
    return Camera(projection, frame.width, frame.height, (frame.mm_per_px_x, frame.mm_per_px_y), distance_mm)
