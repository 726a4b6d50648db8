"""Several processes give the numbers of one, and a killed run goes on to the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.processes import in_two_processes

from tunescope.errors import BadInput
from tunescope.questions.importance.measurement import Options, measure

from .importance_models import qwen3, sequences
from .importance_worker import LENGTHS, METHODS, SHARDED_METHODS

_WORKER = Path(__file__).with_name("importance_worker.py")


@pytest.fixture(scope="module")
def alone():
    return measure(qwen3(), sequences(LENGTHS), Options(methods=METHODS))


def test_two_processes_equal_one(alone, tmp_path):
    """Every process takes every other sequence; means, errors and counts are those of one process."""
    out = tmp_path / "two.npz"
    in_two_processes(_WORKER, out)
    with np.load(out) as two:
        for method in (*METHODS, "bypass", "loss"):
            one = alone.moments(method)
            assert int(two[f"{method}/n"]) == one.n
            np.testing.assert_allclose(two[f"{method}/mean"], one.mean, rtol=1e-12)
            np.testing.assert_allclose(two[f"{method}/stderr"], one.stderr(), rtol=1e-7)


def test_a_sharded_model_scores_as_a_whole_one(tmp_path):
    """Two processes hold half of every weight each (FSDP2): sums over the halves are those of the whole."""
    out = tmp_path / "sharded.npz"
    in_two_processes(_WORKER, out, "sharded")
    whole = measure(qwen3(), sequences(LENGTHS), Options(methods=SHARDED_METHODS))
    with np.load(out) as parts:
        np.testing.assert_allclose(parts["magnitude"], whole.magnitude, rtol=1e-12)
        for method in ("taylor", "curvature", "fisher", "bypass", "loss"):
            one = whole.moments(method)
            assert int(parts[f"{method}/n"]) == one.n
            np.testing.assert_allclose(parts[f"{method}/mean"], one.mean, rtol=1e-10)
            np.testing.assert_allclose(parts[f"{method}/stderr"], one.stderr(), rtol=1e-6)


def test_a_killed_run_goes_on_to_the_same_bits(alone, tmp_path):
    """SIGKILL in the middle of the data; the next run starts there and ends where an unbroken one does."""
    worker = [sys.executable, str(_WORKER), "nowhere.npz", str(tmp_path), "4"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    killed = subprocess.run(worker, check=False, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    seen = []
    options = Options(methods=METHODS, state=tmp_path, progress=seen.append)
    resumed = measure(qwen3(), sequences(LENGTHS), options)
    for method in METHODS:
        assert np.array_equal(resumed.moments(method).mean, alone.moments(method).mean, equal_nan=True), (
            method
        )
        assert np.array_equal(
            resumed.moments(method).stderr(), alone.moments(method).stderr(), equal_nan=True
        ), method
    assert resumed.data_hash == alone.data_hash
    assert resumed.moments("taylor").n == len(LENGTHS)


def test_a_state_of_other_data_or_arguments_is_refused(tmp_path):
    """Going on with other texts, or asking for something else, would mix two measurements."""
    batches = sequences(LENGTHS)
    measure(qwen3(), batches[:4], Options(state=tmp_path, save_every=0))
    with pytest.raises(BadInput, match="other-data"):
        measure(qwen3(), batches[:2], Options(state=tmp_path))
    with pytest.raises(BadInput, match="other-data"):
        measure(qwen3(), sequences(LENGTHS, seed=9), Options(state=tmp_path))
    with pytest.raises(BadInput, match="other-state"):
        measure(qwen3(), batches, Options(methods=("curvature",), state=tmp_path))
    (tmp_path / "process-0-of-1.npz").write_bytes(b"torn")
    with pytest.raises(BadInput, match="bad-state"):
        measure(qwen3(), batches, Options(state=tmp_path))
