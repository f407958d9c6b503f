"""How weights move along a gradient: SGD as in the paper, or Adam, and what either remembers."""

import torch
from torch import Tensor, nn

from synthgen.errors import SynthgenError
from synthgen.training.loop.config import Recipe

_SQUARES = "squares/"


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe, which remembers nothing yet.

    ``adam`` is that of Loshchilov and Hutter 2019 (AdamW), whose weight decay is apart from the gradient.
    """
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(
            model.parameters(), lr=recipe.rate.first, betas=(recipe.momentum, recipe.squares),
            weight_decay=recipe.weight_decay, fused=True,
        )  # fmt: skip
    return torch.optim.SGD(
        model.parameters(), lr=recipe.rate.first, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
        fused=True,
    )  # fmt: skip


def remembered(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return copies on the CPU of what an optimizer remembers: by weight, and Adam's squares by ``squares/`` weight."""
    tensors = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        for kind, key in _kinds(optimizer).items():
            if state.get(key) is not None:
                tensors[kind + name] = state[key].detach().cpu().clone()
    return tensors


def remember(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor], updates: int) -> None:
    """Give an optimizer what one remembered after ``updates``.

    Args:
        optimizer: A new one.
        model: Its network, on its device.
        tensors: As `remembered` returns them.
        updates: That the other one had done.

    Raises:
        SynthgenError: A tensor has not the shape of its weight, or Adam has one of a weight's two alone.

    """
    kinds = _kinds(optimizer)
    for name, parameter in model.named_parameters():
        missing = [kind + name for kind in kinds if kind + name not in tensors]
        if len(missing) == len(kinds):
            continue
        if missing:
            raise SynthgenError(f"momentum: {missing[0]} is missing; restore the checkpoint")
        for kind, key in kinds.items():
            tensor = tensors[kind + name]
            if tensor.shape != parameter.shape:
                shape = "x".join(map(str, tensor.shape))
                raise SynthgenError(f"momentum: {kind + name} is {shape}, not as its weight; restore the checkpoint")
            optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(tensor)
        if isinstance(optimizer, torch.optim.AdamW):
            optimizer.state[parameter]["step"] = torch.tensor(float(updates), device=parameter.device)


def _kinds(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """Return by prefix of our names what torch calls the tensors."""
    if isinstance(optimizer, torch.optim.AdamW):
        return {"": "exp_avg", _SQUARES: "exp_avg_sq"}
    return {"": "momentum_buffer"}
