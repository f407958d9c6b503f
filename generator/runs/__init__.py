"""Running many shards: options, worker processes, progress, resume, and rendering on demand."""
