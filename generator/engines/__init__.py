"""Engines render a posed body to depth and mask: Blender, the reference, and the native raster engine."""
