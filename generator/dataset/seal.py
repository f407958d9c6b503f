"""Everything in a complete dataset except the shards: tables, card, manifest, checksums."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.datasets.plan import ShardPlan
from synthgen.errors import DatasetError
from synthgen.generator.dataset.card import card, license_text
from synthgen.generator.dataset.manifest import DatasetInfo, describe, manifest, timm_info, to_json
from synthgen.generator.dataset.shards import read_part, read_shard
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.atomic_files import file_sha256, write_file
from synthgen.storage.dataset_paths import (
    CARD,
    CHECKSUMS,
    CROISSANT,
    INFO,
    LANDMARKS,
    LICENSE,
    LOCK,
    MANIFEST,
    PEOPLE,
    POSES,
    PREVIEW,
    SHEET,
    SPEC,
    labels_path,
    read_checksums,
)
from synthgen.storage.sample import Sample, decode_sample

if TYPE_CHECKING:
    from synthgen.generator.dataset.summary import Statistics

SHEET_SAMPLES = 48
SheetDrawer = Callable[[Sequence[Sample], DatasetInfo], bytes]
"""Draws samples as a PNG."""


def write_seal(root: Path, spec: ResolvedSpec, plans: Sequence[ShardPlan], draw: SheetDrawer) -> None:
    """Write all files except the shards; the checksums, which are the seal, come last.

    Args:
        root: The dataset folder.
        spec: Resolved.
        plans: All shards of the dataset.
        draw: Draws the contact sheet.

    """
    # Imported here, because workers import this module but do not need pyarrow, which takes 30 MB.
    from synthgen.generator.dataset import card_pictures  # noqa: PLC0415
    from synthgen.generator.dataset import parquet as tables  # noqa: PLC0415
    from synthgen.generator.dataset import summary as statistics  # noqa: PLC0415
    from synthgen.generator.dataset.croissant import croissant  # noqa: PLC0415

    # An interrupted seal must not look complete.
    (root / CHECKSUMS).unlink(missing_ok=True)
    info, schema = describe(spec), tables.read_schema(plans, root)
    receipts = tables.write_labels(plans, root, schema)
    tables.write_preview(plans, root, schema)
    measurer = card_pictures.body_measurer(spec, tables.recipe_names(schema, "shape"))
    numbers = statistics.read_statistics(root, plans, measurer)
    written = {SHEET: draw(_first_samples(root, plans), info), LANDMARKS: card_pictures.landmark_png(spec)}
    written |= _plots(numbers)
    written[MANIFEST] = to_json(manifest(info, plans, receipts))
    written[INFO] = to_json(timm_info(info, plans))
    written[LICENSE] = license_text().encode()
    digests = {receipt.path: receipt.sha256 for receipt in receipts}
    for path in (PREVIEW, *sorted({labels_path(plan.split) for plan in plans}), SPEC, LOCK):
        digests[path] = file_sha256(root / path)
    written[CARD] = card(info, plans, receipts, tables.card_features(schema), numbers).encode()
    digests |= {path: hashlib.sha256(data).hexdigest() for path, data in written.items()}
    written[CROISSANT] = to_json(croissant(info, plans, digests))
    digests[CROISSANT] = hashlib.sha256(written[CROISSANT]).hexdigest()
    for path, data in written.items():
        write_file(root / path, data)
    lines = [f"{digests[path]}  {path}\n" for path in sorted(digests)]
    write_file(root / CHECKSUMS, "".join(lines).encode())


def _plots(numbers: "Statistics") -> dict[str, bytes]:
    """Return the plots for which there are data, by path."""
    from synthgen.generator.dataset.card_plots import people_png, poses_png  # noqa: PLC0415 (matplotlib)

    plots = {}
    if numbers.people or numbers.women is not None:
        plots[PEOPLE] = people_png(numbers)
    if numbers.poses:
        plots[POSES] = poses_png(numbers)
    return plots


def is_sealed(root: Path, plans: Sequence[ShardPlan]) -> bool:
    """Return whether the seal exists and matches the shards, by names, sizes and the remaining label lines."""
    try:
        sealed = {shard["path"]: shard for shard in read_manifest(root)["shards"]}
        listed = set(read_checksums(root))
    except (DatasetError, KeyError, TypeError):
        return False
    if not all((root / path).is_file() for path in listed) or set(sealed) != {plan.path for plan in plans}:
        return False
    if not {plan.path for plan in plans} <= listed:
        return False
    return all(_fits(plan, sealed[plan.path], root) for plan in plans)


def read_manifest(root: Path) -> dict[str, Any]:
    """Return the content of ``manifest.json``.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        content = json.loads((root / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(
            f"{root / MANIFEST}: cannot be read ({error}); render the dataset again to seal it"
        ) from None
    if not isinstance(content, dict):
        raise DatasetError(f"{root / MANIFEST}: is not a JSON object; render the dataset again to seal it")
    return content


def draw_sheet(samples: Sequence[Sample], info: DatasetInfo) -> bytes:
    """Draw a contact sheet as PNG."""
    from synthgen.pictures.contact_sheet import contact_sheet, sample_tile  # noqa: PLC0415

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


def _fits(plan: ShardPlan, sealed: dict[str, Any], root: Path) -> bool:
    if (root / plan.path).stat().st_size != sealed.get("bytes"):
        return False
    if not (root / plan.part).is_file():
        return True
    return read_part(plan, root)[0].sha256 == sealed.get("sha256")
