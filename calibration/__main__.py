"""`python -m calibration [--quick] [--only WORD] [-o docs/calibration.md]`."""

import argparse
import sys
import time
from pathlib import Path

from calibration.harness import FULL, QUICK, left, simulate_all
from calibration.report import page
from calibration.scenarios import SCENARIOS


def main() -> int:
    """Simulate, write the page, and exit 1 where a kind leaves its budget."""
    parser = argparse.ArgumentParser(prog="python -m calibration", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} studies of each, no page unless -o")
    parser.add_argument("-n", type=int, help="studies of each scenario")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, help="write the page here")
    given = parser.parse_args()
    began = time.perf_counter()
    chosen = [scenario for scenario in SCENARIOS if given.only in scenario.name]
    n = given.n or (QUICK if given.quick else FULL)
    rows = simulate_all(chosen, n, "quick" if given.quick else "table", given.workers)
    if given.out:
        given.out.write_text(page(rows), encoding="utf-8")
    print(f"{len(chosen)} scenarios of {n} studies in {time.perf_counter() - began:.0f} s")
    over = list(left(rows))
    print(f"{len(over)} rates leave their budget" if over else "every rate keeps to its budget")
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
