"""Names of version 0.1.0 that have changed: files that use them are refused with the new name."""

from collections.abc import Mapping

KEYS: Mapping[str, Mapping[str, str]] = {
    "TrainingConfig": {
        "batch": "batch_size",
        "clip": "clip_grad_norm",
        "rate": "lr (rate.first) and lr_schedule (rate.decay, rate.drop, rate.last)",
        "squares": "betas (momentum and squares)",
    },
}
"""By the model that had the key: old key, new key."""

CHECKPOINT: Mapping[str, str] = {"recipe": "config", "place.updates": "place.steps", "momentum": "optimizer"}
"""Of ``checkpoint.json``, version 2 and before."""

EXPERIMENT: Mapping[str, str] = {"recipe": "config"}
"""Of ``experiment.json``."""

OPTIONS: Mapping[str, str] = {"--recipe": "--config", "--tune-recipe": "--tune-config"}
"""Of the command line."""


def renames(table: Mapping[str, str]) -> str:
    """Write a table as ``recipe is now config, ...``."""
    return ", ".join(f"{old} is now {new}" for old, new in table.items())
