"""The only place that makes random generators.

Every stream is keyed by (seed, index, name), so a new stream or another order of work moves no draw
(Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*; numpy's Philox).
"""

from zlib import crc32

import numpy as np


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """Return the generator of one named stream of one sample.

    Args:
        seed: The spec's seed; 0 is a seed like any other.
        index: The sample's index, at least 0.
        name: The stream's name, such as ``shape`` or ``pose/1``.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(index, crc32(name.encode())))))


class Stream:
    """A named stream of one sample, divided into a substream for each named parameter.

    The substreams are Philox counters 2**192 draws apart, so adding a parameter to a space moves no other draw.
    """

    def __init__(self, seed: int, index: int, name: str) -> None:
        self._generator = stream(seed, index, name)
        self._bits = self._generator.bit_generator
        self._start = self._bits.state
        self._counter = self._start["state"]["counter"]

    def at(self, name: str) -> np.random.Generator:
        """Return the generator, moved to the start of a parameter's substream; use it before the next call."""
        return self.at_code(substream(name))

    def at_code(self, code: int) -> np.random.Generator:
        """Return the generator at the substream with a code, for names that are drawn again and again."""
        self._counter[3] = code
        self._bits.state = self._start
        return self._generator


def substream(name: str) -> int:
    """Return the code of a named parameter's substream."""
    return crc32(name.encode())
