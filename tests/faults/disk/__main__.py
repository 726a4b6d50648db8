"""`python -m tests.faults.disk`: every fault at every point of every command that writes.

Prints what was lost, and exits 1 where something was.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from .commands import COMMANDS
from .shim import FAULTS
from .trial import Bench


def main() -> int:
    """Try all that was asked for; `--stride 7` tries every seventh point."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.disk", description=__doc__)
    parser.add_argument("--command", choices=sorted(COMMANDS), action="append")
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--stride", type=int, default=1, help="try every Nth point")
    parser.add_argument(
        "--record", type=Path, help="write what was tried into this JSON file, as benchmarks/ keeps it"
    )
    parser.add_argument("--turn", type=int, help="try five points with one fault each, other ones every turn")
    asked = parser.parse_args()
    rows = []
    for command in asked.command or COMMANDS:
        rows.append(_tried(command, asked))
        if asked.record is not None:
            asked.record.write_text(json.dumps(rows, indent=2) + "\n")
    lost = sum(row["lost"] for row in rows)
    print(f"{sum(row['tried'] for row in rows)} points tried, {lost} lost")
    return int(bool(lost))


def _tried(command: str, asked: argparse.Namespace) -> dict[str, Any]:
    """How many faults of one command were tried at how many points, and after how many something was lost."""
    counts, tried, lost = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(command, Path(folder))
        for over in bench.over:
            counts.append(bench.points(over))
            chosen = _chosen(counts[-1], asked)
            tried += len(chosen)
            for found in bench.struck(chosen, over):
                lost += 1
                print(found, flush=True)
            print(f"{command}{' over an earlier study' if over else ''}: {counts[-1]} points", flush=True)
    points = " and ".join(map(str, dict.fromkeys(counts)))
    return {"command": command, "points": points, "stride": asked.stride, "tried": tried, "lost": lost}


def _chosen(points: int, asked: argparse.Namespace) -> list[tuple[str, int]]:
    """Which faults to try at which points."""
    if asked.turn is None:
        return [(f, p) for f in asked.fault or FAULTS for p in range(1, points + 1, asked.stride)]
    spread = range(1 + asked.turn % 3, points + 1, max(points // 5, 1))
    return [(FAULTS[(asked.turn + point) % len(FAULTS)], point) for point in spread]


if __name__ == "__main__":
    sys.exit(main())
