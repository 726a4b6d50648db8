"""A pair of Llama-3-70B's shape as a stream of unequal bytes: is memory flat and cost linear in layers?

    python -m benchmarks.whole_stream

No file of 140 GB is written: the values of either side are copied out of a pool of random bfloat16 at ever
other places, which costs what reading from the page cache does. The first layers are measured, each number of
them in a fresh interpreter; all 80 would take the cost of one 80 times.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

RESULT = Path(__file__).parent / "results" / "whole_stream.json"
HIDDEN, WIDE, KEYS, LAYERS = 8192, 28672, 1024, 80
LAYER = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (WIDE, HIDDEN), "mlp.up_proj": (WIDE, HIDDEN), "mlp.down_proj": (HIDDEN, WIDE),
    "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,),
}  # fmt: skip
MEASURED = (1, 2, 4)
_POOL = 1 << 22


class Drawn:
    """A tensor whose values come out of a pool, from another place for every part."""

    def __init__(self, pool: np.ndarray, shape: tuple[int, ...], seed: int) -> None:
        self.pool, self.shape, self.seed, self.size = pool, shape, seed, int(np.prod(shape))

    def part(self, start: int, stop: int) -> np.ndarray:
        return self.into(start, stop, np.empty(2 * (stop - start), np.uint8))

    def into(self, start: int, stop: int, memory: np.ndarray) -> np.ndarray:
        out = memory[: 2 * (stop - start)].view(np.uint16)
        at, done = (self.seed * 7919 + start * 31) % (_POOL - 1), 0
        while done < out.size:
            count = min(out.size - done, _POOL - at)
            out[done : done + count] = self.pool[at : at + count]
            at, done = 0, done + count
        return out.view(ml_dtypes.bfloat16)


def measure(layers: int) -> dict[str, float]:
    """CPU and wall seconds per GB of both sides, and the peak memory of this process."""
    from concurrent.futures import ThreadPoolExecutor

    from tunescope.measure.dense import change

    draw = np.random.default_rng(0)
    pool = (0.02 * draw.standard_normal(_POOL, dtype=np.float32)).astype(ml_dtypes.bfloat16).view(np.uint16)
    at, clock, total = time.process_time(), time.perf_counter(), 0
    with ThreadPoolExecutor(2) as threads:
        for k in range(layers):
            for i, shape in enumerate(LAYER.values()):
                pair = [Drawn(pool, shape, 100 * k + 2 * i + side) for side in (0, 1)]
                found = change(*pair, threads)
                assert found.changed_fraction is not None
                assert found.changed_fraction > 0.9
                total += 4 * pair[0].size
    gigabytes = total / 1e9
    return {
        "gigabytes": gigabytes,
        "cpu_per_gb": (time.process_time() - at) / gigabytes,
        "wall_per_gb": (time.perf_counter() - clock) / gigabytes,
        "load": os.getloadavg()[0],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def main() -> dict[str, Any]:
    """Measure each number of layers alone, write `results/whole_stream.json`."""
    results: dict[str, Any] = {}
    for layers in MEASURED:
        command = [sys.executable, "-m", "benchmarks.whole_stream", str(layers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results[str(layers)] = json.loads(done.stdout)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    return results


def section(r: dict[str, Any]) -> list[str]:
    """The results as lines of the page."""
    rows = [
        f"| {layers} | {v['gigabytes']:.1f} | {v['cpu_per_gb']:.2f} | {v['wall_per_gb']:.2f} | "
        f"{v['load']:.0f} | {v['peak_mb']:.0f} MB |"
        for layers, v in r.items()
    ]
    whole = LAYERS * max(v["gigabytes"] / int(layers) for layers, v in r.items())
    return [
        f"`python -m benchmarks.whole_stream`: the first of {LAYERS} layers of a pair of Llama-3-70B's shape "
        f"({whole:.0f} GB of both sides), values out of a pool in memory, every one differing by chance; the "
        "other layers are of the same shapes and were not run.",
        "",
        "| layers | GB of both | CPU s per GB | wall s per GB | load | peak memory of the process |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
    else:
        print("\n".join(section(main())))
