"""Specs: the YAML a user writes, read, checked and resolved into frozen values, with the built-in ones by name."""
