"""A command as its user runs it: in a process of its own, one thread, modules compiled as pip leaves them."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path("bench-out")


def environment(**more: str) -> dict[str, str]:
    """The environment with one thread for everything, and compiled modules kept from one run to the next."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = {"PYTHONPYCACHEPREFIX": str((ROOT / "compiled").resolve())}
    return kept | compiled | dict.fromkeys(threads, "1") | more


def run(command: Sequence[str], **more: str) -> Mapping[str, float]:
    """CPU and wall seconds and the peak memory of a command; ends where the command fails."""
    start = time.perf_counter()
    done = subprocess.Popen(
        command, env=environment(**more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command[:6])} ended with {status}")
    return {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "wall_seconds": time.perf_counter() - start,
        "peak_mb": usage.ru_maxrss / 1024,
    }
