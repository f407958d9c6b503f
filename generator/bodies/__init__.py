"""Posed bodies: a sample's draws, shape, skinning, pose, collisions and landmark labels, on plain arrays."""
