"""Tiny models of several architectures, and data for them."""

import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 23
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
}


def _scattered(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model with weights large enough for its predictions to differ from chance, norms too."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data = 1 + 0.3 * torch.randn(parameter.shape, generator=generator)
        else:
            parameter.data = (
                torch.randn(parameter.shape, generator=generator) * 0.7 / parameter.shape[-1] ** 0.5
            )
    return model.to(dtype).eval()


def qwen3(dtype: torch.dtype = torch.float64, tied: bool = False) -> nn.Module:
    return _scattered(Qwen3ForCausalLM(Qwen3Config(**_SHAPE, tie_word_embeddings=tied)), dtype)


def llama(dtype: torch.dtype = torch.float64) -> nn.Module:
    return _scattered(LlamaForCausalLM(LlamaConfig(**_SHAPE, tie_word_embeddings=False)), dtype)


def mixtral(dtype: torch.dtype = torch.float64) -> nn.Module:
    config = MixtralConfig(**_SHAPE, num_local_experts=4, num_experts_per_tok=2, tie_word_embeddings=False)
    return _scattered(MixtralForCausalLM(config), dtype)


def sequences(lengths: list[int], seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """One sequence per batch; the first two tokens of each are a prompt without loss."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths:
        ids = torch.randint(0, VOCABULARY, (1, length), generator=generator)
        labels = ids.clone()
        labels[:, :2] = -100
        found.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return found


def side_by_side(batches: list[dict[str, torch.Tensor]], left: bool = False) -> list[dict[str, torch.Tensor]]:
    """Single sequences as one padded batch."""
    width = max(b["input_ids"].shape[1] for b in batches)
    fillers = {"input_ids": 3, "attention_mask": 0, "labels": 5}

    def pad(tensor: torch.Tensor, filler: int) -> torch.Tensor:
        rest = width - tensor.shape[1]
        return nn.functional.pad(tensor, (rest, 0) if left else (0, rest), value=filler)

    return [{key: torch.cat([pad(b[key], filler) for b in batches]) for key, filler in fillers.items()}]
