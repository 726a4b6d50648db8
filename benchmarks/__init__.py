"""Measured ratios against peers and physical limits; run with `make bench`."""
