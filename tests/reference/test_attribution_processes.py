"""Several processes share an attribution and give the numbers of one, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from .attribution_worker import arrays, attributed

_WORKER = str(Path(__file__).with_name("attribution_worker.py"))
_LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
_ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def test_two_processes_equal_one(tmp_path):
    out = tmp_path / "two.npz"
    subprocess.run([*_LAUNCH, _WORKER, str(out)], check=True, env=_ENVIRONMENT, capture_output=True)
    alone = arrays(attributed())
    with np.load(out) as two:
        assert set(two.files) == set(alone)
        for name, values in alone.items():
            np.testing.assert_array_equal(two[name], values)
