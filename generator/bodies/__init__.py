"""Posed bodies: what is drawn for a sample, shape, skinning, pose, collisions and landmark labels, as pure arrays."""
