"""`tunescope norms` from shell to prompt: start-up, many experts, many adapters; CPU time, one thread.

`python -m benchmarks.many [--models 100,1000]`: ratios of medians of one run, contenders in turn.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.process import ROOT, run

RESULT = Path(__file__).parent / "results" / "many.json"
RANK = 8


def main() -> dict[str, Any]:
    """Run all, print the section, write `results/many.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default="10,100", help="numbers of adapters, with commas")
    counts = [int(word) for word in parser.parse_known_args()[0].models.split(",")]
    # A started process counts the memory of the one that starts it: that one loads most things last.
    results: dict[str, Any] = {"models": many(counts), "startup": startup()}
    results["experts"] = experts()
    results["checkpoints"] = checkpoints(400)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    print("\n".join(section(results)))
    return results


def adapter(folder: Path, modules: dict[str, tuple[int, int]], seed: int = 0) -> Path:
    """Write an adapter of these modules (d_out, d_in), unless it is there."""
    if (folder / "adapter_config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    random, tensors = np.random.default_rng(seed), {}
    for name, (d_out, d_in) in modules.items():
        stem = f"base_model.model.model.layers.{name}"
        tensors[f"{stem}.lora_A.weight"] = random.standard_normal((RANK, d_in), dtype=np.float32) / 32
        tensors[f"{stem}.lora_B.weight"] = random.standard_normal((d_out, RANK), dtype=np.float32) / 100
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 16, "bias": "none", "task_type": "CAUSAL_LM",
              "target_modules": sorted({name.rpartition(".")[2] for name in modules})}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def plain(seed: int) -> Path:
    """An adapter of 64 modules, 1024 on both sides."""
    modules = {f"{i}.self_attn.{m}_proj": (1024, 1024) for i in range(16) for m in "qkvo"}
    return adapter(ROOT / "many" / f"a{seed:04d}", modules, seed)


def startup() -> dict[str, float]:
    """CPU time of commands on one small adapter over that of importing NumPy and polars, medians of 9."""
    small, out = str(plain(0)), str(ROOT / "many-out")
    norms = [sys.executable, "-m", "tunescope", "norms", small]
    commands = {
        "python -c 'import numpy, polars'": [sys.executable, "-c", "import numpy, polars"],
        "tunescope --help": [sys.executable, "-m", "tunescope", "--help"],
        "tunescope norms ADAPTER": norms,
        "the same with -o OUT --figures none": [*norms, "-o", out, "--overwrite", "--figures", "none"],
        "the same with -o OUT": [*norms, "-o", out, "--overwrite"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(10):
        for name, command in commands.items():
            times[name].append(run(command)["cpu_seconds"])
    # The first run compiles what it imports, which an installed package has behind it.
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    least = next(iter(medians.values()))
    return {name: value / least for name, value in medians.items()}


def experts() -> dict[str, float]:
    """Rows of 128 experts in 24 layers over the bare arithmetic on arrays in memory, medians of 9."""
    from tunescope.delta import Factored
    from tunescope.linalg.spectra import product_spectra, shapes
    from tunescope.questions.norms.table import measure_norms
    from tunescope.source.open import open_source

    sizes = {"gate_proj": (64, 128), "up_proj": (64, 128), "down_proj": (128, 64)}
    modules = {
        f"{i}.mlp.experts.{e}.{m}": size for i in range(24) for e in range(128) for m, size in sizes.items()
    }
    source = open_source(adapter(ROOT / "experts", modules))
    groups: dict[Any, list[tuple[Any, Any]]] = {}
    for delta in source.deltas:
        update = delta.open()
        assert isinstance(update, Factored)
        groups.setdefault(update.B.shape, []).append((update.B, update.A))
    times: dict[str, list[float]] = {"arithmetic": [], "rows": []}
    for _ in range(10):
        start = time.process_time()
        for factors in groups.values():
            shapes(np.stack([values for values, _ in product_spectra(factors)]))
        times["arithmetic"].append(time.process_time() - start)
        start = time.process_time()
        measure_norms([source])
        times["rows"].append(time.process_time() - start)
    # The first round is the first to touch the memory of the arrays.
    arithmetic, rows = (statistics.median(found[1:]) for found in times.values())
    return {
        "rows": len(modules),
        "arithmetic_seconds": arithmetic,
        "rows_seconds": rows,
        "ratio": rows / arithmetic,
    }


def checkpoints(count: int, rounds: int = 3) -> dict[str, Any]:
    """`trajectory` of so many checkpoints, from shell to prompt, over reading and measuring each once."""
    from tunescope.questions.norms.table import measure_norms
    from tunescope.source.open import open_source

    folder, modules = (
        ROOT / f"run-{count}",
        {f"{i}.self_attn.{m}_proj": (512, 512) for i in range(16) for m in "qkvo"},
    )
    places = [adapter(folder / f"checkpoint-{10 * step}", modules, step) for step in range(1, count + 1)]
    command = [sys.executable, "-m", "tunescope", "trajectory", str(folder), "-o", str(ROOT / "run-out")]
    asked = {"none": "none", "drawn": "png,svg"}
    took: dict[str, list[float]] = {"once": [], **{name: [] for name in asked}}
    for _ in range(rounds):
        start = time.process_time()
        for place in places:
            measure_norms([open_source(place)])
        took["once"].append(time.process_time() - start)
        for name, kinds in asked.items():
            took[name].append(run([*command, "--overwrite", "--figures", kinds])["cpu_seconds"])
    once = statistics.median(took["once"])
    about = {"checkpoints": count, "modules": len(modules), "once_seconds": once, "drawn": asked["drawn"]}
    ratios = {name: [a / b for a, b in zip(took[name], took["once"], strict=True)] for name in asked}
    return about | {"rounds": rounds} | {f"over_once_{n}": statistics.median(r) for n, r in ratios.items()}


def many(counts: Sequence[int]) -> list[dict[str, float]]:
    """End to end for so many adapters of 64 modules each."""
    found = []
    for count in counts:
        sources = [str(plain(seed)) for seed in range(count)]
        command = [sys.executable, "-m", "tunescope", "norms", *sources, "-o", str(ROOT / "many-out")]
        found.append({"models": count} | run([*command, "--overwrite", "--figures", "none"]))
    return found


def _load(r: dict[str, float]) -> str:
    """How busy the machine was, where that was written down: other programs' use of its caches adds time."""
    return f" (load average {r['load_average']:.0f} on two cores)" if "load_average" in r else ""


def section(r: dict[str, Any]) -> list[str]:
    """The results as Markdown."""
    lines = [
        "`python -m benchmarks.many --models 10,100,1000`: adapters of 64 modules, r = 8, 1024 on both",
        "sides, float32; user and system time with one thread of BLAS.",
        "",
        "| from the shell to the prompt | CPU ÷ `python -c 'import numpy, polars'` |",
        "|---|---|",
        *(f"| {name} | {ratio:.2f} |" for name, ratio in r["startup"].items()),
        "",
        f"Rows of 128 experts in 24 layers ({r['experts']['rows']:,}, read, measured and in a table): "
        f"**{r['experts']['ratio']:.1f}×** the arithmetic on arrays in memory.",
        "",
        f"`trajectory` of {r['checkpoints']['checkpoints']} checkpoints of "
        f"{r['checkpoints']['modules']} modules "
        f"(512 × 512): **{r['checkpoints']['over_once_none']:.1f}×** reading and measuring each once, "
        f"{r['checkpoints']['over_once_drawn']:.1f}× with pictures as {r['checkpoints']['drawn']} and "
        "animations"
        f"{_load(r['checkpoints'])}.",
        "",
        "| adapters | pairs | CPU s | wall s | peak memory |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in r["models"]:
        n = int(row["models"])
        lines.append(
            f"| {n:,} | {n * (n - 1) // 2:,} | {row['cpu_seconds']:.0f} | {row['wall_seconds']:.0f} "
            f"| {row['peak_mb']:.0f} MB |"
        )
    return lines


if __name__ == "__main__":
    main()
