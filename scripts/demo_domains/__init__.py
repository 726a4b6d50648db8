"""Rows of the five small fine-tuning domains, written as functions from a random generator to one row."""
