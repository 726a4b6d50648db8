"""What the default pictures of a command cost beside its numbers: CPU seconds, end to end."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.process import ROOT, run

RESULT = Path(__file__).parent / "results" / "figures.json"
# verb -> numbers of adapters, of 64 modules each.
RUNS = (("norms", 64), ("norms", 10), ("subspace", 8))
REPEATS = {("norms", 64): 3, ("norms", 10): 5, ("subspace", 8): 3}
# The pictures that a command draws unless others are asked for.
DRAWN = "png,svg"
LAYERS, MODULES, WIDTH, RANK = 16, ("q_proj", "k_proj", "v_proj", "o_proj"), 128, 8


def main() -> dict[str, Any]:
    """Run every command with and without pictures, print the ratios, write `results/figures.json`."""
    places = [_adapter(ROOT / "many" / f"adapter-{k:02d}", k) for k in range(max(n for _, n in RUNS))]
    results: dict[str, Any] = {"modules": LAYERS * len(MODULES)}
    for verb, count in RUNS:
        given = [str(place) for place in places[:count]]
        # What the first run compiles stays.
        _cpu(verb, given[:2], DRAWN)
        # Few adapters take seconds, in which another program's turn counts: medians of pairs in turn.
        pairs = [[_cpu(verb, given, kinds) for kinds in ("none", DRAWN)] for _ in range(REPEATS[verb, count])]
        alone, drawn = (median(times) for times in zip(*pairs, strict=True))
        found = {"alone": alone, "drawn": drawn, "ratio": median(b / a for a, b in pairs)}
        results[f"{verb} {count}"] = found
        print(f"{verb} of {count}: {found['ratio']:.2f}", flush=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    return results


def _cpu(verb: str, places: list[str], figures: str) -> float:
    """CPU seconds of one run of the command, in all its threads."""
    command = [sys.executable, "-m", "tunescope", verb, *places, "-o", str(ROOT / f"{verb}-{figures}")]
    return run([*command, "--overwrite", "--quiet", "--figures", figures])["cpu_seconds"]


def _adapter(folder: Path, seed: int) -> Path:
    """A LoRA adapter whose changes grow with depth."""
    if (folder / "adapter_config.json").exists():
        return folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        for module in MODULES:
            stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{stem}.lora_A.weight"] = rng.standard_normal((RANK, WIDTH), dtype=np.float32)
            size = 0.01 * (1 + layer / LAYERS)
            tensors[f"{stem}.lora_B.weight"] = size * rng.standard_normal((WIDTH, RANK), dtype=np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": list(MODULES)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def section(results: dict[str, Any]) -> list[str]:
    """The results as Markdown."""
    lines = [
        f"`python -m benchmarks.figures`: adapters of {results['modules']} modules, r = {RANK}, through the",
        "command, with its default pictures (PNG and SVG) and with `--figures none`, page and tables in",
        "both; medians of pairs of runs in turn.",
        "",
        "| | CPU with pictures ÷ without |",
        "|---|---|",
    ]
    for verb, count in RUNS:
        lines.append(f"| tunescope {verb} of {count} adapters | {results[f'{verb} {count}']['ratio']:.2f} |")
    return lines


if __name__ == "__main__":
    main()
