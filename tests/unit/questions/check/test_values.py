"""What `check --deep` says of files that hold no ΔW: started by PEFT itself, trained, broken, half saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunescope import check

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

# PEFT warns of layers that it does not know and of an extension that it cannot compile.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

QUERIES = {"target_modules": ["q_proj"]}
METHODS: dict[str, Callable[[], Any]] = {
    "IA3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "OFT": lambda: peft.OFTConfig(**QUERIES, oft_block_size=8, r=0),
    "BOFT": lambda: peft.BOFTConfig(**QUERIES, boft_block_size=8),
    "HRA": lambda: peft.HRAConfig(**QUERIES, r=4),
    "HIRA": lambda: peft.HiraConfig(**QUERIES, r=4),
    "ROAD": lambda: peft.RoadConfig(**QUERIES, group_size=8),
    "PEANUT": lambda: peft.PeanutConfig(**QUERIES),
    "PSOFT": lambda: peft.PsoftConfig(**QUERIES, r=4),
    "ADAPTION_PROMPT": lambda: peft.AdaptionPromptConfig(
        adapter_layers=2, adapter_len=4, task_type="CAUSAL_LM"
    ),
}
UNTOLD: dict[str, Callable[[], Any]] = {
    "LN_TUNING": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
    "DEFT": lambda: peft.DeftConfig(**QUERIES),
    "OSF": lambda: peft.OSFConfig(**QUERIES, effective_rank=8),
    "PROMPT_TUNING": lambda: peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    "TRAINABLE_TOKENS": lambda: peft.TrainableTokensConfig(
        token_indices=[1, 2], target_modules=["embed_tokens"]
    ),
}


def started(method: str, folder: Path) -> Path:
    """An adapter as PEFT starts it, saved before any step."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=64,
    )  # fmt: skip
    made = (METHODS | UNTOLD)[method]()
    peft.get_peft_model(transformers.LlamaForCausalLM(config), made).save_pretrained(folder)
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    file = folder / "adapter_model.safetensors"
    tensors = change(dict(load_file(file)))
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, file)
    return folder


def kinds(study: Any) -> dict[str, int]:
    quiet = ("needs_base", "no_delta", "base_name")
    return {f.kind: f.evidence.get("components", 0) for f in study.findings if f.kind not in quiet}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_as_peft_starts_it_is_untrained_and_one_step_of_training_is_not(
    method: str, tmp_path: Path
) -> None:
    folder = started(method, tmp_path)
    modules = check(folder).table.frame.height
    assert modules >= 2
    assert kinds(check(folder, deep=True)) == {"untrained": modules}
    rng = np.random.default_rng(0)
    stepped = changed(
        folder, lambda held: {n: t + rng.normal(0, 1e-3, t.shape).astype(t.dtype) for n, t in held.items()}
    )
    assert kinds(check(stepped, deep=True)) == {}


@pytest.mark.parametrize("method", UNTOLD)
def test_where_values_tell_nothing_that_is_said(method: str, tmp_path: Path) -> None:
    study = check(started(method, tmp_path), deep=True)
    assert kinds(study) == {"not_judged": study.table.frame.height}
    assert {f.severity for f in study.findings if f.kind == "not_judged"} == {"note"}


def test_values_that_are_no_numbers_are_found_in_them_too(tmp_path: Path) -> None:
    def broken(held: dict[str, Any]) -> dict[str, Any]:
        next(iter(held.values())).flat[0] = np.nan
        return held

    study = check(changed(started("IA3", tmp_path), broken), deep=True)
    (finding,) = [f for f in study.findings if f.kind == "non_finite"]
    assert len(finding.evidence["tensors"]) == 1


def test_a_saved_head_that_is_no_number_is_found_beside_sound_updates(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    held = {
        f"{stem}.lora_A.weight": rng.normal(size=(2, 6)),
        f"{stem}.lora_B.weight": rng.normal(size=(6, 2)),
        "base_model.model.score.weight": np.full((2, 6), np.inf),
    }
    save_file({n: t.astype("f4") for n, t in held.items()}, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"],
              "modules_to_save": ["score"]}  # fmt: skip
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (finding,) = [f for f in check(tmp_path, deep=True).findings if f.kind == "non_finite"]
    assert finding.evidence["tensors"] == ["base_model.model.score.weight"]


@pytest.mark.parametrize(("method", "lacking"), [("HIRA", "hira_B"), ("HIRA", "hira_A"), ("BOFT", "boft_s")])
def test_one_parameter_of_two_is_half_saved(method: str, lacking: str, tmp_path: Path) -> None:
    half = changed(
        started(method, tmp_path),
        lambda held: {n: t for n, t in held.items() if f".0.self_attn.q_proj.{lacking}" not in n},
    )
    assert kinds(check(half, deep=True))["half_saved"] == 1
