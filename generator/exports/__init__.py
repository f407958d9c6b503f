"""One sample for people to look at: contact sheets, figures, and a Blender scene with its armature."""
