"""Three-dimensional vectors and rotations as plain tuples, compiled by numba.

For a few vectors at a time, where array calls would cost fifty times the arithmetic; whole meshes are arrays.
"""

from math import atan2, cos, sin, sqrt

from synthgen.generator.bodies.numba_kernels import helper
from synthgen.geometry import Floats

Vector = tuple[float, float, float]
Rotation = tuple[Vector, Vector, Vector]
"""Rows of a rotation matrix."""
IDENTITY: Rotation = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@helper
def add(a: Vector, b: Vector) -> Vector:  # pragma: no cover
    """Return a + b."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


@helper
def sub(a: Vector, b: Vector) -> Vector:  # pragma: no cover
    """Return a - b."""
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


@helper
def scaled(a: Vector, s: float) -> Vector:  # pragma: no cover
    """Return s a."""
    return (a[0] * s, a[1] * s, a[2] * s)


@helper
def dot(a: Vector, b: Vector) -> float:  # pragma: no cover
    """Return the scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@helper
def cross(a: Vector, b: Vector) -> Vector:  # pragma: no cover
    """Return the vector product."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


@helper
def length(a: Vector) -> float:  # pragma: no cover
    """Return the Euclidean length."""
    return sqrt(dot(a, a))


@helper
def unit(a: Vector) -> Vector:  # pragma: no cover
    """Scale to length 1."""
    return scaled(a, 1 / length(a))


@helper
def without(a: Vector, axis: Vector) -> Vector:  # pragma: no cover
    """Return the component of a perpendicular to a unit axis."""
    return sub(a, scaled(axis, dot(a, axis)))


@helper
def signed_angle(a: Vector, b: Vector, axis: Vector) -> float:  # pragma: no cover
    """Return the angle from a to b about a unit axis in radians, after projection onto the plane across it."""
    a, b = without(a, axis), without(b, axis)
    return atan2(dot(cross(a, b), axis), dot(a, b))


@helper
def about(axis: Vector, angle: float) -> Rotation:  # pragma: no cover
    """Return the rotation about a unit axis by an angle in radians (Rodrigues' formula)."""
    x, y, z = axis
    c, s = cos(angle), sin(angle)
    d = 1 - c
    return (
        (c + x * x * d, x * y * d - z * s, x * z * d + y * s),
        (y * x * d + z * s, c + y * y * d, y * z * d - x * s),
        (z * x * d - y * s, z * y * d + x * s, c + z * z * d),
    )


@helper
def turned(rotation: Rotation, a: Vector) -> Vector:  # pragma: no cover
    """Return the rotation's matrix times a."""
    return (dot(rotation[0], a), dot(rotation[1], a), dot(rotation[2], a))


@helper
def transposed(rotation: Rotation) -> Rotation:  # pragma: no cover
    """Return the inverse rotation."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    return ((a, d, g), (b, e, h), (c, f, i))


@helper
def times(first: Rotation, second: Rotation) -> Rotation:  # pragma: no cover
    """Return the matrix product, which applies ``second`` before ``first``."""
    columns = transposed(second)
    a, b, c = first
    x, y, z = columns
    return (
        (dot(a, x), dot(a, y), dot(a, z)),
        (dot(b, x), dot(b, y), dot(b, z)),
        (dot(c, x), dot(c, y), dot(c, z)),
    )


@helper
def row(points: Floats, n: int) -> Vector:  # pragma: no cover
    """Return one of the points (N, 3)."""
    return (points[n, 0], points[n, 1], points[n, 2])
