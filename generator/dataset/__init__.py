"""The dataset folder: shards, tables, manifest, card, and their verification."""
