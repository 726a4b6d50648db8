"""`python -m tests.faults.fuzz`: damage inputs for as long as one likes, and say what had no answer.

Prints every distinct finding with the changes that repeat it; exits 1 where there is one.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from .kinds import KINDS
from .trial import Bench, Finding

_ROUND = 48


def main() -> int:
    """Run until the time is over; every round tries each kind, slow ones less often."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kind", choices=sorted(KINDS), action="append")
    asked = parser.parse_args()
    dice, found, tried = random.Random(asked.seed), dict[tuple[str, str], Finding](), dict[str, int]()
    end = time.monotonic() + asked.seconds
    with tempfile.TemporaryDirectory() as folder:
        benches = [Bench(name, Path(folder)) for name in asked.kind or KINDS]
        while time.monotonic() < end:
            for bench in benches:
                count = max(_ROUND // bench.kind.slow, 1)
                tried[bench.name] = tried.get(bench.name, 0) + count
                for finding in bench.try_some(dice, count):
                    if found.setdefault((finding.kind, finding.where), finding) is finding:
                        print(finding, flush=True)
    for name, count in tried.items():
        print(f"{name:28} {count:8}")
    print(f"seed {asked.seed}: {sum(tried.values())} inputs tried, {len(found)} uncaught")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
