"""The version of the package, and the year that it is cited with."""

__version__ = "0.1.0"
YEAR = 2026
