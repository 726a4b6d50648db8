"""Whole checkpoints beside peers: what each says of planted edits and merges, and its CPU seconds.

    python -m benchmarks.whole_peers

Peers come with the extra `bench`, or lie in folders that PYTHONPATH names; one that is not there is listed as
such. Every contender is a process of its own with one thread, imports included; the pair is small enough for
those that take a full SVD of every matrix.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

RESULT = Path(__file__).parent / "results" / "whole_peers.json"
SIDE, LAYERS, VOCABULARY, RANK = 768, 2, 512, 8
BLOCK = "model.layers.{}."
EDITED, NORM = BLOCK.format(0) + "self_attn.q_proj.weight", BLOCK.format(0) + "input_layernorm.weight"
Tensors = dict[str, np.ndarray]


def base_weights() -> Tensors:
    """A decoder's tensors by name, in float32 that bfloat16 holds."""
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, SIDE), "lm_head.weight": (VOCABULARY, SIDE),
        "model.norm.weight": (SIDE,),
    }  # fmt: skip
    for k in range(LAYERS):
        square = {f"self_attn.{n}_proj": (SIDE, SIDE) for n in "qkvo"}
        mlp = {"mlp.up_proj": (2 * SIDE, SIDE), "mlp.down_proj": (SIDE, 2 * SIDE)}
        norms = dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (SIDE,))
        shapes |= {f"{BLOCK.format(k)}{n}.weight": s for n, s in (square | mlp | norms).items()}
    drawn = {n: (len(s) == 1) + 0.02 * draw.standard_normal(s) for n, s in shapes.items()}
    return {n: stored(array).astype(np.float32) for n, array in drawn.items()}


def stored(array: np.ndarray) -> np.ndarray:
    """As bfloat16."""
    return array.astype(np.float32).astype(ml_dtypes.bfloat16)


def make(root: Path) -> float:
    """All models and the adapter; the true ‖ΔW‖ of the edited matrix."""
    base, draw = base_weights(), np.random.default_rng(1)
    tuned = dict(base)
    tuned[EDITED] = base[EDITED] + 1e-4 * draw.standard_normal((SIDE, 4)) @ draw.standard_normal((4, SIDE))
    tuned[NORM] = base[NORM] + 0.25
    models = {"base": base, "tuned": tuned, "norms_only": base | {NORM: tuned[NORM]}}
    adapter: Tensors = {}
    for times, label in ((1, "merged"), (2, "twice")):
        models[label] = dict(base)
        for k in range(LAYERS):
            module = BLOCK.format(k) + "self_attn.v_proj"
            of = np.random.default_rng(7 + k)
            A = (0.02 * of.standard_normal((RANK, SIDE))).astype(np.float32)
            B = (5e-3 * of.standard_normal((SIDE, RANK))).astype(np.float32)
            # As PEFT merges: the product in float32, then the scale.
            models[label][f"{module}.weight"] = base[f"{module}.weight"] + (B @ A) * np.float32(2 * times)
            for name, factor in (("A", A), ("B", B)):
                adapter[f"base_model.model.{module}.lora_{name}.weight"] = factor
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": SIDE,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "num_key_value_heads": 8,
        "vocab_size": VOCABULARY, "intermediate_size": 2 * SIDE,
    }  # fmt: skip
    for label, tensors in models.items():
        narrow = {name: stored(array) for name, array in tensors.items()}
        _save(root / label, "", narrow, config)
    _save(root / "adapter", "adapter_", adapter, {
        "peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": ["v_proj"], "bias": "none",
        "fan_in_fan_out": False, "task_type": "CAUSAL_LM", "base_model_name_or_path": "base",
    })  # fmt: skip
    wide = stored(tuned[EDITED]).astype(np.float64) - base[EDITED].astype(np.float64)
    return float(np.linalg.norm(wide))


def _save(folder: Path, kind: str, tensors: Tensors, config: dict[str, Any]) -> None:
    folder.mkdir()
    save_file(tensors, folder / f"{kind}model.safetensors", metadata={"format": "pt"})
    (folder / f"{kind}config.json").write_text(json.dumps(config))


def run(package: str, *arguments: object, cwd: Path) -> tuple[str, float]:
    """What a command of a package printed, and its CPU seconds."""
    call = f"import sys; from {package}.cli import main; sys.argv[0] = {package!r}; sys.exit(main())"
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", call, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        env=os.environ | one | {"HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout + done.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(root: Path) -> dict[str, Any]:
    """What `norms` and `verify` find."""

    def measured(label: str) -> tuple[dict[str, float], float]:
        where = ("--base", "base", "-o", f"out_{label}", "--figures", "none")
        text, seconds = run("tunescope", "norms", label, *where, cwd=root)
        assert (root / f"out_{label}").is_dir(), text
        from tunescope import read

        frame = read(root / f"out_{label}").table.frame
        return dict(zip(frame["component_name"], frame["frobenius_norm"], strict=True)), seconds

    (tuned, seconds), (norms_only, _) = measured("tuned"), measured("norms_only")
    merges = {}
    for label in ("merged", "twice", "base"):
        text, cost = run("tunescope", "verify", label, "adapter", "--base", "base", "--json", cwd=root)
        merges[label] = json.loads(text[text.index("{") :])["verdict"]
    return {
        "norm": max(value for name, value in tuned.items() if "Q" in name.upper()),
        "changed": sum(value > 0 for value in tuned.values()), "of": len(tuned), "seconds": seconds,
        "norms_only": sum(value > 0 for value in norms_only.values()), "merges": merges,
        "verify_seconds": cost,
    }  # fmt: skip


def modeldelta(root: Path) -> dict[str, Any]:
    """modules of its JSON report."""

    def measured(label: str) -> tuple[dict[str, float], float]:
        _, seconds = run("modeldelta", "base", label, "-q", "-o", f"md_{label}.json", cwd=root)
        found = json.loads((root / f"md_{label}.json").read_text())["modules"]
        return {module["name"]: module["frob_norm"] for module in found}, seconds

    (tuned, seconds), (norms_only, _) = measured("tuned"), measured("norms_only")
    return {
        "norm": tuned[EDITED], "changed": sum(v > 0 for v in tuned.values()), "of": len(tuned),
        "norms_only": sum(v > 0 for v in norms_only.values()), "seconds": seconds,
    }  # fmt: skip


def weightscope(root: Path) -> dict[str, Any]:
    """Counts of its Markdown report; it gives no norm."""
    text, seconds = run("weightscope", "diff", "base", "tuned", cwd=root)
    other, _ = run("weightscope", "diff", "base", "norms_only", cwd=root)
    pattern = re.compile(r"(\d+) of (\d+) tensors have at least one changed")
    (changed, of), (norms_only, _) = (pattern.search(t).groups() for t in (text, other))  # type: ignore[union-attr]
    return {"changed": int(changed), "of": int(of), "norms_only": int(norms_only), "seconds": seconds}


def reminis(root: Path) -> dict[str, Any]:
    """Counts of its comparison of two databases, with the conversion of both; norms to three digits."""
    total, said = 0.0, {"tuned": "", "norms_only": ""}
    for label in ("base", "tuned", "norms_only"):
        _, seconds = run("reminis", "convert", f"{label}/model.safetensors", "-o", f"{label}.db", cwd=root)
        total += seconds if label != "norms_only" else 0.0
    for label in ("tuned", "norms_only"):
        said[label], seconds = run("reminis", "diff", "base.db", f"{label}.db", cwd=root)
        total += seconds if label == "tuned" else 0.0
    changed, norms_only = (int(_found(r"Changed: +(\d+)", text)) for text in said.values())
    of = int(_found(r"(\d+) shared tensors", said["tuned"]))
    norm = float(_found(re.escape(EDITED) + r" +L2= *([\d.e-]+)", said["tuned"]))
    return {"norm": norm, "changed": changed, "of": of, "norms_only": norms_only, "seconds": total}


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


def deltalint(root: Path) -> dict[str, Any]:
    """Its verdict of a right merge, of one made twice, and of none."""
    merges = {}
    for label in ("merged", "twice", "base"):
        text, cost = run(
            "deltalint", "check", "--base", "base", "--adapter", "adapter", "--merged", label, cwd=root
        )
        merges[label] = "PASS" if "PASS -" in text else "FAIL" if "FAIL -" in text else "nothing"
    return {"merges": merges, "verify_seconds": cost}


PEERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "modeldelta": modeldelta, "weightscope": weightscope, "reminis": reminis, "deltalint": deltalint,
}  # fmt: skip


def main() -> dict[str, Any]:
    """Run all that are there, write `results/whole_peers.json`."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        results: dict[str, Any] = {"truth": {"norm": make(root), "changed": 2, "norms_only": 1}}
        results["tunescope"] = ours(root)
        for name, look in PEERS.items():
            results[name] = look(root) if find_spec(name) else None
    RESULT.write_text(json.dumps(results, indent=2) + "\n")
    return results


def section(r: dict[str, Any]) -> list[str]:
    """The results as lines of the page."""
    truth, mine = r["truth"], r["tunescope"]
    rows = [f"| the truth | {truth['changed']} | {truth['norms_only']} | 0 | right, twice, absent | | |"]
    for name, found in r.items():
        if name == "truth":
            continue
        if found is None:
            rows.append(f"| {name} (not installed) | | | | | | |")
            continue
        of = f" of {found['of']}" if "of" in found else ""
        error = abs(found["norm"] / truth["norm"] - 1) if "norm" in found else None
        merges = ", ".join(found["merges"].values()) if "merges" in found else ""
        rows.append(
            f"| {'**tunescope**' if name == 'tunescope' else name} | {found.get('changed', '')}{of} | "
            f"{found.get('norms_only', '')} | {'' if error is None else f'{error:.0e}'} | {merges} | "
            f"{_times(found, mine, 'seconds')} | {_times(found, mine, 'verify_seconds')} |"
        )
    return [
        f"`python -m benchmarks.whole_peers`: {LAYERS} layers of width {SIDE}; planted are a change of rank "
        "4 and a shifted norm, the norm alone, and an adapter merged once, twice and not at all. Whole "
        "processes, one thread, imports included (reminis with the conversion of both models).",
        "",
        "| | changed tensors | where only a norm changed | error of ‖ΔW‖ | merges | CPU ÷ ours | the same "
        "of verify |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]


def _times(found: dict[str, Any], mine: dict[str, Any], name: str) -> str:
    return f"{found[name] / mine[name]:.1f}" if name in found else ""


if __name__ == "__main__":
    print("\n".join(section(main())))
