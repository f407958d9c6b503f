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
