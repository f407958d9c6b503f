"""Real scans in the domain of the renderings: orientation, silhouette, patch, scan set."""
