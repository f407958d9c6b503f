"""Samples on disk: masks, depths and labels, PNG and tar, and files that are written atomically."""
