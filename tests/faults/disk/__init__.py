"""Faults of the disk and of the machine at every step of writing: nothing is lost, and the work goes on."""
