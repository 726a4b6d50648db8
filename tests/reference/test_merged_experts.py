"""Merges by PEFT into models that one side stores fused and the other in parts."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

import tunescope

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SIZES = {
    "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 2, "vocab_size": 32, "tie_word_embeddings": False,
}  # fmt: skip
SPARSE = {"moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}
# One model type for each way in which transformers' files number the experts that it stacks.
KINDS = {"mixtral": {"num_local_experts": 4}, "qwen3_moe": SPARSE, "olmoe": {"num_experts": 4}}
STACKED = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def merge(root: Path, config: Any, **targets: Any) -> tuple[Path, Path, Path]:
    """A base, an adapter and their merge, as transformers and PEFT save them."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for value in model.parameters():
        value.data = 0.05 * torch.randn(value.shape)
    model.save_pretrained(root / "base")
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=3, **targets))
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data = 0.3 * torch.randn(value.shape)
    model.save_pretrained(root / "adapter")
    model.merge_and_unload().save_pretrained(root / "merged")
    return root / "base", root / "adapter", root / "merged"


@pytest.fixture(scope="module", params=KINDS)
def sparse(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    config = transformers.AutoConfig.for_model(request.param, **SIZES, **KINDS[request.param])
    root = tmp_path_factory.mktemp(request.param)
    return merge(root, config, target_modules=["q_proj"], target_parameters=STACKED)


def test_a_right_merge_into_experts_that_the_files_number_is_as_expected(sparse: Any) -> None:
    base, adapter, merged = sparse
    assert any(".experts.3." in name for name in load_file(merged / "model.safetensors"))
    study = tunescope.verify(merged, adapter, base=base)
    assert study.readout["verdict"] == "as_expected"
    assert study.readout["modules"] == 2 * (1 + 3 * 4)
    assert [f["kind"] for f in study.readout["findings"]] == ["as_expected"]


def test_one_expert_that_was_not_merged_is_named_by_its_parts(sparse: Any, tmp_path: Path) -> None:
    base, adapter, merged = sparse
    before, after = (load_file(folder / "model.safetensors") for folder in (base, merged))
    (tmp_path / "half").mkdir()
    kept = {k: before[k] if ".1." in k and ".experts.2." in k else v for k, v in after.items()}
    save_file(kept, tmp_path / "half" / "model.safetensors")
    study = tunescope.verify(tmp_path / "half", adapter, base=base)
    assert study.readout["verdict"] == "partly_merged"
    assert sorted(study.readout["differing"]) == ["L1_MLP_DOWN_E2", "L1_MLP_GATE_E2", "L1_MLP_UP_E2"]


def test_subspaces_of_the_merge_are_those_of_the_adapter(sparse: Any) -> None:
    base, adapter, merged = sparse
    rows = tunescope.subspace(adapter, merged, base=base).table.to_polars().to_dicts()
    experts = [row for row in rows if row["expert"] is not None]
    assert len(experts) == 2 * 3 * 4
    assert all(row["delta_cosine"] == pytest.approx(1, abs=1e-3) for row in experts)


@pytest.mark.parametrize("targets", [["q_proj", "v_proj", "up_proj"], ["k_proj", "gate_proj"]])
def test_parts_merged_into_fused_projections_are_as_expected(targets: list[str], tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("llama", **SIZES)
    base, adapter, merged = merge(tmp_path, config, target_modules=targets)
    for folder in (base, merged):
        fuse(folder / "model.safetensors")
    study = tunescope.verify(merged, adapter, base=base)
    assert study.readout["verdict"] == "as_expected"
    assert study.readout["modules"] == 2 * len(targets)
    assert study.readout["changed_elsewhere"] == []


def test_parts_whose_rows_a_loader_reorders_are_not_told_by_the_rows_of_the_file(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("llama", **SIZES)
    base, adapter, merged = merge(tmp_path, config, target_modules=["q_proj", "o_proj"])
    for folder in (base, merged):
        fuse(folder / "model.safetensors")
        (folder / "config.json").write_text('{"model_type": "kimi_k25"}')
    study = tunescope.verify(merged, adapter, base=base)
    assert study.readout["verdict"] == "cannot_tell"
    assert set(study.readout["differing"]) == {"L0_ATTN_Q", "L1_ATTN_Q"}


def test_a_change_in_the_part_that_no_adapter_names_is_found(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("llama", **SIZES)
    base, adapter, merged = merge(tmp_path, config, target_modules=["q_proj", "v_proj"])
    tensors = load_file(merged / "model.safetensors")
    tensors["model.layers.1.self_attn.k_proj.weight"] += 1
    save_file(tensors, merged / "model.safetensors")
    for folder in (base, merged):
        fuse(folder / "model.safetensors")
    study = tunescope.verify(merged, adapter, base=base)
    assert study.readout["verdict"] == "as_expected"
    assert study.readout["changed_elsewhere"] == ["L1_ATTN_QKV"]


def fuse(path: Path) -> None:
    """Query, key and value of every layer in one tensor, gate and up in another, as in Phi-3's files."""
    tensors = {name: torch.from_numpy(value) for name, value in load_file(path).items()}
    for k in range(SIZES["num_hidden_layers"]):
        for owner, fused, parts in (("self_attn", "qkv", "qkv"), ("mlp", "gate_up", ("gate", "up"))):
            stem = f"model.layers.{k}.{owner}."
            held = [tensors.pop(f"{stem}{part}_proj.weight") for part in parts]
            tensors[f"{stem}{fused}_proj.weight"] = torch.cat(held)
    save_file({name: value.numpy() for name, value in tensors.items()}, path)
