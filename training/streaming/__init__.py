"""From a dataset, wherever it lies, to shuffled batches of patches and labels."""
