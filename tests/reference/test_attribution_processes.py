"""Several processes share an attribution and give the numbers of one, bit for bit."""

from pathlib import Path

import numpy as np
from tests.processes import in_two_processes

from .attribution_worker import arrays, attributed

_WORKER = Path(__file__).with_name("attribution_worker.py")


def test_two_processes_equal_one(tmp_path):
    out = tmp_path / "two.npz"
    in_two_processes(_WORKER, out)
    alone = arrays(attributed())
    with np.load(out) as two:
        assert set(two.files) == set(alone)
        for name, values in alone.items():
            np.testing.assert_array_equal(two[name], values)
