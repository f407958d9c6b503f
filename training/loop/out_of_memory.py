"""Out of memory: the largest batch size that would fit."""

from collections.abc import Callable

import torch


def largest_batch(attempt: Callable[[int], None], samples: int) -> int:
    """Return the first of samples, samples / 2, … that fits into memory; 0 if not even 1 does."""
    while samples > 0:
        try:
            attempt(samples)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            samples //= 2
        else:
            break
    return samples


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch means that memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
