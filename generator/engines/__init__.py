"""Engines turn a posed body into depth and mask: Blender, the reference, and the native raster engine."""
