"""`python -m tests.faults.disk.moments`: signals at random moments of commands, between their writes too.

Every trial is a run of its own, from its first line of work on; pictures are drawn. It is judged as at the
points of `tests.faults.disk`. Prints what was lost, and exits 1 where something was.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunescope import interruption

from .branches import Branch, digest_of
from .commands import COMMANDS
from .processes import silenced
from .shim import SIGNALS
from .trial import Bench, Lost

_REPEATS = 3
# Past the end of most runs: that a signal comes too late is a moment as well.
_UNTIL = 1.05


class Moments:
    """Runs of one command that a signal meets at a moment drawn from a seed."""

    def __init__(self, bench: Bench, over: bool) -> None:
        self._bench, self._over = bench, over
        bench.points(over)
        self._seconds = statistics.median(self._run(None, 0)[1] for _ in range(_REPEATS))

    def struck(self, fault: str, number: int, chance: random.Random) -> Iterator[tuple[Branch, Lost | None]]:
        """How each of so many runs ended, and what it lost."""
        for trial in range(1, number + 1):
            code, _ = self._run(fault, chance.uniform(0, _UNTIL * self._seconds))
            left = digest_of(self._bench.place)
            branch = Branch(fault, trial, code, left)
            yield branch, self._bench.judge(branch, self._over)

    def _run(self, fault: str | None, after: float) -> tuple[int, float]:
        """The exit code of a run that a signal met after so many seconds, and how long it took."""
        self._bench.begin(self._over)
        begun, begins = os.pipe()
        sys.stdout.flush()
        if (child := os.fork()) == 0:
            with silenced():
                os._exit(self._started(begins))
        os.close(begins)
        os.read(begun, 1)
        os.close(begun)
        start = time.monotonic()
        if fault is not None:
            time.sleep(after)
            # It may have come to its end, and is not collected before `waitpid`.
            os.kill(child, SIGNALS[fault])
        status = os.waitpid(child, 0)[1]
        return os.waitstatus_to_exitcode(status), time.monotonic() - start

    def _started(self, begins: int) -> int:
        """Run the command once it heeds signals, which it is told of through a pipe."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        heed = interruption.heed

        def heeded() -> None:
            heed()
            os.write(begins, b".")

        interruption.heed = heeded
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            return self._bench.run_drawn(self._over)
        return interruption.asked() or 99


def main() -> int:
    """Try so many moments of each signal for every command that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.disk.moments", description=__doc__)
    parser.add_argument("--command", choices=sorted(COMMANDS), action="append")
    parser.add_argument("--moments", type=int, default=40, help="of each signal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="write what was tried into this JSON file")
    asked = parser.parse_args()
    rows = []
    for command in asked.command or COMMANDS:
        rows.append(_tried(command, asked.moments, random.Random(f"{asked.seed} {command}")))
        print(json.dumps(rows[-1]), flush=True)
        if asked.record is not None:
            asked.record.write_text(json.dumps(rows, indent=2) + "\n")
    return int(any(row["lost"] for row in rows))


def _tried(command: str, moments: int, chance: random.Random) -> dict[str, Any]:
    """How many moments were tried, how many came before the end, and after how many something was lost."""
    tried = before = lost = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(command, Path(folder))
        share = moments // len(bench.over)
        for over in bench.over:
            runs = Moments(bench, over)
            for fault in SIGNALS:
                for branch, found in runs.struck(fault, share, chance):
                    tried, before, lost = tried + 1, before + (branch.code != 0), lost + (found is not None)
                    if found is not None:
                        print(f"{found} (exit {branch.code})", flush=True)
    return {"command": command, "moments": tried, "before_the_end": before, "lost": lost}


if __name__ == "__main__":
    sys.exit(main())
