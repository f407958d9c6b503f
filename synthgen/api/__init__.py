"""The public Python interface, behind `import synthgen`: thin, and heavy imports stay inside functions."""
