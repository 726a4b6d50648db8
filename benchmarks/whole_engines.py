"""The command on pairs of three sizes with each engine of the pass: which one to ship was chosen by this.

    python -m benchmarks.whole_engines

numba was tried beside them: importing it and loading a kernel from its cache took 0.9 CPU seconds in every
command (0.03 with ours), 130 MB more memory and 208 MB on the disk, so that it is behind on pairs of 1 GB.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from benchmarks.process import ROOT, run

RESULT = Path(__file__).parent / "results" / "whole_engines.json"
SIDE, REPEATS = 4096, 3
# Matrices of a pair: 0.27, 1.1 and 4.3 GB of both files.
SIZES = (4, 16, 64)
# What the environment says, and how the engine is called on the page.
ENGINES = {"compiled": {}, "numpy": {"TUNESCOPE_NUMPY_ONLY": "1"}}


def gigabytes(matrices: int) -> float:
    """Of both files."""
    return 4 * matrices * SIDE * SIDE / 1e9


def _folder(matrices: int) -> Path:
    return ROOT / "engines" / str(matrices)


def make(matrices: int) -> None:
    """A base and a tuned model; every matrix holds the same draws from another place on."""
    folder = _folder(matrices)
    if (folder / "done").exists():
        return
    draw = np.random.default_rng(0)
    W = 0.02 * draw.standard_normal(SIDE * SIDE, dtype=np.float32)
    tuned = (W + 2e-4 * draw.standard_normal(W.size, dtype=np.float32)).astype(ml_dtypes.bfloat16)
    for label, values in (("base", W.astype(ml_dtypes.bfloat16)), ("tuned", tuned)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        tensors = {
            f"model.layers.{k}.self_attn.q_proj.weight": np.roll(values, 4099 * k).reshape(SIDE, SIDE)
            for k in range(matrices)
        }
        save_file(tensors, folder / label / "model.safetensors")
    (folder / "done").touch()


def measure(folder: Path, engine: str) -> dict[str, float]:
    """Medians of CPU and wall seconds and peak memory of the command, from the page cache."""
    command = [
        sys.executable, "-m", "tunescope", "norms", str(folder / "tuned"), "--base", str(folder / "base"),
        "-o", str(folder / engine), "--overwrite", "--figures", "none",
    ]  # fmt: skip
    runs = [run(command, **ENGINES[engine]) for _ in range(REPEATS)]
    return {key: median(found[key] for found in runs) for key in runs[0]}


def main() -> dict[str, Any]:
    """Run every size with every engine, write `results/whole_engines.json`."""
    found: dict[str, Any] = {}
    for matrices in SIZES:
        # Made in a process of its own: what it holds would count as peak memory of the commands.
        subprocess.run([sys.executable, "-m", "benchmarks.whole_engines", str(matrices)], check=True)
        folder = _folder(matrices)
        found[str(matrices)] = {engine: measure(folder, engine) for engine in ENGINES}
        tables = [(folder / e / "tables" / "weight_norms_tuned.csv").read_bytes() for e in ENGINES]
        assert tables[0] == tables[1]
    results = {"sizes": found, "load": os.getloadavg()[2], "cores": os.cpu_count()}
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    return results


def section(r: dict[str, Any]) -> list[str]:
    """The results as lines of the page."""
    first, *_, last = (int(m) for m in r["sizes"])
    rows, slopes = [], []
    for matrices, engines in r["sizes"].items():
        size = f"{gigabytes(int(matrices)):.1f}"
        rows += [
            f"| {size} | {engine} | {{cpu_seconds:.2f}} | {{wall_seconds:.2f}} | {{peak_mb:.0f}} MB |".format(
                **v
            )
            for engine, v in engines.items()
        ]
    for engine in ENGINES:
        more = r["sizes"][str(last)][engine]["cpu_seconds"] - r["sizes"][str(first)][engine]["cpu_seconds"]
        slopes.append(f"{more / (gigabytes(last) - gigabytes(first)):.2f} ({engine})")
    return [
        "`python -m benchmarks.whole_engines`: `tunescope norms TUNED --base BASE` without pictures, as a",
        "process of its own, bfloat16, from the page cache; imports, the study's files and, of files up to",
        "1 GB, hashing are in it. The tables of both engines are equal byte for byte. From the smallest pair",
        f"to the largest every further GB takes {' and '.join(slopes)} CPU seconds.",
        f"Load average of the last quarter of an hour: {r['load']:.0f} on {r['cores']} cores.",
        "",
        "| GB of both | engine | CPU s | wall s | peak memory of the process |",
        "|---|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(int(sys.argv[1]))
    else:
        print("\n".join(section(main())))
