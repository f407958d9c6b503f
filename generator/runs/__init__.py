"""Rendering many shards: options, worker processes, progress, resuming; and rendering on demand."""
