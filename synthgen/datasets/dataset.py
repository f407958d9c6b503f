"""A sealed dataset, wherever it is: what its manifest and spec say, its shards, and its samples by number."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from synthgen.datasets.manifest import Shard, parse_manifest
from synthgen.datasets.plan import ShardPlan, Split, find_plan, plan_shards
from synthgen.datasets.samples import SampleReader
from synthgen.datasets.source import MAX_FILE_BYTES, Source, read_checked
from synthgen.errors import DatasetError
from synthgen.specs.domain import Domain
from synthgen.specs.files import parse_spec
from synthgen.specs.safe_yaml import parse_yaml
from synthgen.specs.spec import ResolvedSpec
from synthgen.storage.dataset_paths import CHECKSUMS, MANIFEST, SPEC, parse_checksums
from synthgen.storage.sample import Sample


@dataclass(frozen=True)
class Dataset:
    """A sealed dataset, or one split of it: a sequence of samples, ordered by their indices.

    ``dataset[i]`` reads one sample; of a whole dataset it is the sample with index ``i``. ``dataset[a:b]`` is a list,
    iterating reads one sample after the other, and ``dataset.split("train")`` is the sequence of one split. A shard's
    checksum is verified before the first sample is read from it.
    """

    source: Source
    domain: Domain
    spec: ResolvedSpec
    """Its target files are known by their digests only."""
    name: str
    version: int
    sha256: str
    """Of the manifest, which holds the digest of every shard: equal for equal datasets only."""
    spec_sha256: str
    """Of the resolved spec without its count."""
    shards: tuple[Shard, ...]
    checksums: Mapping[str, str]
    """Digests of all files by their paths, from ``SHA256SUMS``."""

    @property
    def title(self) -> str:
        """The dataset's name, as in the names of its shards."""
        return f"synthgen-{self.name}-v{self.version}"

    @property
    def landmarks(self) -> tuple[str, ...]:
        """K names, in the order of every label."""
        return self.domain.landmarks

    def split(self, split: Split) -> "Dataset":
        """Return the samples of one split: ``train``, ``validation`` or ``test``.

        Raises:
            DatasetError: The dataset has no samples in it.

        """
        return replace(self, shards=self.shards_of(split))

    def shards_of(self, split: Split) -> tuple[Shard, ...]:
        """Return the shards of a split, in stored order.

        Raises:
            DatasetError: It has none.

        """
        shards = tuple(shard for shard in self.shards if shard.split == split)
        if not shards:
            raise DatasetError(f"{self.source.address}: has no samples in split {split}; render more of them")
        return shards

    def __len__(self) -> int:
        return sum(shard.samples for shard in self.shards)

    def __iter__(self) -> Iterator[Sample]:
        return (self[position] for position in range(len(self)))

    @overload
    def __getitem__(self, position: int) -> Sample: ...
    @overload
    def __getitem__(self, position: slice) -> list[Sample]: ...
    def __getitem__(self, position: int | slice) -> Sample | list[Sample]:
        """Return the sample at a position, negative ones counted from the end; or a list of them for a slice.

        Raises:
            IndexError: There is no such position.
            SynthgenError: The shard cannot be read, or it or the sample is damaged.

        """
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"{position}: {self.source.address} has {len(self)} samples here, 0 to {len(self) - 1}")
        index = int(self._indices[position])
        plan = find_plan(self._plans, index)
        if plan is None:
            raise DatasetError(f"{self.source.address}: has no shard of sample {index}; restore {MANIFEST}")
        return self._reader.read(plan, index)

    @cached_property
    def _plans(self) -> tuple[ShardPlan, ...]:
        here = {shard.path for shard in self.shards}
        return tuple(plan for plan in plan_shards(self.name, self.version, self.spec.count) if plan.path in here)

    @cached_property
    def _indices(self) -> NDArray[np.int64]:
        indices = np.sort(np.concatenate([plan.indices for plan in self._plans] or [np.empty(0, np.int64)]))
        if len(indices) != len(self):
            raise DatasetError(f"{self.source.address}: {MANIFEST} lists other shards than {SPEC} makes; restore both")
        return indices

    @cached_property
    def _reader(self) -> SampleReader:
        return SampleReader(self.source, self.shards)


def read_dataset(source: Source) -> Dataset:
    """Read the checksums, manifest and spec of a dataset.

    Raises:
        DatasetError: It is not a dataset, is of a newer version, or a file around the shards is damaged.

    """
    checksums = parse_checksums(source.read(CHECKSUMS, MAX_FILE_BYTES), f"{source.address}: {CHECKSUMS}")
    content = read_checked(source, MANIFEST, checksums)
    manifest = parse_manifest(content, f"{source.address}: {MANIFEST}")
    spec = parse_spec(parse_yaml(read_checked(source, SPEC, checksums), f"{source.address}: {SPEC}"))
    domain = Domain.of_spec(spec)
    same = (domain.width, domain.height) == (manifest.image.width, manifest.image.height)
    if not same or list(domain.landmarks) != manifest.landmarks or spec.side != manifest.side:
        raise DatasetError(f"{source.address}: {MANIFEST} and {SPEC} do not belong to the same dataset; restore them")
    sha256 = hashlib.sha256(content).hexdigest()
    return Dataset(
        source,
        domain,
        spec,
        manifest.name,
        manifest.version,
        sha256,
        manifest.spec_sha256,
        tuple(manifest.shards),
        checksums,
    )
