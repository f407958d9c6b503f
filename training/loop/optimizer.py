"""The optimizers, SGD as in the paper or Adam, and how their state is stored in checkpoints."""

import torch
from torch import Tensor, nn

from synthgen.errors import SynthgenError
from synthgen.training.loop.config import TrainingConfig


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a training config, with empty state.

    ``adam`` is AdamW (Loshchilov and Hutter 2019), whose weight decay is decoupled from the gradient.
    """
    if config.betas is not None:
        return torch.optim.AdamW(
            model.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum or 0.0, weight_decay=config.weight_decay, fused=True
    )


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return copies of an optimizer's state on the CPU, as ``momentum_buffer/conv1.weight`` or ``exp_avg/…``."""
    return {
        f"{key}/{name}": optimizer.state[parameter][key].detach().cpu().clone()
        for name, parameter in model.named_parameters()
        for key in _keys(optimizer)
        if optimizer.state[parameter].get(key) is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, state: dict[str, Tensor], steps: int) -> None:
    """Restore the state that an optimizer had after a number of steps.

    Args:
        optimizer: A new one.
        model: Its network, on its device.
        state: As `optimizer_state` returns it.
        steps: Steps that were done.

    Raises:
        SynthgenError: A tensor does not have the shape of its weight, or one of Adam's two tensors is missing.

    """
    keys = _keys(optimizer)
    for name, parameter in model.named_parameters():
        missing = [f"{key}/{name}" for key in keys if f"{key}/{name}" not in state]
        if len(missing) == len(keys):
            continue
        if missing:
            raise SynthgenError(f"optimizer: {missing[0]} is missing; restore the checkpoint")
        for key in keys:
            tensor = state[f"{key}/{name}"]
            if tensor.shape != parameter.shape:
                found, wanted = ("x".join(map(str, shape)) for shape in (tensor.shape, parameter.shape))
                raise SynthgenError(f"optimizer: {key}/{name} is {found}, not {wanted}; restore the checkpoint")
            optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(tensor)
        if isinstance(optimizer, torch.optim.AdamW):
            optimizer.state[parameter]["step"] = torch.tensor(float(steps), device=parameter.device)


def _keys(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Return torch's names of the tensors in the state of a weight."""
    return ("exp_avg", "exp_avg_sq") if isinstance(optimizer, torch.optim.AdamW) else ("momentum_buffer",)
