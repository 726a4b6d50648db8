"""`python -m tests.faults.fuzz`: damage inputs for as long as one likes, and say what had no answer.

Prints every distinct finding with the changes that repeat it; exits 1 where there is one. The trials have a
process of their own: an input that ends it, as a native abort does, is a finding too, and they go on.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .kinds import KINDS
from .trial import Bench, Finding

_ROUND = 48


def main() -> int:
    """Run until the time is over; every whole round tries each kind, slow ones less often."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kind", choices=sorted(KINDS), action="append")
    parser.add_argument("--attempts", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    return _supervised(asked) if asked.attempts is None else _trials(asked)


def _supervised(asked: argparse.Namespace) -> int:
    """The trials in a process of their own, and in another with the next seed where one was ended."""
    end, seed, ended = time.monotonic() + asked.seconds, asked.seed, 0
    kinds = [word for kind in asked.kind or () for word in ("--kind", kind)]
    with tempfile.TemporaryDirectory() as folder:
        attempts = Path(folder) / "attempts"
        while (left := end - time.monotonic()) > 0 or not ended:
            command = [sys.executable, "-m", "tests.faults.fuzz", *kinds, "--attempts", str(attempts)]
            code = subprocess.run(
                [*command, "--seconds", str(left), "--seed", str(seed)], check=False
            ).returncode
            if code >= 0:
                return code or int(ended > 0)
            print(f"ended by signal {-code}: {attempts.read_text()}", flush=True)
            seed, ended = seed + 1, ended + 1
    return 1


def _trials(asked: argparse.Namespace) -> int:
    dice, found, tried = random.Random(asked.seed), dict[tuple[str, str], Finding](), dict[str, int]()
    end = time.monotonic() + asked.seconds
    with tempfile.TemporaryDirectory() as folder:
        benches = [Bench(name, Path(folder)) for name in asked.kind or KINDS]
        for bench in benches:
            bench.attempts = asked.attempts
        while time.monotonic() < end:
            for bench in benches:
                if time.monotonic() >= end:
                    break
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
