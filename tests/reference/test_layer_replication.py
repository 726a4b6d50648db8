"""Adapters of replicated layers, against the base weights that PEFT puts under each of them."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

import tunescope

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
FRONT = "base_model.model."


def llama() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "vocab_size": 32}
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            num_hidden_layers=3, num_key_value_heads=2, tie_word_embeddings=False, **sizes
        )
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A base of three layers, an adapter of four, and the weight under each of its modules in PEFT."""
    root = tmp_path_factory.mktemp("replicated")
    llama().save_pretrained(root / "base")
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj", "up_proj"], layer_replication=[(0, 2), (1, 3)], init_lora_weights=False
    )
    model = peft.get_peft_model(llama(), config)
    model.save_pretrained(root / "adapter")
    under = {
        name.removeprefix(FRONT): (
            module.base_layer.weight.detach().double(),
            module.get_delta_weight("default").detach(),
        )
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and hasattr(module, "base_layer")
    }
    return root / "base", root / "adapter", under


def test_norms_are_relative_to_the_layer_that_peft_puts_under_each(made: Any) -> None:
    base, adapter, under = made
    rows = tunescope.norms(adapter, base=base).table.to_polars().to_dicts()
    found = {f"model.layers.{row['layer']}.{row['module_type']}": row["relative_norm"] for row in rows}
    right = {name: float(delta.double().norm() / weight.norm()) for name, (weight, delta) in under.items()}
    assert len(right) == 8
    assert found == pytest.approx(right, rel=1e-5)


def test_every_layer_attaches_in_check(made: Any) -> None:
    base, adapter, _ = made
    study = tunescope.check(adapter, base=base)
    assert study.readout["attaches"]
    assert not {"wrong_depth", "not_attached"} & {finding.kind for finding in study.findings}


def test_a_merge_into_the_deeper_model_is_verified(made: Any, tmp_path: Path) -> None:
    base, adapter, under = made
    held = load_file(base / "model.safetensors")
    merged = {name: w for name, w in held.items() if ".layers." not in name}
    for layer, of in enumerate((0, 1, 1, 2)):
        before, front = f"model.layers.{of}.", f"model.layers.{layer}."
        merged |= {front + n.removeprefix(before): w for n, w in held.items() if n.startswith(before)}
    for name, (weight, delta) in under.items():
        merged[f"{name}.weight"] = (weight + delta.double()).float().detach().numpy()
    (tmp_path / "merged").mkdir()
    save_file(merged, tmp_path / "merged" / "model.safetensors")
    study = tunescope.verify(tmp_path / "merged", adapter, base=base)
    assert study.readout["verdict"] == "as_expected"
    assert study.table.to_polars().height == 8
