"""Training on streamed shards (not built yet: this package is empty on purpose)."""
