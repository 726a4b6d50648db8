"""Every command that writes, on inputs that take it a second or less."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.faults.fuzz.kinds import _adapter, _pairs, _run_of_checkpoints

from tunescope.demo import model_path

# What the command is called with, given the folder of its inputs and its output.
COMMANDS: dict[str, Callable[[Path, Path], list[Any]]] = {
    "norms": lambda i, o: ["norms", f"a={i / 'a'}", f"b={i / 'b'}", "-o", o, "--figures", "none"],
    "norms_with_pictures": lambda i, o: ["norms", f"a={i / 'a'}", "-o", o],
    "subspace": lambda i, o: ["subspace", i / "a", i / "b", "-o", o, "--figures", "none"],
    "trajectory": lambda i, o: ["trajectory", i / "run", "-o", o, "--figures", "none"],
    "importance": lambda i, o: [
        "importance", model_path(), "--data", i / "rows.jsonl", "--sequences", 4, "--max-length", 32,
        "--method", "magnitude", "--no-layer-importance", "-o", o, "--figures", "none",
    ],
    "attribute": lambda i, o: [
        "attribute", i / "tuned", "--base", model_path(), "--data", i / "rows.jsonl", "--sequences", 2,
        "--max-length", 16, "--nodes", 1, "-o", o, "--figures", "none",
    ],
    "finetune": lambda i, o: [
        "finetune", "--model", model_path(), "--data", f"x={i / 'rows.jsonl'}", "--max-steps", 2,
        "--quantize", "none", "--rank", 2, "--max-length", 16, "-o", o,
    ],
}  # fmt: skip


def make_inputs(folder: Path) -> None:
    """Two adapters, one of the demo's model, a run of checkpoints, and rows of text."""
    _adapter(folder / "a")
    _adapter(folder / "b", {name: -2 * array for name, array in _pairs().items()})
    _run_of_checkpoints(folder / "run")
    _adapter(folder / "tuned", _on_the_demo_model())
    rows = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(4) for b in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _on_the_demo_model() -> dict[str, Any]:
    """The factors of an adapter that fits the query of the demo model's first layer."""
    config = json.loads((model_path() / "config.json").read_text())
    inside = config["hidden_size"]
    out = config["num_attention_heads"] * config["head_dim"]
    random = np.random.default_rng(0)
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    return {
        f"{stem}.lora_A.weight": random.standard_normal((2, inside)).astype(np.float32),
        f"{stem}.lora_B.weight": random.standard_normal((out, 2)).astype(np.float32),
    }
