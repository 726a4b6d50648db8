"""Every command that writes, on inputs that take it a second or less."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        "--max-length", 16, "--nodes", 1, "-o", o,
    ],
    "finetune": lambda i, o: [
        "finetune", "--model", model_path(), "--data", f"x={i / 'rows.jsonl'}", "--max-steps", 2,
        "--quantize", "none", "--lora-rank", 2, "-o", o,
    ],
}  # fmt: skip


def make_inputs(folder: Path) -> None:
    """Two adapters, a run of checkpoints, and rows of text."""
    _adapter(folder / "a")
    _adapter(folder / "b", {name: -2 * array for name, array in _pairs().items()})
    _run_of_checkpoints(folder / "run")
    rows = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(4) for b in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
