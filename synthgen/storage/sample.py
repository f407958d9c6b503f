"""The sample format: the contract between the generator and training."""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import DatasetError
from synthgen.geometry import Floats
from synthgen.storage.depth import decode_depth, encode_depth, nearest_depth
from synthgen.storage.png import read_depth_png, read_mask_png, write_depth_png, write_mask_png

MEMBERS = ("mask.png", "depth.png", "json")
"""The files of a stored sample, in order."""
FIELDS = (
    "index",
    "landmarks_px",
    "landmarks_mm",
    "visible",
    "in_frame",
    "mm_per_px",
    "depth_near_mm",
    "depth_steps_per_mm",
    "shape",
    "pose",
    "camera",
)
"""The keys of a stored sample's json, in order."""
MAX_MEMBER_BYTES = 64 * 2**20
MAX_JSON_BYTES = 2**20
MAX_LANDMARKS = 4096
_STEPS = 1e6
"""Steps per pixel or mm to which stored landmark coordinates are rounded."""
_PLAIN = frozenset((float, int, bool, str))
_LIBRARY = json.JSONEncoder(allow_nan=False)
_EXPONENT, _NEGATIVE_ZERO = re.compile(r"e[+-]\d"), re.compile(r"-0\.0[],}]")
"""Number formats of the json library that differ from the stored form."""


@dataclass(frozen=True)
class Labels:
    """The landmarks of one image, in the order of the landmark set."""

    landmarks_px: Floats
    """(K, 2) continuous pixels."""
    landmarks_mm: Floats
    """(K, 3) camera frame."""
    visible: NDArray[np.bool_]
    """(K,) seen by the camera, not occluded by another surface."""
    in_frame: NDArray[np.bool_]
    """(K,) inside the image."""


@dataclass(frozen=True)
class Sample:
    """One rendered image with its exact labels and its recipe."""

    index: int
    depth_mm: NDArray[np.float32]
    """(H, W) camera-frame z in mm, +inf for the background; the mask is where it is finite."""
    labels: Labels
    mm_per_px: float
    shape: dict[str, Any]
    pose: dict[str, Any]
    camera: dict[str, Any]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) silhouette."""
        return np.isfinite(self.depth_mm)

    @property
    def landmarks_px(self) -> Floats:
        """(K, 2) continuous pixels."""
        return self.labels.landmarks_px

    @property
    def landmarks_mm(self) -> Floats:
        """(K, 3) camera frame."""
        return self.labels.landmarks_mm

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(K,) seen by the camera, not occluded by another surface."""
        return self.labels.visible

    @property
    def recipe(self) -> dict[str, dict[str, Any]]:
        """All drawn values: shape, pose and camera; lengths in mm, angles in degrees."""
        return {"shape": self.shape, "pose": self.pose, "camera": self.camera}


def sample_key(index: int) -> str:
    """Return the file name of a sample's members up to the first dot."""
    return f"{index:09d}"


def encode_sample(sample: Sample, depth_steps_per_mm: float) -> dict[str, bytes]:
    """Return the three files of a sample by the suffixes of their names.

    Depth is rounded to steps, landmarks to 1e-6; all other numbers are stored exactly.

    Raises:
        SynthgenError: The depths do not fit in 16 bits.
        ValueError: The sample has a value that cannot be stored: NaN, None, an empty list, a nested mapping.

    """
    near_mm = nearest_depth(sample.depth_mm, depth_steps_per_mm)
    code = encode_depth(sample.depth_mm, near_mm, depth_steps_per_mm)
    labels = sample.labels
    values = (
        int(sample.index),
        stored_points(labels.landmarks_px).tolist(),
        stored_points(labels.landmarks_mm).tolist(),
        labels.visible.tolist(),
        labels.in_frame.tolist(),
        float(sample.mm_per_px),
        near_mm,
        float(depth_steps_per_mm),
        *(_Flat(recipe) for recipe in (sample.shape, sample.pose, sample.camera)),
    )
    contents = (write_mask_png(code > 0), write_depth_png(code), _document(values).encode())
    return dict(zip(MEMBERS, contents, strict=True))


def stored_points(points: Floats) -> Floats:
    """Return landmarks rounded as they are stored, without negative zeros."""
    return np.rint(points * _STEPS) / _STEPS + 0.0


def decode_sample(members: Mapping[str, bytes]) -> Sample:
    """Decode a sample from its three files, which are untrusted.

    Raises:
        DatasetError: They are not a valid sample.

    """
    absent = [name for name in MEMBERS if name not in members]
    if absent:
        raise DatasetError(f"{absent[0]}: is missing from the sample; restore the shard")
    for name in MEMBERS:
        if len(members[name]) > (MAX_JSON_BYTES if name == "json" else MAX_MEMBER_BYTES):
            raise DatasetError(f"{name}: {len(members[name])} bytes exceed the limit; restore the shard")
    fields = decode_fields(members["json"])
    code = read_depth_png(members["depth.png"])
    if not np.array_equal(read_mask_png(members["mask.png"]), code > 0):
        raise DatasetError("mask.png: does not match where depth.png is above 0; restore the shard")
    count = len(fields["visible"])
    labels = Labels(
        _numbers(fields, "landmarks_px", (count, 2)),
        _numbers(fields, "landmarks_mm", (count, 3)),
        _flags(fields, "visible", count),
        _flags(fields, "in_frame", count),
    )
    depth = decode_depth(code, fields["depth_near_mm"], fields["depth_steps_per_mm"])
    recipe = (fields["shape"], fields["pose"], fields["camera"])
    return Sample(fields["index"], depth, labels, fields["mm_per_px"], *recipe)


def decode_fields(data: bytes) -> dict[str, Any]:
    """Return the fields of a sample's json, which is untrusted.

    Raises:
        DatasetError: A field is missing, unknown or of the wrong type.

    """
    if len(data) > MAX_JSON_BYTES:
        raise DatasetError(f"json: {len(data)} bytes exceed {MAX_JSON_BYTES}; restore the shard")
    try:
        fields = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"json: cannot be read ({str(error)[:100]}); restore the shard") from None
    if not isinstance(fields, dict) or tuple(fields) != FIELDS:
        raise DatasetError(f"json: its fields are not {', '.join(FIELDS)}; restore the shard")
    _check_scalars(fields)
    if not isinstance(fields["visible"], list) or not 0 < len(fields["visible"]) <= MAX_LANDMARKS:
        raise DatasetError(f"visible: is not a list of 1 to {MAX_LANDMARKS} entries; restore the shard")
    for field in ("shape", "pose", "camera"):
        if not isinstance(fields[field], dict):
            raise DatasetError(f"{field}: is not a mapping; restore the shard")
    return fields


def _check_scalars(fields: Mapping[str, Any]) -> None:
    if type(fields["index"]) is not int or fields["index"] < 0:
        raise DatasetError("index: is not a non-negative integer; restore the shard")
    for field in ("mm_per_px", "depth_near_mm", "depth_steps_per_mm"):
        if type(fields[field]) is not float or not math.isfinite(fields[field]):
            raise DatasetError(f"{field}: is not a finite float; restore the shard")
    if fields["depth_steps_per_mm"] <= 0:
        raise DatasetError("depth_steps_per_mm: is not above 0; restore the shard")


class _Flat(dict[str, Any]):
    """A part of the recipe: the only kind of mapping allowed in the json."""


def _document(values: tuple[Any, ...]) -> str:
    """Return the json of a sample's fields, by the json library where its output is identical (nearly always)."""
    if values[3] and {type(value) for recipe in values[-3:] for value in recipe.values()} <= _PLAIN:
        with contextlib.suppress(ValueError):  # NaN: rejected below with the field's name
            text = _LIBRARY.encode(dict(zip(FIELDS, values, strict=True)))
            if not (_EXPONENT.search(text) or _NEGATIVE_ZERO.search(text)):
                return text
    pairs = zip(FIELDS, values, strict=True)
    return f"{{{', '.join(f'{json.dumps(field)}: {_text(value, field)}' for field, value in pairs)}}}"


def _text(value: Any, field: str) -> str:
    """Return JSON in which floats always have a decimal point, so that readers do not take them for integers."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{field}: {value} cannot be stored")
        text = repr(value + 0.0)  # -0.0 becomes 0.0
        return text if "." in text else text.replace("e", ".0e")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple) and value:
        return f"[{', '.join([_text(item, field) for item in value])}]"
    if isinstance(value, _Flat):
        return f"{{{', '.join([f'{json.dumps(key)}: {_text(value[key], key)}' for key in value])}}}"
    raise ValueError(
        f"{field}: {type(value).__name__} {value!r:.60} cannot be stored; use a number, bool, string or non-empty list"
    )


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not allowed")


def _numbers(fields: Mapping[str, Any], field: str, shape: tuple[int, int]) -> Floats:
    try:
        numbers = np.array(fields[field], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        numbers = np.empty(0)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise DatasetError(f"{field}: is not an array of {shape[0]} x {shape[1]} finite numbers; restore the shard")
    return numbers


def _flags(fields: Mapping[str, Any], field: str, count: int) -> NDArray[np.bool_]:
    flags = fields[field]
    if not isinstance(flags, list) or len(flags) != count or not all(type(flag) is bool for flag in flags):
        raise DatasetError(f"{field}: is not a list of {count} booleans; restore the shard")
    return np.array(flags, dtype=np.bool_)
