"""Random numbers: named streams of a counter-based generator, independent of one another and of the draw order."""
