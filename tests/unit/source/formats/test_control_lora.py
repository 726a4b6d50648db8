"""Low-rank ControlNets, and ControlNets that change no weight."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope.errors import BadInput
from tunescope.source import open_source

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def control_lora(path: Path) -> dict[str, Any]:
    tensors = {
        "input_blocks.4.1.transformer_blocks.1.attn1.to_q.up": normal(16, 4),
        "input_blocks.4.1.transformer_blocks.1.attn1.to_q.down": normal(4, 12),
        "middle_block.0.in_layers.2.up": normal(16, 4, 1, 1),
        "middle_block.0.in_layers.2.down": normal(4, 12, 3, 3),
        "input_hint_block.0.weight": normal(16, 3, 3, 3),
        "time_embed.0.bias": normal(16),
        "lora_controlnet": np.zeros(0, np.float32),
    }
    save_file(tensors, path)
    return tensors


def test_factors_are_multiplied_as_they_are_also_of_convolutions(tmp_path: Path) -> None:
    tensors = control_lora(tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors")
    assert source.format == "control-lora"
    assert [delta.scale for delta in source.deltas] == [1.0, 1.0]
    for delta in source.deltas:
        up, down = (next(tensors[n] for n in delta.tensors if n.endswith(part)) for part in (".up", ".down"))
        expected = up.reshape(16, 4).astype(np.float64) @ down.reshape(4, -1)
        np.testing.assert_allclose(delta.open().dense(), expected, rtol=1e-6)
    assert {delta.address.stack for delta in source.deltas} == {"unet"}


def test_its_own_weights_and_its_mark_are_named_in_the_ledger(tmp_path: Path) -> None:
    control_lora(tmp_path / "x.safetensors")
    source = open_source(tmp_path / "x.safetensors")
    reasons = {e.tensor: e.reason for e in source.coverage if e.status != "used"}
    assert reasons["input_hint_block.0.weight"] == "the ControlNet's own weight, saved whole"
    assert reasons["lora_controlnet"] == "mark of the format"
    assert not any("not understood" in reason for reason in reasons.values())
    assert source.notices == ()


def test_what_depends_on_a_picture_is_refused_by_name(tmp_path: Path) -> None:
    module = "lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    parts = {"conditioning1.0": (16, 3, 4, 4), "down.0": (8, 32), "mid.0": (8, 16), "up.0": (32, 8)}
    save_file({f"{module}.{p}.weight": normal(*s) for p, s in parts.items()}, tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match="ControlNet-LLLite") as caught:
        open_source(tmp_path / "x.safetensors")
    assert caught.value.slug == "method-not-read"
