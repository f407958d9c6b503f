"""Time to find the nearest neighbours of scans among all synthetic masks, on one core.

    python -m benchmarks.neighbours --masks 2200000 --queries 100

The masks are random, because every distance is computed in full regardless of content. Part of the result is compared
with brute force in numpy, which is timed too.
"""

import argparse
import time

import numpy as np

from synthgen.training.evaluation.baselines import nearest, pack_words

BARS_S = 30.0
_BLOCK = 100_000


def random_packed(count: int, seed: int) -> np.ndarray:
    """Packed masks (count, 144) of 96 x 96 pixels."""
    return np.random.default_rng(seed).integers(0, 2**64, (count, 144), dtype=np.uint64)


def brute_force(queries: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Rows of the three nearest (Q, 3), by a table of the ones in each byte."""
    ones = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
    distances = np.stack([ones[(masks ^ query).view(np.uint8)].sum(axis=1, dtype=np.int64) for query in queries])
    return np.argsort(distances, axis=1, kind="stable")[:, :3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=2_200_000)
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    queries = random_packed(options.queries, 1)
    nearest(queries[:1], queries[:1])  # compiles
    masks = random_packed(options.masks, 0)

    start = time.perf_counter()
    found = nearest(queries, masks)
    took = time.perf_counter() - start
    words = options.masks * options.queries * masks.shape[1]
    print(f"{options.queries} queries among {options.masks:,} masks ({masks.nbytes / 1e9:.2f} GB): {took:.2f} s, "
          f"{1000 * took / options.queries:.0f} ms per query, {8 * words / took / 1e9:.0f} GB/s")  # fmt: skip

    part = masks[:_BLOCK]
    start = time.perf_counter()
    rows = brute_force(queries[:3], part)
    slow = (time.perf_counter() - start) / 3 * options.masks / len(part)
    same = np.array_equal(rows, nearest(queries[:3], part).rows)
    print(f"numpy with a table of bytes: {slow:.1f} s per query (from {len(part):,} masks); "
          f"{'the same' if same else 'DIFFERENT'} neighbours")  # fmt: skip

    whole = np.random.default_rng(2).random((2000, 96, 96)) < 0.5
    start = time.perf_counter()
    pack_words(whole)
    print(f"packing: {len(whole) / (time.perf_counter() - start):,.0f} masks/s")
    raise SystemExit(0 if same and took < BARS_S and (found.rows >= 0).all() else 1)


if __name__ == "__main__":
    main()
