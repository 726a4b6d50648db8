"""How often each kind of finding is raised where nothing is there, and where something is.

`python -m calibration -o docs/calibration.md` simulates whole studies; `--quick` simulates fewer. Both fail
where a kind leaves its budget. A question adds its scenarios with one line in `scenarios.py`.
"""
