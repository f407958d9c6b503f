"""From a dataset, local or remote, to shuffled batches of patches and labels."""
