"""Every command that writes, on inputs that take it a second or less."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file
from tests.faults.fuzz.kinds import _adapter, _pairs, _run_of_checkpoints

from tunescope.demo import model_path

_WIDTH = 16
_NONE = ["--figures", "none"]


@dataclass(frozen=True)
class Tried:
    """`arguments` of a command, given the folder of its inputs and its output.

    `over` says over what: no study, an earlier one, or `in_place`, the earlier one itself. `makes` is what it
    writes, a study, a sweep of trainings, one page or a demonstration.
    """

    arguments: Callable[[Path, Path], list[Any]]
    over: tuple[bool, ...] = (False, True)
    in_place: bool = False
    makes: Literal["study", "sweep", "page", "demo"] = "study"


COMMANDS: dict[str, Tried] = {
    "norms": Tried(lambda i, o: ["norms", f"a={i / 'a'}", f"b={i / 'b'}", "-o", o, *_NONE]),
    "norms_with_pictures": Tried(lambda i, o: ["norms", f"a={i / 'a'}", "-o", o]),
    "subspace": Tried(lambda i, o: ["subspace", i / "a", i / "b", "-o", o, *_NONE]),
    "trajectory": Tried(lambda i, o: ["trajectory", i / "run", "-o", o, *_NONE]),
    "trajectory_with_pictures": Tried(lambda i, o: ["trajectory", i / "run", "-o", o]),
    "check": Tried(lambda i, o: ["check", i / "tuned", "--base", i / "model", "-o", o, *_NONE]),
    "verify": Tried(
        lambda i, o: ["verify", i / "merged.safetensors", i / "tuned", "--base", i / "model", "-o", o]
    ),
    "draw": Tried(lambda _, o: ["draw", o], over=(True,), in_place=True),
    "report": Tried(lambda i, o: ["report", i.parent / "earlier", "-o", o], over=(False,), makes="page"),
    "demo_quick": Tried(lambda _, o: ["demo", "--quick", "-o", o], over=(False,), makes="demo"),
    "importance": Tried(
        lambda i, o: [
            "importance", i / "model", "--data", i / "rows.jsonl", "--sequences", 4, "--max-length", 32,
            "--no-layer-importance", "-o", o, *_NONE,
        ],
    ),
    "attribute": Tried(
        lambda i, o: [
            "attribute", i / "tuned", "--base", i / "model", "--data", i / "rows.jsonl", "--sequences", 2,
            "--max-length", 16, "--nodes", 1, "-o", o, *_NONE,
        ],
    ),
    "finetune": Tried(
        lambda i, o: [
            "finetune", "--model", i / "model", "--data", f"x={i / 'rows.jsonl'}", "--max-steps", 2,
            "--quantize", "none", "--rank", 2, "--max-length", 16, "-o", o,
        ],
        over=(False,),
        makes="sweep",
    ),
}  # fmt: skip


def make_inputs(folder: Path) -> None:
    """Adapters, a small model, an adapter of it and it merged, a run of checkpoints, and rows of text."""
    _adapter(folder / "a")
    _adapter(folder / "b", {name: -2 * array for name, array in _pairs().items()})
    _run_of_checkpoints(folder / "run")
    model = _model(folder / "model")
    random = np.random.default_rng(0)
    a, b = (0.01 * random.standard_normal(shape).astype(np.float32) for shape in ((2, _WIDTH), (_WIDTH, 2)))
    stem = "model.layers.0.self_attn.q_proj"
    factors = {
        f"base_model.model.{stem}.lora_{name}.weight": array for name, array in zip("AB", (a, b), strict=True)
    }
    _adapter(folder / "tuned", factors, target_modules=["q_proj"])
    save_file(model | {f"{stem}.weight": model[f"{stem}.weight"] + 2 * b @ a}, folder / "merged.safetensors")
    rows = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(4) for b in range(4)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _model(folder: Path) -> dict[str, Any]:
    """The demo's model, of two layers and so narrow that it takes no time; its weights."""
    sizes = {
        "num_hidden_layers": 2, "hidden_size": _WIDTH, "intermediate_size": 2 * _WIDTH, "head_dim": _WIDTH,
        "num_attention_heads": 1, "num_key_value_heads": 1, "dtype": "float32",
    }  # fmt: skip
    shutil.copytree(model_path(), folder, ignore=shutil.ignore_patterns("*.safetensors", "pretraining.json"))
    config = json.loads((folder / "config.json").read_text()) | sizes
    (folder / "config.json").write_text(json.dumps(config))
    up, out, norm = (2 * _WIDTH, _WIDTH), (_WIDTH, _WIDTH), (_WIDTH,)
    shapes = {"model.embed_tokens": (config["vocab_size"], _WIDTH), "model.norm": norm}
    for layer in range(2):
        within = {f"self_attn.{name}_proj": out for name in "qkvo"}
        within |= {"mlp.gate_proj": up, "mlp.up_proj": up, "mlp.down_proj": up[::-1]}
        within |= {"input_layernorm": norm, "post_attention_layernorm": norm}
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in within.items()}
    random = np.random.default_rng(1)
    weights = {
        f"{name}.weight": np.ones(shape, np.float32)
        if shape == norm
        else random.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors")
    return weights
