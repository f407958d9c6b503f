"""Where every random number comes from: named streams of a counter-based generator, so that no draw moves another."""
