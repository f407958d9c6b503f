"""The Parquet files: all labels of a split, and a preview with images."""

import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from synthgen.datasets.plan import SPLITS, ShardPlan
from synthgen.errors import DatasetError
from synthgen.generator.dataset.shards import ShardReceipt, read_part, read_shard
from synthgen.storage.atomic_files import atomic_file
from synthgen.storage.dataset_paths import PARTS, PREVIEW, labels_path
from synthgen.storage.sample import FIELDS, sample_key

PREVIEW_SAMPLES = 100
IMAGES = ("mask.png", "depth.png")
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def read_schema(plans: Sequence[ShardPlan], root: Path) -> pa.Schema:
    """Return the types of the samples' json, taken from the first sample."""
    _, lines = read_part(plans[0], root)
    return schema_of(json.loads(lines[0]))


def schema_of(fields: Mapping[str, Any]) -> pa.Schema:
    """Return the types of a sample's fields; an empty part of the recipe has no column.

    Raises:
        DatasetError: A value has no column type.

    """
    types = {field: _type(fields[field], field) for field in FIELDS}
    return pa.schema([(field, types[field]) for field in FIELDS if types[field] != pa.struct([])])


def recipe_names(schema: pa.Schema, part: str) -> list[str]:
    """Return the names in the shape, pose or camera of a recipe, in order."""
    return [child.name for child in schema.field(part).type] if part in schema.names else []


def write_labels(plans: Sequence[ShardPlan], root: Path, schema: pa.Schema) -> list[ShardReceipt]:
    """Write the labels of every split, one row group per shard, and return the shards' receipts.

    Raises:
        DatasetError: A shard's samples have other fields or types than the first shard's, or an archive is damaged.

    """
    receipts = []
    for split in SPLITS:
        own = [plan for plan in plans if plan.split == split]
        if not own:
            continue
        with atomic_file(root / labels_path(split)) as file, _writer(file, label_schema(schema)) as writer:
            for plan in own:
                receipt, lines = read_part(plan, root)
                receipts.append(receipt)
                writer.write_table(label_rows(plan, lines, schema), row_group_size=len(lines))
    return receipts


def label_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a label table: key and shard, then the fields of the json."""
    return pa.schema([("key", pa.string()), ("shard", pa.string()), *schema])


def label_rows(plan: ShardPlan, lines: Sequence[bytes], schema: pa.Schema) -> pa.Table:
    """Return the row group of a shard.

    Args:
        plan: The shard.
        lines: The json of its samples, in order.
        schema: Of the json.

    Raises:
        DatasetError: A sample does not fit the schema.

    """
    rows = _parse(lines, schema, plan.path)
    keys = [sample_key(int(index)) for index in plan.indices]
    rows = rows.add_column(0, "key", pa.array(keys)).add_column(1, "shard", pa.array([plan.path] * len(rows)))
    return rows.cast(label_schema(schema))


def write_preview(plans: Sequence[ShardPlan], root: Path, schema: pa.Schema) -> None:
    """Write the first samples of the dataset with their images, in one row group."""
    samples = list(itertools.islice(_first_samples(plans, root), PREVIEW_SAMPLES))
    rows = preview_rows(samples, schema)
    with atomic_file(root / PREVIEW) as file, _writer(file, rows.schema) as writer:
        writer.write_table(rows, row_group_size=PREVIEW_SAMPLES)


def preview_rows(samples: Sequence[tuple[str, Mapping[str, bytes]]], schema: pa.Schema) -> pa.Table:
    """Return the preview of samples, given as keys with their files by suffix."""
    rows = _parse([members["json"] for _, members in samples], schema, PREVIEW)
    for column, name in enumerate(IMAGES):
        images = [{"bytes": members[name], "path": f"{key}.{name}"} for key, members in samples]
        rows = rows.add_column(column, name, pa.array(images, _IMAGE))
    rows = rows.add_column(0, "key", pa.array([key for key, _ in samples]))
    return rows.cast(_with_images(rows.schema))


def card_features(schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the features of the shards for the card's front matter, as the `datasets` library reads them."""
    plain = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
    images = [{"name": name, "dtype": "image"} for name in IMAGES]
    return [*images, {"name": "json", "struct": _card_struct(schema)}, *plain]


def _first_samples(plans: Sequence[ShardPlan], root: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    for plan in plans:
        yield from read_shard(root / plan.path)


def _type(value: Any, field: str) -> pa.DataType:
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    if type(value) in kinds:
        return kinds[type(value)]
    if isinstance(value, list) and value:
        return pa.list_(_type(value[0], field))
    if isinstance(value, dict):
        return pa.struct([(key, _type(item, key)) for key, item in value.items()])
    raise DatasetError(f"{PARTS}: {field}: value of unsupported type; remove the shards and render again")


def _parse(lines: Sequence[bytes], schema: pa.Schema, where: str) -> pa.Table:
    text = b"\n".join(lines) + b"\n"
    strict = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    if len(schema) < len(FIELDS):
        strict = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        # One block, because a sample must not span two.
        table = pa.json.read_json(io.BytesIO(text), pa.json.ReadOptions(block_size=len(text)), strict)
    except pa.ArrowInvalid as error:
        raise DatasetError(
            f"{where}: its samples do not have the first shard's fields ({error}); remove it and render again"
        ) from None
    table = table.select(schema.names)
    if any(_has_null(chunk) for column in table.columns for chunk in column.chunks):
        raise DatasetError(f"{where}: its samples lack fields of the first shard; remove it and render again")
    return table


def _has_null(array: pa.Array) -> bool:
    if array.null_count:
        return True
    if pa.types.is_list(array.type):
        return _has_null(array.values)
    return pa.types.is_struct(array.type) and any(_has_null(array.field(i)) for i in range(array.type.num_fields))


def _writer(file: Any, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=["shard"])


def _with_images(schema: pa.Schema) -> pa.Schema:
    """Add metadata by which the `datasets` library recognizes image columns."""
    features = {f.name: {"_type": "Image"} if f.name in IMAGES else _feature(f.type) for f in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": _word(kind), "_type": "Value"}


def _card_struct(fields: Any) -> list[dict[str, Any]]:
    listed = []
    for field in fields:
        if pa.types.is_struct(field.type):
            listed.append({"name": field.name, "struct": _card_struct(field.type)})
        elif pa.types.is_list(field.type):
            listed.append({"name": field.name, "list": _card_list(field.type.value_type)})
        else:
            listed.append({"name": field.name, "dtype": _word(field.type)})
    return listed


def _card_list(kind: pa.DataType) -> Any:
    return {"list": _card_list(kind.value_type)} if pa.types.is_list(kind) else _word(kind)


def _word(kind: pa.DataType) -> str:
    return {pa.float64(): "float64", pa.int64(): "int64", pa.bool_(): "bool", pa.string(): "string"}[kind]
