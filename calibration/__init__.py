"""How often each kind of finding is raised where nothing is there, and where something is.

`python -m calibration -o docs/calibration.md` simulates whole studies; `--quick` simulates fewer. Both fail
where a kind leaves its budget. A question adds its scenarios with one line in `scenarios.py`. Nothing but the
base install is imported: no torch.
"""

import os

# Many processes share the cores: each keeps to one, which libraries read when they are first imported.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_threads, "1")
