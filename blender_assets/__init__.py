"""MakeHuman assets: baked models, landmark definitions, target-file plugins and the manifest of sources."""
