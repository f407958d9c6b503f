"""Single samples of a dataset by their indices, from shards that are checked before anything is read from them."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from synthgen.datasets.manifest import Shard
from synthgen.datasets.plan import ShardPlan
from synthgen.datasets.source import Source, content_sha256
from synthgen.errors import DatasetError
from synthgen.storage.sample import MEMBERS, Sample, decode_sample, sample_key
from synthgen.storage.tar import Member, list_members

_OPEN_SHARDS = 4
"""Samples in the order of their indices come from one shard of each of the three splits."""


class SampleReader:
    """Reads samples, and keeps the last few shards open."""

    def __init__(self, source: Source, shards: Sequence[Shard]) -> None:
        self._source = source
        self._shards = {shard.path: shard for shard in shards}
        self._open: OrderedDict[str, tuple[BinaryIO, Mapping[str, Member]]] = OrderedDict()

    def read(self, plan: ShardPlan, index: int) -> Sample:
        """Return a sample of a shard.

        Raises:
            SynthgenError: The shard cannot be read, has another checksum than the manifest says, or lacks the sample.

        """
        file, members = self._shard(plan.path)
        found = {}
        for suffix in MEMBERS:
            member = members.get(f"{sample_key(index)}.{suffix}")
            if member is None:
                raise DatasetError(f"{self._source.address}: {plan.path}: holds no sample {index}; restore the shard")
            file.seek(member.offset)
            found[suffix] = file.read(member.size)
        return decode_sample(found)

    def _shard(self, path: str) -> tuple[BinaryIO, Mapping[str, Member]]:
        if path not in self._open:
            shard = self._shards.get(path)
            if shard is None:
                raise DatasetError(f"{self._source.address}: manifest.json does not list {path}; restore it")
            file = self._source.open(path)
            if content_sha256(file) != shard.sha256:
                file.close()
                raise DatasetError(f"{self._source.address}: {path}: its checksum is another; restore it")
            self._open[path] = file, {member.name: member for member in list_members(file, path)}
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)[1][0].close()
        self._open.move_to_end(path)
        return self._open[path]

    def __getstate__(self) -> dict[str, Any]:
        """Give another process what it needs to open the shards for itself."""
        return self.__dict__ | {"_open": OrderedDict()}
