"""The command line: options and output only; the work is done elsewhere, and heavy imports stay inside commands."""
