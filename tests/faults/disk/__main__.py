"""`python -m tests.faults.disk`: every fault at every point of every command that writes.

Prints what was lost, and exits 1 where something was.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from .commands import COMMANDS
from .shim import FAULTS
from .trial import Bench


def main() -> int:
    """Try all that was asked for; `--stride 7` tries every seventh point."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.disk", description=__doc__)
    parser.add_argument("--command", choices=sorted(COMMANDS), action="append")
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--stride", type=int, default=1, help="try every Nth point")
    parser.add_argument("--turn", type=int, help="try five points with one fault each, other ones every turn")
    asked = parser.parse_args()
    tried, lost = 0, 0
    for command in asked.command or COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(command, Path(folder))
            for over in bench.over:
                points = bench.points(over)
                for fault, point in _chosen(points, asked):
                    tried += 1
                    if (found := bench.lost(fault, point, over)) is not None:
                        lost += 1
                        print(found, flush=True)
                print(f"{command}{' over an earlier study' if over else ''}: {points} points", flush=True)
    print(f"{tried} points tried, {lost} lost")
    return int(bool(lost))


def _chosen(points: int, asked: argparse.Namespace) -> list[tuple[str, int]]:
    """Which faults to try at which points."""
    if asked.turn is None:
        return [(f, p) for f in asked.fault or FAULTS for p in range(1, points + 1, asked.stride)]
    spread = range(1 + asked.turn % 3, points + 1, max(points // 5, 1))
    return [(FAULTS[(asked.turn + point) % len(FAULTS)], point) for point in spread]


if __name__ == "__main__":
    sys.exit(main())
