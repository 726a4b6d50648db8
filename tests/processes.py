"""A worker in two processes, as torchrun starts them; what it said where it fails."""

import os
import subprocess
import sys
from pathlib import Path

_LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def in_two_processes(worker: Path, *arguments: object) -> None:
    """Run a script so, or fail with what its processes wrote."""
    # Read now: what other tests put there for themselves is gone again.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*_LAUNCH, str(worker), *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
