"""Two whole models in two spellings are told to be that."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope import norms
from tunescope.errors import BadInput

SPELLINGS = {
    "stable diffusion": (
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight",
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight",
    ),
    "flux": ("transformer_blocks.4.attn.to_out.0.weight", "double_blocks.4.img_attn.proj.weight"),
    "wan": ("blocks.1.attn1.to_q.weight", "blocks.1.self_attn.q.weight"),
}


@pytest.mark.parametrize("model", SPELLINGS)
def test_two_spellings_of_one_model_are_named_with_what_joins_them(model: str, tmp_path: Path) -> None:
    for name, tensor in zip(("base", "tuned"), SPELLINGS[model], strict=True):
        save_file({tensor: np.ones((6, 4), np.float32)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInput, match="otherwise") as refusal:
        norms(tmp_path / "tuned.safetensors", base=tmp_path / "base.safetensors")
    assert all(name in str(refusal.value) for name in SPELLINGS[model])
    assert "from_single_file" in str(refusal.value)


def test_models_of_other_places_stay_without_a_weight_in_common(tmp_path: Path) -> None:
    for name, tensor in zip(("base", "tuned"), ("a.up.weight", "b.down.weight"), strict=True):
        save_file({tensor: np.ones((6, 4), np.float32)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInput, match="no weight in common"):
        norms(tmp_path / "tuned.safetensors", base=tmp_path / "base.safetensors")


def test_two_spellings_that_share_a_name_are_told_what_joins_them(tmp_path: Path) -> None:
    for name, tensor in zip(("base", "tuned"), SPELLINGS["wan"], strict=True):
        held = {tensor: np.ones((6, 4), np.float32), "patch_embedding.weight": np.ones((6, 3), np.float32)}
        save_file(held, tmp_path / f"{name}.safetensors")
    study = norms(tmp_path / "tuned.safetensors", base=tmp_path / "base.safetensors")
    (said,) = [f.text for f in study.findings if f.kind == "unpaired"]
    assert "1 of them stands at one place under two names: convert one of them" in said
    assert "from_single_file(FILE, config=BASE)" in said
