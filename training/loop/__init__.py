"""The training loop: configuration, optimizer, device, checkpoints, log."""
