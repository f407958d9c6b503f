"""Anthropometric measures of a rest body, as defined by the ANSUR II survey.

ANSUR II: Gordon et al. 2014, *2012 Anthropometric Survey of U.S. Army Personnel*, NATICK/TR-15/007. Its tapes and
calipers use bony landmarks under the skin; here fixed vertices of MakeHuman's base mesh replace them.
"""

import numpy as np

from synthgen.blender_assets.model import BodyModel
from synthgen.generator.bodies.placement import CREASE
from synthgen.generator.bodies.shape_and_skin import RestBody
from synthgen.geometry import Floats

DENSITY_KG_PER_L = 0.985
"""Density of a living body with air in its lungs (as in SHAPY, Choutas et al. 2022); anny uses 0.980."""
MIDDLE_TIP = 8787
METACARPAL_HEADS = (8580, 9790)
"""Skin vertices on the radial side of metacarpal head II and on the ulnar side of metacarpal head V, left hand."""
ACROMION = 8276
"""Skin vertex over the tip of the left acromion: straight above the shoulder joint, where the deltoid begins."""
_RAY = ("wrist.L", "finger3-1.L", "finger3-2.L", "finger3-3.L")
_MM3_PER_L = 1e6


def stature_mm(rest: RestBody) -> float:
    """Return the height from the soles to the top of the head, barefoot."""
    heights = rest.vertices_mm[:, 2]
    return float(heights.max() - heights.min())


def volume_l(model: BodyModel, rest: RestBody) -> float:
    """Return the volume in litres enclosed by the body's surface; the oral cavity is outside of it."""
    a, b, c = rest.vertices_mm[model.triangles.T]
    return float(np.einsum("ij,ij->", np.cross(a, b), c) / 6 / _MM3_PER_L)


def mass_kg(model: BodyModel, rest: RestBody) -> float:
    """Return the mass of a body: its volume times the density of the human body."""
    return volume_l(model, rest) * DENSITY_KG_PER_L


def hand_length_mm(model: BodyModel, rest: RestBody) -> float:
    """Return the length of the straightened left hand, from wrist crease along the joints to the middle fingertip."""
    joints = [rest.heads_mm[model.bone(name)] for name in _RAY]
    steps = np.linalg.norm(np.diff([*joints, _skin(model, rest, MIDDLE_TIP)], axis=0), axis=1)
    return float(steps.sum() - CREASE * steps[0])


def hand_breadth_mm(model: BodyModel, rest: RestBody) -> float:
    """Return the breadth of the left hand across the heads of metacarpals II to V, without the thumb."""
    radial, ulnar = (_skin(model, rest, vertex) for vertex in METACARPAL_HEADS)
    return float(np.linalg.norm(radial - ulnar))


def biacromial_breadth_mm(model: BodyModel, rest: RestBody) -> float:
    """Return the breadth of the shoulders between the tips of the two acromia."""
    left, right = (_skin(model, rest, vertex) for vertex in (ACROMION, int(model.mirror[ACROMION])))
    return float(np.linalg.norm(left - right))


def hand_measures(model: BodyModel, rest: RestBody) -> dict[str, float]:
    """Return a hand's measures in mm by name; the model may be a hand or a whole body."""
    return {"hand_length": hand_length_mm(model, rest), "hand_breadth": hand_breadth_mm(model, rest)}


def body_measures(model: BodyModel, rest: RestBody) -> dict[str, float]:
    """Return a whole body's measures in mm and kg by name."""
    return {
        "stature": stature_mm(rest), "mass": mass_kg(model, rest), **hand_measures(model, rest),
        "biacromial_breadth": biacromial_breadth_mm(model, rest),
    }  # fmt: skip


def _skin(model: BodyModel, rest: RestBody, base_vertex: int) -> Floats:
    point: Floats = rest.vertices_mm[model.vertex(base_vertex)]
    return point
