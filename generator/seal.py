"""What stands around the shards of a whole dataset: tables, card, manifest, checksums."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from synthgen.errors import DatasetError
from synthgen.generator.card import card, license_text
from synthgen.generator.manifest import DatasetInfo, manifest, timm_info, to_json
from synthgen.generator.shards import SPLITS, ShardPlan, read_part, read_shard
from synthgen.sample import Sample, decode_sample
from synthgen.storage import file_sha256, write_file

SPEC = "spec/spec.yaml"
LOCK = "spec/environment.lock"
MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
SHEET = "assets/contact_sheet.png"
SHEET_SAMPLES = 48
SheetDrawer = Callable[[Sequence[Sample], DatasetInfo], bytes]
"""Draws samples as a PNG."""


def write_seal(root: Path, info: DatasetInfo, plans: Sequence[ShardPlan], draw: SheetDrawer) -> None:
    """Write everything around the shards, the checksums last: they are the seal."""
    # Here, because workers import this module too and need no pyarrow: 30 MB each.
    from synthgen.generator import tables  # noqa: PLC0415
    from synthgen.generator.croissant import croissant  # noqa: PLC0415

    # A seal that is cut off must not look like a seal.
    (root / CHECKSUMS).unlink(missing_ok=True)
    schema = tables.read_schema(plans, root)
    receipts = tables.write_labels(plans, root, schema)
    tables.write_preview(plans, root, schema)
    write_file(root / SHEET, draw(_first_samples(root, plans), info))
    write_file(root / MANIFEST, to_json(manifest(info, plans, receipts)))
    write_file(root / "_info.json", to_json(timm_info(info, plans)))
    write_file(root / "LICENSE", license_text().encode())
    digests = {receipt.path: receipt.sha256 for receipt in receipts}
    written = [
        tables.PREVIEW,
        *(tables.labels_path(split) for split in SPLITS if any(plan.split == split for plan in plans)),
    ]
    for path in (*written, SPEC, LOCK, SHEET, MANIFEST, "_info.json", "LICENSE"):
        digests[path] = file_sha256(root / path)
    for path, text in (
        ("README.md", card(info, plans, receipts, tables.card_features(schema)).encode()),
        ("croissant.json", to_json(croissant(info, plans, digests))),
    ):
        write_file(root / path, text)
        digests[path] = hashlib.sha256(text).hexdigest()
    lines = [f"{digests[path]}  {path}\n" for path in sorted(digests)]
    write_file(root / CHECKSUMS, "".join(lines).encode())


def is_sealed(root: Path, plans: Sequence[ShardPlan]) -> bool:
    """Tell whether the seal is there and fits the shards, by names and sizes and what is left of the label lines."""
    try:
        told = {shard["path"]: shard for shard in read_manifest(root)["shards"]}
        listed = {path for path, _ in read_checksums(root)}
    except (DatasetError, KeyError, TypeError):
        return False
    if not all((root / path).is_file() for path in listed) or set(told) != {plan.path for plan in plans}:
        return False
    if not {plan.path for plan in plans} <= listed:
        return False
    return all(_fits(plan, told[plan.path], root) for plan in plans)


def read_manifest(root: Path) -> dict[str, Any]:
    """Return what ``manifest.json`` holds.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        told = json.loads((root / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{root / MANIFEST}: cannot be read ({error}); render the dataset again to seal it"
        ) from None
    if not isinstance(told, dict):
        raise DatasetError(f"{root / MANIFEST}: is no mapping; render the dataset again to seal it")
    return told


def read_checksums(root: Path) -> list[tuple[str, str]]:
    """Return the relative paths that ``SHA256SUMS`` lists, with their digests.

    Raises:
        DatasetError: It cannot be read, or a path leads out of the folder.
    """
    try:
        text = (root / CHECKSUMS).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{root / CHECKSUMS}: cannot be read ({error}); the dataset is not sealed") from None
    listed = []
    for line in text.splitlines():
        sha256, _, path = line.partition("  ")
        inside = PurePosixPath(path)
        if len(sha256) != 64 or not path or inside.is_absolute() or ".." in inside.parts:
            raise DatasetError(f"{root / CHECKSUMS}: {line!r:.100} is no checksum; restore it")
        listed.append((path, sha256))
    return listed


def draw_sheet(samples: Sequence[Sample], info: DatasetInfo) -> bytes:
    """Draw a contact sheet as PNG."""
    from synthgen.contact_sheet import contact_sheet, sample_tile  # noqa: PLC0415

    sheet = contact_sheet([sample_tile(s, info.landmarks) for s in samples], title=info.title)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _first_samples(root: Path, plans: Sequence[ShardPlan]) -> list[Sample]:
    samples: list[Sample] = []
    for plan in plans:
        for _, members in read_shard(root / plan.path):
            samples.append(decode_sample(members))
            if len(samples) == SHEET_SAMPLES:
                return samples
    return samples


def _fits(plan: ShardPlan, told: dict[str, Any], root: Path) -> bool:
    if (root / plan.path).stat().st_size != told.get("bytes"):
        return False
    if not (root / plan.part).is_file():
        return True
    return read_part(plan, root)[0].sha256 == told.get("sha256")
