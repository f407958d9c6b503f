"""synthgen: synthetic training data for anatomical landmark detection.

Importing this package loads nothing heavy: Blender, torch and the network each enter through one file of their own.
"""

__version__ = "0.1.0"
