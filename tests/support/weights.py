"""Comparing what trainings end with."""

import torch

from synthgen.training.loop.checkpoint import Checkpoint


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def same_network(one: Checkpoint, other: Checkpoint) -> bool:
    return same_weights(one.weights, other.weights)
