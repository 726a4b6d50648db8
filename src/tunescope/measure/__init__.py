"""One question per file: `Delta`s in, rows out."""
