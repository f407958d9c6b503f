"""Datasets that are sealed: read from a folder, a web server or the Hugging Face Hub, and checked."""
