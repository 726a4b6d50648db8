"""One module under two names in one file counts once, or is refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunescope import norms
from tunescope.errors import BadInput
from tunescope.source.open import open_source

RANK, D_OUT, D_IN = 3, 14, 10
RNG = np.random.default_rng(4)
A = RNG.standard_normal((RANK, D_IN)).astype(np.float32)
B = RNG.standard_normal((D_OUT, RANK)).astype(np.float32)
# Two spellings of one module each: the module under each, and the words for its factors.
PEFT, KOHYA = ("lora_A", "lora_B"), ("lora_down", "lora_up")
SPELLINGS = {
    "language": (
        ("base_model.model.model.layers.3.self_attn.q_proj", PEFT),
        ("lora_unet_model_layers_3_self_attn_q_proj", KOHYA),
    ),
    "language without its prefix": (
        ("base_model.model.model.layers.3.mlp.up_proj", PEFT),
        ("lora_unet_layers_3_mlp_up_proj", KOHYA),
    ),
    "flux": (
        ("transformer.transformer_blocks.2.attn.to_out.0", PEFT),
        ("lora_unet_double_blocks_2_img_attn_proj", KOHYA),
    ),
    "flux, both dotted": (
        ("transformer.transformer_blocks.2.attn.to_out.0", PEFT),
        ("diffusion_model.double_blocks.2.img_attn.proj", PEFT),
    ),
    "text encoder": (
        ("text_encoder.text_model.encoder.layers.1.self_attn.k_proj", PEFT),
        ("lora_te1_text_model_encoder_layers_1_self_attn_k_proj", KOHYA),
    ),
    "a prefix": (
        ("unet.mid_block.attentions.0.proj_in", PEFT),
        ("lora_unet_mid_block_attentions_0_proj_in", KOHYA),
    ),
    # Z-Image's own name and diffusers', as files hold both [huggingface/diffusers: issue 13203].
    "one list, both flat": (
        ("lora_unet_layers_0_attention_out", KOHYA),
        ("lora_unet_layers_0_attention_to_out_0", KOHYA),
    ),
    "one prefix more": (
        ("model.layers.0.self_attn.v_proj", PEFT),
        ("module.model.layers.0.self_attn.v_proj", PEFT),
    ),
}  # fmt: skip


def written(path: Path, kind: str, second: np.ndarray) -> str:
    tensors = {}
    for (module, (down, up)), factor in zip(SPELLINGS[kind], (B, second), strict=True):
        tensors |= {f"{module}.{down}.weight": A, f"{module}.{up}.weight": factor}
    save_file(tensors, path)
    return f"x={path}"


@pytest.mark.parametrize("kind", SPELLINGS)
def test_an_equal_update_under_a_second_name_counts_once(kind: str, tmp_path: Path) -> None:
    study = norms(written(tmp_path / "x.safetensors", kind, B), scale={"x": 1.0})
    found = study.tables["norms"].frame["frobenius_norm"].to_list()
    assert found == pytest.approx([np.linalg.norm(B.astype(np.float64) @ A)], rel=1e-6)
    assert any(f.kind == "saved_twice" and "counted once" in f.text for f in study.findings)


@pytest.mark.parametrize("kind", SPELLINGS)
def test_two_updates_of_one_module_are_refused_with_both_names(kind: str, tmp_path: Path) -> None:
    written(tmp_path / "x.safetensors", kind, 2 * B)
    with pytest.raises(BadInput) as refusal:
        open_source(tmp_path / "x.safetensors", scale=1.0)
    assert refusal.value.slug == "several-adapters"
    assert all(module in str(refusal.value) for module, _ in SPELLINGS[kind])


def test_lists_that_look_alike_in_one_spelling_stay_two(tmp_path: Path) -> None:
    tensors = {}
    for module in ("first.blocks.0.attn.to_q", "second.blocks.0.attn.to_q", "mtp.layers.0.up", "layers.0.up"):
        tensors |= {f"{module}.lora_A.weight": A, f"{module}.lora_B.weight": B}
    save_file(tensors, tmp_path / "x.safetensors")
    assert len(open_source(tmp_path / "x.safetensors", scale=1.0).deltas) == 4
