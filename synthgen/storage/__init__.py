"""What a sample is on disk: its masks, depths and labels, PNG and tar, and files that are never half-written."""
