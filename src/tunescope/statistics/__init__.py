"""Tests against nulls: arrays in, numbers out. Knows NumPy and SciPy, and no models."""
