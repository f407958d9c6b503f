"""Phantom scans: posed bodies voxelized into CT-like or MR-like volumes with known landmarks."""
