"""Pushing datasets to the Hugging Face Hub and pulling them."""
