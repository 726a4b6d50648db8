"""Adapters inside the save of a whole model, as accelerate's `save_state` writes what PEFT wrapped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import OPTConfig, OPTForCausalLM

from tunescope import norms, trajectory
from tunescope.errors import BadInput
from tunescope.source.against import is_whole
from tunescope.source.checkpoints import open_checkpoint
from tunescope.source.open import open_source

SCALE = 3.0


@pytest.fixture
def peft_model() -> Any:
    torch.manual_seed(5)
    shape = OPTConfig(
        hidden_size=24, ffn_dim=40, num_hidden_layers=2, num_attention_heads=3, vocab_size=31,
        word_embed_proj_dim=24, max_position_embeddings=16,
    )  # fmt: skip
    asked = LoraConfig(r=4, lora_alpha=12, target_modules=["k_proj", "fc1"], modules_to_save=["fc2"])
    return get_peft_model(OPTForCausalLM(shape), asked)


def save(model: Any, folder: Path) -> Path:
    folder.mkdir(parents=True)
    tensors = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def set_updates(model: Any, factor: float) -> float:
    """Every B as `factor` times the same draw; what PEFT says ‖ΔW‖ then is."""
    torch.manual_seed(8)
    total = 0.0
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data = factor * torch.randn(value.shape)
    for module in model.modules():
        if hasattr(module, "get_delta_weight"):
            total += module.get_delta_weight("default").double().square().sum().item()
    return total**0.5


def test_a_course_of_wrapped_saves_is_that_of_the_adapter(peft_model: Any, tmp_path: Path) -> None:
    expected = []
    for step, factor in enumerate((1.0, 2.0, 5.0), 1):
        expected.append(set_updates(peft_model, factor))
        save(peft_model, tmp_path / f"run/checkpoint_{step}")
    study = trajectory(f"x={tmp_path / 'run'}", scale={"x": SCALE})
    found = study.tables["motion_by_step"].frame["delta_frobenius_norm"].to_list()
    assert found == pytest.approx(expected, rel=1e-5)
    assert any(f.kind == "model_around" for f in study.findings)


def test_without_a_scale_it_is_asked_for(peft_model: Any, tmp_path: Path) -> None:
    set_updates(peft_model, 1.0)
    folder = save(peft_model, tmp_path / "checkpoint_1")
    for opened in (open_checkpoint, open_source):
        with pytest.raises(BadInput) as refusal:
            opened(folder)
        assert refusal.value.slug == "no-adapter-config"
        assert "--scale" in str(refusal.value)


def test_the_config_beside_gives_the_scale(peft_model: Any, tmp_path: Path) -> None:
    expected = set_updates(peft_model, 2.0)
    folder = save(peft_model, tmp_path / "checkpoint_1")
    config = peft_model.peft_config["default"].to_dict()
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    (folder / "adapter_config.json").write_text(json.dumps(plain, default=str))
    found = norms(str(folder)).tables["norms"].frame["frobenius_norm"].to_numpy()
    assert (found**2).sum() ** 0.5 == pytest.approx(expected, rel=1e-5)


def test_it_is_an_adapter_beside_a_base_and_its_copies_are_accounted_for(
    peft_model: Any, tmp_path: Path
) -> None:
    set_updates(peft_model, 2.0)
    folder = save(peft_model, tmp_path / "checkpoint_1")
    assert not is_whole(str(folder))
    source = open_source(folder, scale=SCALE)
    reasons = {entry.tensor: entry.reason for entry in source.coverage if entry.status != "used"}
    assert "not understood" not in reasons.values()
    saved = {name for name, reason in reasons.items() if reason == "saved module, needs base"}
    assert saved == {name for name in reasons if "modules_to_save" in name}
    assert len(saved) == 4


def test_shards_are_known_by_their_index(peft_model: Any, tmp_path: Path) -> None:
    expected = set_updates(peft_model, 2.0)
    tensors = {name: value.clone() for name, value in peft_model.state_dict().items()}
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name].contiguous() for name in held}, tmp_path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, of in parts.items() for name in of}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    found = norms(f"x={tmp_path}", scale={"x": SCALE}).tables["norms"].frame["frobenius_norm"].to_numpy()
    assert (found**2).sum() ** 0.5 == pytest.approx(expected, rel=1e-5)


def test_a_pickle_of_a_wrapped_model_is_an_adapter_beside_a_base_too(peft_model: Any, tmp_path: Path) -> None:
    expected = set_updates(peft_model, 2.0)
    states = {name: value.clone() for name, value in peft_model.state_dict().items()}
    folder, base = tmp_path / "checkpoint_1", tmp_path / "base"
    folder.mkdir()
    torch.save(states, folder / "pytorch_model.bin")
    whole = peft_model.unload()
    whole.save_pretrained(base)
    assert not is_whole(str(folder))
    study = norms(f"x={folder}", base=str(base), scale={"x": SCALE})
    frame = study.tables["norms"].frame
    factored = frame.filter(frame["lora_rank"].is_not_null())["frobenius_norm"].to_numpy()
    assert (factored**2).sum() ** 0.5 == pytest.approx(expected, rel=1e-5)
    plain = tmp_path / "plain"
    plain.mkdir()
    torch.save(whole.state_dict(), plain / "pytorch_model.bin")
    assert is_whole(str(plain))


def test_an_ordinary_pickle_is_not_listed_to_see_that_it_holds_no_adapter(tmp_path: Path) -> None:
    torch.save({"model.layers.0.mlp.up_proj.weight": torch.ones(3, 2)}, tmp_path / "pytorch_model.bin")
    assert is_whole(str(tmp_path), read=lambda path: pytest.fail(str(path)))
