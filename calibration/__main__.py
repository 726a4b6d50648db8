"""`python -m calibration [--quick] [--only WORD] [--missing] [-j N] [--record F] [-o docs/…]`."""

import argparse
import os
import sys
import time
from pathlib import Path

from calibration.harness import FULL, QUICK, left
from calibration.report import lines_of, page, without
from calibration.running import Unfinished, simulate_all
from calibration.scenarios import SCENARIOS

# The code of sysexits.h for "try again later".
AGAIN = 75


def main() -> int:
    """Simulate, write the page, and exit 1 where a kind leaves its budget; 75 where studies are left."""
    given = _parser().parse_args()
    began = time.perf_counter()
    kept = lines_of(given.out.read_text(encoding="utf-8")) if given.missing else {}
    asked = [scenario for scenario in SCENARIOS if given.only in scenario.name]
    chosen = list(without(kept, asked)) if given.missing else asked
    n = given.n or (QUICK if given.quick else FULL)
    salt = "quick" if given.quick else "table"
    try:
        rows = simulate_all(chosen, n, salt, given.workers, record=given.record, within=given.within)
    except Unfinished as unfinished:
        print(unfinished)
        return AGAIN
    if given.out:
        given.out.write_text(page(rows, kept, SCENARIOS if given.missing else ()), encoding="utf-8")
    print(f"{len(chosen)} scenarios of {n} studies in {time.perf_counter() - began:.0f} s")
    over = list(left(rows))
    print(f"{len(over)} rates leave their budget" if over else "every rate keeps to its budget")
    return int(bool(over))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m calibration", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help=f"{QUICK} studies of each, of seeds of their own")
    add("-n", type=int, help="studies of each scenario")
    add("--only", default="", help="scenarios whose name contains this")
    add(
        "--missing", action="store_true", help="only what the page OUT lacks; its other rows stay as they are"
    )
    add("-j", "--workers", type=int, default=os.cpu_count() or 1, help="processes (all cores)")
    add("--record", type=Path, help="what was drawn, appended block by block; a later call goes on from it")
    add("--within", type=float, help="seconds after which no further block is begun (exit 75: run it again)")
    add("-o", "--out", type=Path, help="write the page here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
