"""`check` on adapters and bases as PEFT and transformers save them, under a loader's names."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tunescope

from .loader_models import picture_to_text, sizes

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SIZES = sizes(layers=1)


def switch() -> Any:
    return transformers.SwitchTransformersForConditionalGeneration(
        transformers.SwitchTransformersConfig(
            vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_decoder_layers=2, num_heads=2,
            num_experts=2, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1,
        )
    )  # fmt: skip


def hunyuan() -> Any:
    return transformers.HYV3ForCausalLM(
        transformers.HYV3Config(
            **{**SIZES, "num_hidden_layers": 2}, num_key_value_heads=2, head_dim=8, vocab_size=40,
            num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8, num_shared_experts=1,
            first_k_dense_replace=1,
        )
    )  # fmt: skip


def molmo() -> Any:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    small = {"hidden_size": 32, "intermediate_size": 24, **heads}
    return transformers.Molmo2ForConditionalGeneration(
        transformers.Molmo2Config(
            text_config={**small, "num_hidden_layers": 1, "vocab_size": 40, "additional_vocab_size": 8},
            vision_config={**small, "num_hidden_layers": 2, "num_key_value_heads": 4},
            adapter_config={
                **small,
                "num_key_value_heads": 4,
                "text_hidden_size": 32,
                "vision_feature_layer": [0, 1],
            },
        )
    )


MODELS: dict[str, Callable[[], Any]] = {
    "an encoder of pictures and a decoder whose head is its table": partial(picture_to_text, layers=1),
    "experts called expert_0": switch,
    "shared experts called shared_mlp": hunyuan,
    "fused attention of fewer key heads": molmo,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", MODELS.values(), ids=MODELS)
def test_every_linear_layer_attaches_to_the_base_that_transformers_saved(
    made: Callable[[], Any], tmp_path: Path
) -> None:
    model = made()
    model.save_pretrained(tmp_path / "base")
    linear = [name for name, module in model.named_modules() if type(module) is torch.nn.Linear]
    config = peft.LoraConfig(r=2, target_modules=linear, init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    study = tunescope.check(tmp_path / "adapter", base=tmp_path / "base")
    frame = study.table.to_polars()
    assert frame.filter(frame["status"] != "attached").height == 0
    assert study.readout["attaches"]
    assert {finding.kind for finding in study.findings} <= {"names_of_the_loader"}
