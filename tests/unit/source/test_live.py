"""Live models and state dicts as sources."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tunescope.errors import BadInput, UsageError
from tunescope.source import open_source

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
STEM = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    layers = torch.nn.ModuleDict({"q_proj": torch.nn.Linear(6, 4), "v_proj": torch.nn.Linear(6, 3)})
    config = peft.LoraConfig(
        r=2,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj"],
        rank_pattern={"v_proj": 3},
        init_lora_weights=False,
    )
    return peft.get_peft_model(torch.nn.ModuleDict({"layers": torch.nn.ModuleList([layers])}), config)


def test_live_model_gives_its_own_updates(model: Any) -> None:
    source = open_source(model, label="mine")
    assert (source.label, source.format) == ("mine", "peft")
    assert source.files == ()
    assert len(source.deltas) == 2
    for delta in source.deltas:
        layer = model.get_submodule(f"base_model.model.layers.0.{delta.address.module_type}")
        expected = layer.get_delta_weight("default").detach().numpy()
        np.testing.assert_allclose(delta.open().dense(), expected, rtol=1e-5, atol=1e-7)
    assert {entry.status for entry in source.coverage} == {"used"}


def test_live_model_equals_its_saved_folder(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    saved, live = open_source(tmp_path), open_source(model)
    assert [d.component_name for d in saved.deltas] == [d.component_name for d in live.deltas]
    for one, other in zip(saved.deltas, live.deltas, strict=True):
        assert np.array_equal(one.open().dense(), other.open().dense())


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float32"])
def test_state_dict_of_torch_tensors(kind: str) -> None:
    state = {
        f"{STEM}.lora_A.weight": torch.linspace(-1, 1, 12).reshape(2, 6).to(getattr(torch, kind)),
        f"{STEM}.lora_B.weight": torch.linspace(-1, 1, 8).reshape(4, 2).to(getattr(torch, kind)),
    }
    (delta,) = open_source(state, config=CONFIG).deltas
    a, b = (t.to(torch.float64).numpy() for t in state.values())
    assert np.array_equal(delta.open().dense(), 2.0 * b @ a)


def test_state_dict_of_arrays() -> None:
    a, b = np.ones((2, 6), ml_dtypes.bfloat16), np.ones((4, 2), ml_dtypes.bfloat16)
    source = open_source({f"{STEM}.lora_A.weight": a, f"{STEM}.lora_B.weight": b}, config=CONFIG)
    assert source.deltas[0].scale == 2.0
    assert [(e.dtype, e.bytes) for e in source.coverage] == [("BF16", 24), ("BF16", 16)]


def test_state_dict_with_peft_names_needs_its_config() -> None:
    state = {f"{STEM}.lora_A.weight": np.ones((2, 6)), f"{STEM}.lora_B.weight": np.ones((4, 2))}
    with pytest.raises(BadInput, match="no-config"):
        open_source(state)
    assert open_source(state, scale=3.0).deltas[0].scale == 3.0


def test_meta_and_sparse_tensors_are_named() -> None:
    state = {
        "w_a_0": torch.ones(2, 6),
        "w_b_0": torch.ones(4, 2),
        "m": torch.ones(3, device="meta"),
        "s": torch.ones(3, 3).to_sparse(),
    }
    reasons = {e.tensor: e.reason for e in open_source(state).coverage}
    assert "meta tensor" in reasons["m"]
    assert "sparse" in reasons["s"]


def test_what_is_no_source() -> None:
    with pytest.raises(UsageError, match="not-a-source"):
        open_source(3)
    with pytest.raises(BadInput, match="not-a-tensor"):
        open_source({"x": "text"})


def test_config_from_a_file_is_the_same_thing(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    state = peft.get_peft_model_state_dict(model)
    assert [d.scale for d in open_source(state, config=config).deltas] == [4.0, 8 / 3]
