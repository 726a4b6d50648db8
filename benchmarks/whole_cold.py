"""Two whole checkpoints that no page cache holds: wall time beside reading alone and half the CPU time.

    python -m benchmarks.whole_cold

Both files are dropped from the page cache (`posix_fadvise`) before they are read, and again before they are
measured, each in a fresh interpreter and in turn. The limit is 1.4 times the larger of the two.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.whole import RANK, ROOT, WAYS, alone

RESULT = Path(__file__).parent / "results" / "whole_cold.json"
MATRICES, ROUNDS, CORES = 8, 5, 2
TRIES = 25
FOLDER = ROOT / f"{MATRICES}-r{RANK}"
FILES = [FOLDER / label / "model.safetensors" for label in ("base", "tuned")]


def drop() -> None:
    """Take both files out of the page cache; the kernel may keep what another core has just read."""
    for _ in range(TRIES):
        for path in FILES:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if not any(resident(path) for path in FILES):
            return
        time.sleep(0.2)
    raise RuntimeError("the page cache keeps the files")


def resident(path: Path) -> int:
    """How many bytes of a file the page cache holds, by util-linux's fincore."""
    command = ["fincore", "--noheadings", "--bytes", "--output", "RES", str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def once(way: str) -> dict[str, float]:
    """Wall and CPU seconds of one run in this process, and its peak memory."""
    run = WAYS[way](FOLDER)
    clock, at = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - clock, time.process_time() - at
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"wall": wall, "cpu": cpu, "peak_mb": peak, "load": os.getloadavg()[0]}


def main() -> dict[str, Any]:
    """Reading and measuring in turn, medians into `results/whole_cold.json`."""
    # In a process of its own, whose peak memory would count as that of the next.
    alone("make", MATRICES, RANK)
    rounds = []
    for _ in range(ROUNDS):
        found = {}
        for way in ("read", "norms"):
            drop()
            command = [sys.executable, "-m", "benchmarks.whole_cold", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[way] = json.loads(done.stdout)
        limit = max(found["read"]["wall"], found["norms"]["cpu"] / CORES)
        rounds.append(found | {"ratio": found["norms"]["wall"] / limit})
    size = sum(path.stat().st_size for path in FILES) / 1e9
    results: dict[str, Any] = {
        "gigabytes": size, "rounds": ROUNDS, "ratios": sorted(r["ratio"] for r in rounds),
        "cpu_ratios": sorted(r["norms"]["cpu"] / r["read"]["cpu"] for r in rounds),
        **{
            way: {key: median(r[way][key] for r in rounds) for key in rounds[0][way]}
            for way in ("read", "norms")
        },
    }  # fmt: skip
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    return results


def section(r: dict[str, Any]) -> list[str]:
    """The results as lines of the page."""
    read, ours, ratios, more = r["read"], r["norms"], r["ratios"], r["cpu_ratios"]
    each = [way["cpu"] / r["gigabytes"] for way in (read, ours)]
    return [
        f"`python -m benchmarks.whole_cold`: {r['gigabytes']:.1f} GB of both files, dropped from the page",
        f"cache before every run; medians of {r['rounds']} rounds on {CORES} cores at a load of "
        f"{ours['load']:.0f}. Reading alone {read['wall']:.2f} s;",
        f"every column of `norms --base` {ours['wall']:.2f} s wall, {ours['cpu']:.2f} s of CPU, "
        f"{ours['peak_mb']:.0f} MB at most. Wall over the larger of",
        f"reading and half the CPU time: {median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f}). CPU "
        f"seconds per GB: {each[0]:.2f} for reading alone, which is",
        f"the kernel's, {each[1]:.2f} for the whole, {median(more):.2f} times ({more[0]:.2f}–{more[-1]:.2f}) "
        "in the rounds.",
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(once(sys.argv[1])))
    else:
        print("\n".join(section(main())))
