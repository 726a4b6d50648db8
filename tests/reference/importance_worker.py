"""Scores of the tiny model in a process of its own: alone, as one of several, or killed on the way.

python importance_worker.py OUT.npz [STATE_FOLDER KILL_AFTER]
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from importance_models import qwen3, sequences

from tunescope.gradient.measurement import Options, measure
from tunescope.gradient.processes import join_group, world

METHODS = ("taylor", "curvature", "wanda", "noise")
LENGTHS = [9, 14, 6, 11, 14, 8, 7]


def die_after(count):
    def progress(done):
        if done > count:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def main():
    out, *rest = sys.argv[1:]
    join_group()
    options = Options(methods=METHODS)
    if rest:
        options = Options(
            methods=METHODS, state=Path(rest[0]), save_every=0, progress=die_after(int(rest[1]))
        )
    found = measure(qwen3(), sequences(LENGTHS), options)
    if world()[0] == 0:
        arrays = {}
        for method in (*METHODS, "bypass", "loss"):
            moments = found.moments(method)
            arrays[f"{method}/mean"], arrays[f"{method}/stderr"] = moments.mean, moments.stderr()
            arrays[f"{method}/n"] = np.array(moments.n)
        np.savez(out, **arrays)


if __name__ == "__main__":
    main()
