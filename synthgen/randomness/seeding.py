"""The only module that creates random generators.

Every stream is keyed by (seed, index, name), so a new stream or a different order of work changes no other draw
(Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*; numpy's Philox).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_WORD = 2**32


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Return the generator of one named stream of one sample.

    Args:
        seed: The spec's seed, at least 0.
        index: The sample's index, at least 0.
        name: The stream's name, such as ``shape`` or ``pose/1``.
    """
    return np.random.Generator(np.random.Philox(_sequence(seed, index, name)))


def _sequence(seed: int, index: int, name: str) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(index, crc32(name.encode())))


class Stream:
    """A named stream of one sample, divided into one substream per named parameter.

    The Philox counters of the substreams are 2**192 draws apart, so adding a parameter to a space changes no other
    draw.
    """

    def __init__(self, seed: int, index: int, name: str) -> None:
        bits = np.random.Philox(_sequence(seed, index, name))
        self._generator, self._start = np.random.Generator(bits), bits.state

    def at(self, name: str) -> np.random.Generator:
        """Return the generator at the start of a parameter's substream; it is valid until the next call."""
        self._start["state"]["counter"][3] = substream(name)
        self._generator.bit_generator.state = self._start
        return self._generator


@dataclass(frozen=True)
class Streams:
    """The same named stream of several samples: the draws of `Stream`, for all samples in one call."""

    seed: int
    """Below 2**63."""
    indices: tuple[int, ...]
    """(n,) below 2**32."""
    name: str

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.indices)

    def each(self) -> Iterator[Stream]:
        """Yield the stream of each sample, for parameters that cannot be drawn for all samples at once."""
        return (Stream(self.seed, index, self.name) for index in self.indices)

    def select(self, places: Iterable[int]) -> "Streams":
        """Return the streams of the samples at these positions."""
        return replace(self, indices=tuple(self.indices[place] for place in places))

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """The keys (n, 2) of Philox, for `synthgen.randomness.philox`."""
        from synthgen.randomness.philox import stream_keys  # noqa: PLC0415 (numba is slow to load, and specs do not need it)

        entropy = np.zeros((len(self.indices), 6), dtype=np.uint64)  # the seed is padded to four words
        entropy[:, 0], entropy[:, 1] = self.seed % _WORD, self.seed // _WORD
        entropy[:, 4], entropy[:, 5] = self.indices, crc32(self.name.encode())
        return stream_keys(entropy)

    def uniforms(self, codes: NDArray[np.uint64], place: int = 0) -> NDArray[np.float64]:
        """Return one uniform per sample and substream, (n, C), equal to ``Stream.at(name).random()``.

        Args:
            codes: (C,) codes of the substreams.
            place: Position of the uniform in its substream, from 0.
        """
        from synthgen.randomness.philox import uniforms  # noqa: PLC0415 (as above)

        return uniforms(self.keys, codes, place)

    def at(self, code: int) -> np.random.Generator:
        """Return a stand-in for a generator that draws one number of a substream for each sample."""
        return cast("np.random.Generator", _Across(self, code))


class _Across:
    """The part of the generator interface that distributions use; each call draws one uniform per sample."""

    def __init__(self, streams: Streams, code: int) -> None:
        self._streams, self._code = streams, np.array([code], dtype=np.uint64)
        self._place = 0

    def random(self, n: int) -> NDArray[np.float64]:
        if n != len(self._streams):
            raise ValueError(f"n: value {n} is not the number of samples; use {len(self._streams)}")
        drawn = self._streams.uniforms(self._code, self._place)[:, 0]
        self._place += 1
        return drawn


def substream(name: str) -> int:
    """Return the code of a named parameter's substream."""
    return crc32(name.encode())
