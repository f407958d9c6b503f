"""Visual exports of samples: contact sheets, figures, and a Blender scene with an armature."""
