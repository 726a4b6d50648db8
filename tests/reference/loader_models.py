"""Tiny models whose files name weights otherwise than the loaded model, for `check` and for merges."""

from typing import Any


def sizes(layers: int) -> dict[str, Any]:
    """Settings that most text and picture models have in common."""
    return {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": layers, "num_attention_heads": 2,
    }  # fmt: skip


def picture_to_text(layers: int) -> Any:
    """An encoder of pictures, and a decoder of so many layers whose head is its table of embeddings."""
    import transformers

    encoder = transformers.ViTModel(transformers.ViTConfig(**sizes(layers), image_size=8, patch_size=4))
    decoder = transformers.BertLMHeadModel(
        transformers.BertConfig(**sizes(layers), vocab_size=40, is_decoder=True, add_cross_attention=True)
    )
    return transformers.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
