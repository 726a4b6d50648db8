"""φ grids on a GPU against the processor: the same numbers, and how long they take.

Needs NumPy, torch and a GPU, nothing else of tunescope's dependencies but ml-dtypes and safetensors.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch

from benchmarks.llama8b import LAYERS, MODULES
from tunescope.linalg import overlap
from tunescope.linalg.device import float64, resolve

RESULT = Path(__file__).parent / "results" / "subspace_gpu.json"
RANK = 64
Pair = list[tuple[Any, Any]]


def factors(module: str, seed: int) -> tuple[Any, Any]:
    """`B` and `A` of one module in bfloat16."""
    d_out, d_in = MODULES[module]
    random = np.random.default_rng(seed)
    A = random.standard_normal((RANK, d_in), dtype=np.float32) / np.sqrt(d_in)
    B = random.standard_normal((d_out, RANK), dtype=np.float32) * 0.01 * 0.93 ** np.arange(RANK)
    return B.astype(ml_dtypes.bfloat16), A.astype(ml_dtypes.bfloat16)


def grids(pair: Pair, device: str) -> list[np.ndarray[Any, Any]]:
    """φ on both sides of ΔW, back on the processor."""
    bases = [overlap.product_bases(float64(B, device), float64(A, device), factors=False) for B, A in pair]
    return [
        overlap.phi_grid(overlap.cosines(bases[0][side], bases[1][side], "delta", "delta")) for side in (0, 1)
    ]


def orthogonalised(pair: Pair, device: str) -> None:
    """The thin orthogonalisations alone, by the library's own QR."""
    for B, A in pair:
        torch.linalg.qr(float64(B, device))
        torch.linalg.qr(float64(A, device).T)


def wall(work: Callable[[], Any], repeats: int) -> float:
    """Median seconds of a call, the device's queue emptied before and after."""
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> dict[str, Any]:
    """Compare and time every module type; write `results/subspace_gpu.json`."""
    device = resolve("cuda")
    largest, seconds = 0.0, {"cpu": 0.0, "cuda": 0.0, "cuda_orthogonalisation": 0.0}
    for k, module in enumerate(MODULES):
        pair = [factors(module, 10 * k + seed) for seed in (1, 2)]
        exact, found = grids(pair, "cpu"), grids(pair, device)
        largest = max(largest, *(float(np.abs(a - b).max()) for a, b in zip(exact, found, strict=True)))
        seconds["cpu"] += wall(lambda pair=pair: grids(pair, "cpu"), 2)
        seconds["cuda"] += wall(lambda pair=pair: grids(pair, device), 5)
        seconds["cuda_orthogonalisation"] += wall(lambda pair=pair: orthogonalised(pair, device), 5)
    results = {
        "gpu": torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "modules": LAYERS * len(MODULES),
        "largest_difference": largest,
        "seconds_of_all_modules": {name: LAYERS * value for name, value in seconds.items()},
        "grids_over_orthogonalisation": seconds["cuda"] / seconds["cuda_orthogonalisation"],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    return results


if __name__ == "__main__":
    main()
