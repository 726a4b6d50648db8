"""The shape of the small model and its loss on whole held-out documents."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

WINDOW = 512
# Every projection has out_features % 32 == 0 and in_features % 64 == 0: nf4's packed CPU kernels need it.
SHAPE = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 10,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "max_position_embeddings": WINDOW,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
}


def build(vocabulary: int, pad: int, end: int, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=vocabulary, pad_token_id=pad, bos_token_id=end, eos_token_id=end, **SHAPE)
    model = LlamaForCausalLM(config)
    # What adds to the residual stream starts smaller, or its variance grows with depth (GPT-2).
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight /= (2 * SHAPE["num_hidden_layers"]) ** 0.5
    return model


def windows(document: NDArray[Any]) -> list[NDArray[Any]]:
    """Pieces of at most 512 tokens that overlap by one: each token after the first is predicted once."""
    return [document[i : i + WINDOW] for i in range(0, max(len(document) - 1, 1), WINDOW - 1)]


@torch.no_grad()
def losses(model: Any, documents: Sequence[NDArray[Any]], batch: int = 64) -> list[NDArray[np.float64]]:
    """Negative log-probabilities in nats of each document's tokens after its first."""
    pieces = [(index, piece) for index, document in enumerate(documents) for piece in windows(document)]
    order = sorted(range(len(pieces)), key=lambda i: len(pieces[i][1]))
    found: dict[int, NDArray[np.float64]] = {}
    device = next(model.parameters()).device
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        width = max(len(pieces[i][1]) for i in chosen)
        ids = torch.zeros(len(chosen), width, dtype=torch.long)
        for row, i in enumerate(chosen):
            ids[row, : len(pieces[i][1])] = torch.from_numpy(pieces[i][1].astype(np.int64))
        ids = ids.to(device)
        logits = model(input_ids=ids).logits[:, :-1].float()
        nats = (
            torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            .double()
            .cpu()
            .numpy()
        )
        found |= {i: nats[row, : len(pieces[i][1]) - 1] for row, i in enumerate(chosen)}
    parts: list[list[NDArray[np.float64]]] = [[] for _ in documents]
    for i, (index, _) in enumerate(pieces):
        parts[index].append(found[i])
    return [np.concatenate(p) for p in parts]
