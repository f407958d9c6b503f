"""The generator: from a spec to posed bodies, pixels, exact labels and sealed datasets."""
