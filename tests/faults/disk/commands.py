"""Every command that writes, on inputs that take it a second or less."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file, save_file
from tests.faults.fuzz.kinds import _adapter, _pairs, _run_of_checkpoints

from tunescope.demo import model_path

_NONE = ["--figures", "none"]
_MODEL = ("torch", "transformers", "tunescope.lm.texts", "tunescope.lm.pretrained")


@dataclass(frozen=True)
class Tried:
    """`arguments` of a command, given the folder of its inputs and its output.

    `over` says over what: no study, an earlier one, or `in_place`, the earlier one itself. `makes` is what it
    writes, a study, a sweep of trainings or one page. `needs` are modules that a process is to have before it
    forks, so that not every trial imports them.
    """

    arguments: Callable[[Path, Path], list[Any]]
    over: tuple[bool, ...] = (False, True)
    in_place: bool = False
    needs: tuple[str, ...] = ()
    makes: Literal["study", "sweep", "page"] = "study"

    def imports(self) -> None:
        """Import what it needs."""
        for name in self.needs:
            importlib.import_module(name)


COMMANDS: dict[str, Tried] = {
    "norms": Tried(lambda i, o: ["norms", f"a={i / 'a'}", f"b={i / 'b'}", "-o", o, *_NONE]),
    "norms_with_pictures": Tried(lambda i, o: ["norms", f"a={i / 'a'}", "-o", o]),
    "subspace": Tried(lambda i, o: ["subspace", i / "a", i / "b", "-o", o, *_NONE]),
    "trajectory": Tried(lambda i, o: ["trajectory", i / "run", "-o", o, *_NONE]),
    "check": Tried(lambda i, o: ["check", i / "tuned", "--base", model_path(), "-o", o, *_NONE]),
    "verify": Tried(
        lambda i, o: ["verify", i / "merged.safetensors", i / "tuned", "--base", model_path(), "-o", o]
    ),
    "draw": Tried(lambda _, o: ["draw", o], over=(True,), in_place=True),
    "report": Tried(lambda i, o: ["report", i.parent / "earlier", "-o", o], over=(False,), makes="page"),
    "importance": Tried(
        lambda i, o: [
            "importance", model_path(), "--data", i / "rows.jsonl", "--sequences", 4, "--max-length", 32,
            "--no-layer-importance", "-o", o, *_NONE,
        ],
        needs=_MODEL,
    ),
    "attribute": Tried(
        lambda i, o: [
            "attribute", i / "tuned", "--base", model_path(), "--data", i / "rows.jsonl", "--sequences", 2,
            "--max-length", 16, "--nodes", 1, "-o", o, *_NONE,
        ],
        needs=(*_MODEL, "peft"),
    ),
    "finetune": Tried(
        lambda i, o: [
            "finetune", "--model", model_path(), "--data", f"x={i / 'rows.jsonl'}", "--max-steps", 2,
            "--quantize", "none", "--rank", 2, "--max-length", 16, "-o", o,
        ],
        over=(False,),
        needs=("torch", "transformers", "peft", "trl", "tunescope.training"),
        makes="sweep",
    ),
}  # fmt: skip


def make_inputs(folder: Path) -> None:
    """Adapters, one of the demo's model and merged into it, a run of checkpoints, and rows of text."""
    _adapter(folder / "a")
    _adapter(folder / "b", {name: -2 * array for name, array in _pairs().items()})
    _run_of_checkpoints(folder / "run")
    factors = _on_the_demo_model()
    _adapter(folder / "tuned", factors, target_modules=["q_proj"])
    a, b = (next(t for n, t in factors.items() if f"lora_{f}" in n) for f in "AB")
    model = load_file(model_path() / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    merged = (model[name].astype(np.float64) + 2 * b.astype(np.float64) @ a).astype(model[name].dtype)
    save_file(model | {name: merged}, folder / "merged.safetensors")
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
