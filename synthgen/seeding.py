"""The only place that makes random generators.

Every stream is keyed by (seed, index, name), so a new stream or another order of work moves no draw
(Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*; numpy's Philox).
"""

from functools import cached_property
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Return the generator of one named stream of one sample.

    Args:
        seed: The spec's seed; 0 is a seed like any other.
        index: The sample's index, at least 0.
        name: The stream's name, such as ``shape`` or ``pose/1``.
    """
    return np.random.Generator(np.random.Philox(_sequence(seed, index, name)))


def _sequence(seed: int, index: int, name: str) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(index, crc32(name.encode())))


class Stream:
    """A named stream of one sample, divided into a substream for each named parameter.

    The substreams are Philox counters 2**192 draws apart, so adding a parameter to a space moves no other draw.
    """

    def __init__(self, seed: int, index: int, name: str) -> None:
        self._sequence = _sequence(seed, index, name)
        self._key = self._sequence.generate_state(2, np.uint64).astype(np.uint64)

    def at(self, name: str) -> np.random.Generator:
        """Return the generator, moved to the start of a parameter's substream; use it before the next call."""
        return self.at_code(substream(name))

    def at_code(self, code: int) -> np.random.Generator:
        """Return the generator at the substream with a code, for names that are drawn again and again."""
        generator, start = self._generator
        start["state"]["counter"][3] = code
        generator.bit_generator.state = start
        return generator

    @cached_property
    def _generator(self) -> tuple[np.random.Generator, Any]:
        bits = np.random.Philox(self._sequence)
        return np.random.Generator(bits), bits.state

    def uniforms(self, codes: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the first uniform of each substream, (N,): what ``at_code(code).random()`` gives, much faster."""
        from synthgen.philox import first_uniforms  # noqa: PLC0415 (numba is slow to load, and specs do without it)

        return first_uniforms(self._key, codes)


def substream(name: str) -> int:
    """Return the code of a named parameter's substream."""
    return crc32(name.encode())
