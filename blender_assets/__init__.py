"""The MakeHuman plugin loader: baked models, landmark definitions and the manifest of assets."""
