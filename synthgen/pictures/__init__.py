"""Pictures of samples and patches: marked landmarks, text, contact sheets."""
