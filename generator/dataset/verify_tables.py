"""Checks that the label tables and the preview of a dataset match its archives."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from synthgen.datasets.plan import ShardPlan
from synthgen.errors import DatasetError
from synthgen.generator.dataset.parquet import PREVIEW_SAMPLES, label_rows, label_schema, preview_rows, schema_of
from synthgen.generator.dataset.verify_shard import ShardContent
from synthgen.storage.dataset_paths import PREVIEW, labels_path

_ROW_BYTES = 2**20
"""Maximum bytes per sample, as for a json; row groups that declare more are not unpacked."""


class Tables:
    """The tables of a dataset folder, open for comparison with its archives."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, pq.ParquetFile] = {}
        self._layout: tuple[Any, ...] | None = None
        self._schema: pa.Schema | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def compare(self, plan: ShardPlan, content: ShardContent) -> None:
        """Compare the labels of one archive with their rows.

        Raises:
            DatasetError: They differ, or their fields or types differ from those of the first archive.

        """
        if self._layout is None:
            self._layout, self._schema = content.layout, schema_of(json.loads(content.lines[0]))
        if content.layout != self._layout:
            raise DatasetError(f"{plan.path}: its json has other fields or types than the first shard's; restore it")
        path = labels_path(plan.split)
        if not (self._root / path).exists():  # reported elsewhere; not written before the dataset is sealed
            return
        rows = self._rows(path, plan)
        expected = label_rows(plan, content.lines, self._schema)
        if rows.equals(expected):
            return
        column = next(name for name in expected.column_names if not rows[name].equals(expected[name]))
        raise DatasetError(f"{path}: {column}: does not match {plan.path}; restore the file")

    def compare_preview(self, stored: Mapping[str, Mapping[str, bytes]]) -> None:
        """Compare the preview with the stored samples.

        Raises:
            DatasetError: They differ.

        """
        samples = list(stored.items())
        if not (self._root / PREVIEW).exists():
            return
        file = _open(self._root, PREVIEW)
        with file:
            if file.metadata.num_rows != len(samples) or _declared_bytes(file) > PREVIEW_SAMPLES * 2**22:
                raise DatasetError(f"{PREVIEW}: does not contain the first {len(samples)} samples; restore it")
            expected = preview_rows(samples, schema_of(json.loads(samples[0][1]["json"])))
            if not file.schema_arrow.equals(expected.schema) or not file.read().equals(expected):
                raise DatasetError(f"{PREVIEW}: does not match the shards; restore it")

    def _rows(self, path: str, plan: ShardPlan) -> pa.Table:
        if path not in self._files:
            self._files[path] = _open(self._root, path)
        file = self._files[path]
        if not file.schema_arrow.equals(label_schema(self._schema)) or file.num_row_groups != plan.of:
            raise DatasetError(f"{path}: its columns or row groups do not match the shards; restore it")
        group = file.metadata.row_group(plan.position)
        if group.num_rows != plan.samples or group.total_byte_size > plan.samples * _ROW_BYTES:
            raise DatasetError(f"{path}: row group {plan.position} does not match {plan.path}; restore it")
        return _read(file, path, plan.position)


def _open(root: Path, path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(root / path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read ({str(error)[:100]}); restore it") from None


def _read(file: pq.ParquetFile, path: str, group: int) -> pa.Table:
    try:
        return file.read_row_group(group)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: row group {group} cannot be read ({str(error)[:100]}); restore it") from None


def _declared_bytes(file: pq.ParquetFile) -> int:
    return sum(file.metadata.row_group(k).total_byte_size for k in range(file.num_row_groups))
