"""The labels of a dataset's samples, from its Parquet files: one row group per shard."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthgen.datasets.dataset import Dataset
from synthgen.datasets.plan import Split
from synthgen.datasets.source import open_checked
from synthgen.errors import DatasetError
from synthgen.geometry import Floats
from synthgen.storage.dataset_paths import labels_path
from synthgen.training.streaming.packed_samples import Inputs

_COLUMNS = ("index", "landmarks_px", "visible")
_DEPTH_COLUMNS = ("landmarks_mm", "depth_near_mm", "depth_steps_per_mm")


@dataclass(frozen=True)
class Labels:
    """The labels of n samples with K landmarks."""

    indices: NDArray[np.int64]
    """(n,)"""
    landmarks_px: Floats
    """(n, K, 2) continuous pixels."""
    visible: NDArray[np.bool_]
    """(n, K)"""
    landmarks_z_mm: Floats
    """(n, K) in the camera frame; NaN unless depth is requested, as are all fields below."""
    depth_near_mm: Floats
    """(n,)"""
    depth_steps_per_mm: Floats
    """(n,)"""


class LabelTable:
    """The labels of a split, read shard by shard; only the needed columns are read."""

    def __init__(self, dataset: Dataset, split: Split, inputs: Inputs) -> None:
        self.path = labels_path(split)
        self._where = f"{dataset.source.address}: {self.path}"
        self._landmarks = len(dataset.domain.landmarks)
        self._columns = list(_COLUMNS + (_DEPTH_COLUMNS if inputs == "depth" else ()))
        self._samples = [shard.samples for shard in dataset.shards_of(split)]
        self._lock = threading.Lock()  # the file object has a single position
        try:
            self._file = pq.ParquetFile(open_checked(dataset.source, self.path, dataset.checksums))
        except (pa.ArrowInvalid, OSError) as error:
            raise DatasetError(f"{self._where}: is not a Parquet file ({str(error)[:80]}); restore it") from None
        groups = self._file.metadata.num_row_groups
        rows = [self._file.metadata.row_group(n).num_rows for n in range(groups)]
        if rows != self._samples:
            raise DatasetError(f"{self._where}: its row groups do not match the shards of the manifest; restore it")

    def read(self, shard: int) -> Labels:
        """Return the labels of a shard, by its position in the split.

        Raises:
            DatasetError: The labels cannot be read, or do not match the dataset's landmarks.

        """
        try:
            with self._lock:
                table = self._file.read_row_group(shard, columns=self._columns, use_threads=False)
            columns = {name: table[name].combine_chunks() for name in self._columns}
        except (pa.ArrowException, KeyError, OSError) as error:
            raise DatasetError(f"{self._where}: cannot be read ({str(error)[:80]}); restore it") from None
        n, k = self._samples[shard], self._landmarks
        nothing = np.full(n, np.nan)
        points = self._numbers(columns, "landmarks_px", (n, k, 2))
        indices = self._numbers(columns, "index", (n,)).astype(np.int64)
        visible = self._numbers(columns, "visible", (n, k)).astype(np.bool_)
        if "landmarks_mm" not in columns:
            return Labels(indices, points, visible, np.full((n, k), np.nan), nothing, nothing)
        depths = self._numbers(columns, "landmarks_mm", (n, k, 3))[..., 2]
        near, steps = (self._numbers(columns, name, (n,)) for name in _DEPTH_COLUMNS[1:])
        if not (steps > 0).all():
            raise DatasetError(f"{self._where}: depth_steps_per_mm: has values that are not positive; restore it")
        return Labels(indices, points, visible, depths, near, steps)

    def _numbers(self, columns: dict[str, Any], name: str, shape: tuple[int, ...]) -> Floats:
        """Return a column of numbers or booleans, or of nested lists of them, as an array."""
        column, lengths = columns[name], shape[1:]
        for length in lengths:
            if not pa.types.is_list(column.type) or column.null_count:
                raise self._wrong(name)
            if not (np.diff(column.offsets.to_numpy()) == length).all():
                raise self._wrong(name)
            column = column.flatten()
        kind = column.type
        numeric = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
        if not numeric or column.null_count or len(column) != np.prod(shape):
            raise self._wrong(name)
        numbers = column.to_numpy(zero_copy_only=False).astype(np.float64).reshape(shape)
        if not np.isfinite(numbers).all():
            raise self._wrong(name)
        return numbers

    def _wrong(self, name: str) -> DatasetError:
        return DatasetError(f"{self._where}: {name}: does not match {self._landmarks} landmarks per sample; restore it")
