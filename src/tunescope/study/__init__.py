"""The output folder of a command: tables, figures, readout, provenance."""
