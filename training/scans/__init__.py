"""Real scans brought to the domain of the renderings: orientation, silhouette, patch, scan set."""
