"""Arrays in, arrays out: no labels and no files."""
