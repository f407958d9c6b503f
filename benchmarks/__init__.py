"""Benchmarks, run manually: ``python -m benchmarks.NAME``."""
