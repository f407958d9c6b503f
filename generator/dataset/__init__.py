"""The dataset folder: shards, tables, manifest and card, and their verification."""
