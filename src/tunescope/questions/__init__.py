"""The questions: one folder each, independent of one another."""
