"""The rows of a readout: columns that say something, and the change as a share of its weight."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tunescope import norms


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """An adapter of rank 2 and its base of three layers."""
    rng = np.random.default_rng(0)
    weights, factors = {}, {}
    for layer in range(3):
        name = f"model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.weight"] = rng.normal(size=(8, 8)).astype(np.float32)
        factors[f"base_model.model.{name}.lora_A.weight"] = rng.normal(size=(2, 8)).astype(np.float32)
        factors[f"base_model.model.{name}.lora_B.weight"] = rng.normal(size=(8, 2)).astype(np.float32)
    base, adapter = tmp_path / "base", tmp_path / "mine"
    for folder in (base, adapter):
        folder.mkdir()
    save_file(weights, base / "model.safetensors")
    save_file(factors, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    return adapter, base


def rows(text: str) -> list[dict[str, str]]:
    """The rows under Largest, by their columns."""
    lines = [line for line in text.split("## Largest")[1].split("##")[0].splitlines() if line.startswith("|")]
    head, _, *body = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return [dict(zip(head, row, strict=True)) for row in body]


def test_beside_its_base_each_change_is_printed_as_a_share_of_its_weight(pair: tuple[Path, Path]) -> None:
    adapter, base = pair
    study = norms(adapter, base=base)
    weights = load_file(base / "model.safetensors")
    factors = load_file(adapter / "adapter_model.safetensors")
    for row in rows(study.markdown()):
        name = f"model.layers.{row['component_name'][1]}.self_attn.q_proj"
        a, b = (factors[f"base_model.model.{name}.lora_{k}.weight"].astype(np.float64) for k in "AB")
        share = np.linalg.norm(3 * b @ a) / np.linalg.norm(weights[f"{name}.weight"].astype(np.float64))
        assert float(row["relative_norm"]) == pytest.approx(share, rel=5e-3)


def test_what_all_rows_share_is_said_once_and_what_is_unknown_has_no_column(pair: tuple[Path, Path]) -> None:
    adapter, base = pair
    alone = norms(adapter).markdown()
    assert {"model_id", "lora_rank", "scale", "relative_norm"}.isdisjoint(rows(alone)[0])
    assert "In all rows: lora rank 2, scale 3." in alone
    assert "relative_norm" in rows(norms(adapter, base=base).markdown())[0]
    whole = norms(base, base=base)
    assert {"lora_rank", "scale", "stable_rank"}.isdisjoint(rows(whole.markdown())[0])
    assert "In all rows" not in whole.markdown()
