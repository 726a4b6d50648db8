"""Two whole checkpoints: CPU seconds per GB beside a bare NumPy pass, memory, and what `verify` costs.

    python -m benchmarks.whole

A pair of bfloat16 checkpoints of 4096 × 4096 matrices whose every value differs by chance. The bare pass
takes ten statistics in float32 from arrays in memory; ours reads the files (from the page cache), hashing
apart. Every contender runs in a fresh interpreter with one thread of BLAS.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from tunescope.linalg.compiled import compiled

ROOT = Path("bench-out") / "whole"
RESULT = Path(__file__).parent / "results" / "whole.json"
SIDE, RANK, REPEATS = 4096, 64, 5
# Name -> matrices of its pair. Every round runs all of them once and beside them the bare pass, which tells
# how fast the machine is at that moment.
ROUNDS = 5
ORDER = {
    "read": 4, "bare": 4, "norms": 4, "norms_numpy": 4, "norms_twice_the_size": 8, "top": 2, "verify": 4,
    "verify_256": 2, "verify2": 4, "verify3": 4, "verify3_256": 2,
}  # fmt: skip
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
)


def make(matrices: int, rank: int) -> Path:
    """A folder of a base, a tuned model, and the base with one, two and three adapters merged."""
    folder = ROOT / f"{matrices}-r{rank}"
    if (folder / "done").exists():
        return folder
    draw = np.random.default_rng(0)
    merges = {1: "merged", 2: "merged2", 3: "merged3"}
    models: dict[str, dict[str, np.ndarray]] = {name: {} for name in ("base", "tuned", *merges.values())}
    adapters: dict[int, dict[str, np.ndarray]] = {i: {} for i in merges}
    for k in range(matrices):
        name = f"model.layers.{k}.self_attn.q_proj"
        W = (0.02 * draw.standard_normal((SIDE, SIDE), dtype=np.float32)).astype(ml_dtypes.bfloat16)
        noise = 2e-4 * draw.standard_normal((SIDE, SIDE), dtype=np.float32)
        wide = W.astype(np.float32)
        models["base"][f"{name}.weight"] = W
        models["tuned"][f"{name}.weight"] = (wide + noise).astype(W.dtype)
        for i, merged in merges.items():
            A, B = (draw.standard_normal(shape, dtype=np.float32) for shape in ((rank, SIDE), (SIDE, rank)))
            B *= np.float32(2e-5)
            wide += 2 * (B @ A)
            models[merged][f"{name}.weight"] = wide.astype(W.dtype)
            adapters[i] |= {f"base_model.model.{name}.lora_{n}.weight": v for n, v in (("A", A), ("B", B))}
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj"]}
    for label, tensors in models.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / label / "model.safetensors")
    for i, tensors in adapters.items():
        (folder / f"adapter{i}").mkdir(exist_ok=True)
        save_file(tensors, folder / f"adapter{i}" / "adapter_model.safetensors")
        (folder / f"adapter{i}" / "adapter_config.json").write_text(json.dumps(config))
    (folder / "done").touch()
    return folder


def bare(folder: Path) -> Callable[[], Any]:
    """Ten statistics in float32 over blocks that fit the cache, of arrays that are in memory."""
    before, after = (
        [t.view(np.uint16).ravel() for t in load_file(folder / n / "model.safetensors").values()]
        for n in ("base", "tuned")
    )
    block = 1 << 17
    w, v, mask = np.empty(block, np.float32), np.empty(block, np.float32), np.empty(block, bool)

    def widen(row: np.ndarray, out: np.ndarray) -> None:
        words, bits, half = row.view(np.uint32), out.view(np.uint32), block // 2
        np.left_shift(words, 16, out=bits[:half])
        np.bitwise_and(words, np.uint32(0xFFFF0000), out=bits[half:])

    def run() -> float:
        total = 0.0
        for a, b in zip(before, after, strict=True):
            for start in range(0, a.size, block):
                widen(a[start : start + block], w)
                widen(b[start : start + block], v)
                total += float(np.dot(w, w)) + float(np.dot(v, v))
                np.subtract(v, w, out=v)
                total += float(np.dot(v, v)) + float(v.sum())
                np.abs(v, out=v)
                total += float(v.sum()) + float(v.max())
                for edge in (0.0, 1e-6, 1e-5):
                    total += np.count_nonzero(np.greater(v, np.float32(edge), out=mask))
                np.abs(w, out=w)
                total += float(w.sum())
        return total

    return run


def norms_of(folder: Path, spectra: str) -> Callable[[], Any]:
    """Every column of the norms table of the tuned model against its base, without hashing the files."""
    from tunescope.questions.norms.table import measure_norms
    from tunescope.source.against import open_difference
    from tunescope.source.whole import open_whole

    def run() -> Any:
        source = open_difference(folder / "tuned", open_whole(folder / "base"), "tuned")
        return measure_norms([source], spectra=spectra)

    return run


def verified(folder: Path, adapters: int = 1) -> Callable[[], Any]:
    """What `tunescope verify` computes of a merge, without hashing the files; it must be read rightly."""
    from tunescope.questions.verify import measure
    from tunescope.questions.verify.elsewhere import elsewhere
    from tunescope.source.against import open_difference, opener
    from tunescope.source.selection import open_labelled
    from tunescope.source.whole import open_whole

    def run() -> None:
        base = open_whole(folder / "base")
        merged = open_difference(folder / f"merged{adapters if adapters > 1 else ''}", base, "merged")
        named = [str(folder / f"adapter{i}") for i in range(1, adapters + 1)]
        modules, unread = measure.touched(merged, open_labelled(named, None, opener(base)))
        for replayed in measure.replays(measure.summed(modules, {})):
            found = replayed.found
            assert found is not None
            assert np.abs(found.values - 1).max() < 0.01
        assert not unread
        assert not elsewhere(merged, modules, unread).changed

    return run


def read(folder: Path) -> Callable[[], Any]:
    """Both files read once."""
    files = [folder / n / "model.safetensors" for n in ("base", "tuned")]

    def run() -> None:
        buffer = bytearray(1 << 21)
        for path in files:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    return run


WAYS: dict[str, Callable[[Path], Callable[[], Any]]] = {
    "read": read,
    "bare": bare,
    "norms": lambda folder: norms_of(folder, "none"),
    "top": lambda folder: norms_of(folder, "top"),
    "verify": verified,
    "verify2": lambda folder: verified(folder, 2),
    "verify3": lambda folder: verified(folder, 3),
}


def contend(name: str, matrices: int, rank: int) -> None:
    """Run one way in this process: least CPU seconds of its repeats, and its peak memory above imports."""
    folder = ROOT / f"{matrices}-r{rank}"
    run = WAYS[name](folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, wall = [], []
    for _ in range(2 if name == "top" else REPEATS):
        at, clock = time.process_time(), time.perf_counter()
        run()
        seconds.append(time.process_time() - at)
        wall.append(time.perf_counter() - clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gigabytes = 2 * matrices * SIDE * SIDE * 2 / 1e9
    figures = {"cpu_per_gb": min(seconds) / gigabytes, "wall_per_gb": min(wall) / gigabytes}
    print(json.dumps(figures | {"peak_mb": peak / 1e3, "above_imports_mb": (peak - before) / 1e3}))


def main() -> dict[str, Any]:
    """Run every way in every round, write medians to `results/whole.json`."""
    rounds: list[dict[str, dict[str, float]]] = []
    for _ in range(ROUNDS):
        found = {}
        for name, matrices in ORDER.items():
            # Made in a process of its own: what it held would count as peak memory of the next.
            rank = 256 if name.endswith("_256") else RANK
            alone("make", matrices, rank)
            more = {"TUNESCOPE_NUMPY_ONLY": "1"} if name == "norms_numpy" else {}
            found[name] = json.loads(alone(name.partition("_")[0], matrices, rank, **more).splitlines()[-1])
        rounds.append(found)
    results: dict[str, Any] = {name: _medians(rounds, name) for name in ORDER}
    results |= {
        "compiled": compiled() is not None,
        "rounds": ROUNDS,
        "load": os.getloadavg()[2],
        "cores": os.cpu_count(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    return results


def _medians(rounds: list[dict[str, dict[str, float]]], name: str) -> dict[str, float]:
    """Medians over the rounds of what was measured, and of CPU time over that of a round's own two passes."""
    found = {key: median(r[name][key] for r in rounds) for key in rounds[0][name]}
    bare, ours = ([r[name]["cpu_per_gb"] / r[way]["cpu_per_gb"] for r in rounds] for way in ("bare", "norms"))
    most = {"to_bare_least": min(bare), "to_bare_most": max(bare)}
    return found | {"to_bare": median(bare), "to_norms": median(ours)} | most


def alone(way: str, matrices: int, rank: int, **more: str) -> str:
    """What one way prints in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.whole", way, str(matrices), str(rank)]
    return subprocess.run(
        command, env=os.environ | ONE_THREAD | more, capture_output=True, text=True, check=True
    ).stdout


def section(r: dict[str, Any]) -> list[str]:
    """The results as lines of the page."""
    engine = "compiled" if r.get("compiled") else "by NumPy"
    titles = {
        "read": "reading both files",
        "bare": "bare float32 pass over arrays in memory, ten statistics",
        "norms": f"**tunescope norms --base**, {engine}, every column, reading included",
        "norms_numpy": "the same by NumPy, as without a C compiler",
        "norms_twice_the_size": "the compiled pass on a pair of twice the size",
        "top": "norms with --spectra top",
        "verify": "tunescope verify, r = 64",
        "verify_256": "tunescope verify, r = 256",
        "verify2": "tunescope verify, two adapters of r = 64",
        "verify3": "tunescope verify, three adapters of r = 64",
        "verify3_256": "tunescope verify, three adapters of r = 256",
    }
    rows = [
        "| {} | {to_bare:.2f} ({to_bare_least:.2f}–{to_bare_most:.2f}) | {to_norms:.2f} | {cpu_per_gb:.2f} | "
        "{wall_per_gb:.2f} | {peak_mb:.0f} MB |".format(title, **r[name])
        for name, title in titles.items()
        if name in r
    ]
    return [
        "`python -m benchmarks.whole`: bfloat16 checkpoints of 4096 × 4096 matrices, every value differing",
        "by chance, from the page cache, one thread of BLAS, hashing and imports apart. CPU seconds per GB",
        "of both files together are of the machine at hand and its load; the ratios to the bare pass and to",
        f"ours of the same round carry over. Medians of {r['rounds']} rounds (least–most).",
        f"Load average of the last quarter of an hour: {r['load']:.0f} on {r['cores']} cores.",
        "",
        "| | CPU ÷ bare pass | CPU ÷ `norms` | CPU s per GB | wall s per GB | peak memory of the process |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make(int(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 1:
        contend(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        print("\n".join(section(main())))
