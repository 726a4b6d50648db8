"""Scores of the tiny model in a process of its own: alone, as one of several, or killed on the way.

python importance_worker.py OUT.npz [STATE_FOLDER KILL_AFTER]
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

sys.path.insert(0, str(Path(__file__).parent))

from importance_models import qwen3, sequences

from tunescope.lm.processes import join_group, world
from tunescope.questions.importance.measurement import Options, measure

SHARDED_METHODS = ("taylor", "curvature", "fisher", "magnitude")
METHODS = ("taylor", "curvature", "wanda", "noise")
LENGTHS = [9, 14, 6, 11, 14, 8, 7]


def die_after(count):
    def progress(done):
        if done > count:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def sharded(model):
    """The model's weights split over all processes, block by block."""
    mesh = init_device_mesh("cpu", (world()[1],))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def main():
    out, *rest = sys.argv[1:]
    join_group()
    model, options = qwen3(), Options(methods=METHODS)
    if rest == ["sharded"]:
        model, options = sharded(model), Options(methods=SHARDED_METHODS)
    elif rest:
        options = Options(
            methods=METHODS, state=Path(rest[0]), save_every=0, progress=die_after(int(rest[1]))
        )
    found = measure(model, sequences(LENGTHS), options)
    if world()[0] == 0:
        arrays = {} if found.magnitude is None else {"magnitude": found.magnitude}
        for method in found.found:
            moments = found.moments(method)
            arrays[f"{method}/mean"], arrays[f"{method}/stderr"] = moments.mean, moments.stderr()
            arrays[f"{method}/n"] = np.array(moments.n)
        np.savez(out, **arrays)


if __name__ == "__main__":
    main()
