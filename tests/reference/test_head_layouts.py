"""Which rows of a fused projection belong to which head, by what the model's own forward pass does."""

from typing import Any

import numpy as np
import pytest

from tunescope.address import parse
from tunescope.address.fused import by_head
from tunescope.delta import Delta, Dense
from tunescope.questions.norms.heads import blocks_of, heads_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
H, WIDTH = 8, 32
COMMON = {"vocab_size": 16, "num_hidden_layers": 1, "hidden_size": WIDTH, "num_attention_heads": H}
GPT = {"vocab_size": 16, "n_layer": 1, "n_embd": WIDTH, "n_head": H, "n_positions": 16}
MOSAIC = {"vocab_size": 16, "n_layers": 1, "d_model": WIDTH, "n_heads": H}
MODELS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "gpt2": ("GPT2", GPT, "attn.c_attn", "attn.c_proj"),
    "mpt": ("Mpt", MOSAIC, "Wqkv", "attn.out_proj"),
    "dbrx": ("Dbrx", {**MOSAIC, "attn_config": {"kv_n_heads": 2, "clip_qkv": 1e4}}, "Wqkv", "attn.out_proj"),
    "falcon, new": (
        "Falcon", {**COMMON, "new_decoder_architecture": True, "num_kv_heads": 2}, "query_key_value", "dense",
    ),
    "falcon, one key": ("Falcon", COMMON, "query_key_value", "dense"),
    "falcon, many": ("Falcon", {**COMMON, "multi_query": False}, "query_key_value", "dense"),
    "gpt_bigcode, one key": ("GPTBigCode", GPT, "attn.c_attn", "attn.c_proj"),
    "gpt_bigcode, many": ("GPTBigCode", {**GPT, "multi_query": False}, "attn.c_attn", "attn.c_proj"),
    "codegen": ("CodeGen", {**GPT, "rotary_dim": 4}, "qkv_proj", "attn.out_proj"),
    "persimmon": ("Persimmon", {**COMMON, "intermediate_size": 32}, "query_key_value", "self_attn.dense"),
    "modernbert": (
        "ModernBert", {**COMMON, "intermediate_size": 32, "pad_token_id": 0, "bos_token_id": 1,
                       "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}, "attn.Wqkv", "attn.Wo",
    ),
    "gpt_neox": ("GPTNeoX", {**COMMON, "intermediate_size": 32}, "query_key_value", "attention.dense"),
    "bloom": ("Bloom", {"vocab_size": 16, "n_layer": 1, "hidden_size": WIDTH, "n_head": H},
              "query_key_value", "self_attention.dense"),
    "phi3": ("Phi3", {**COMMON, "num_key_value_heads": 2, "intermediate_size": 32, "pad_token_id": 0},
             "qkv_proj", "self_attn.o_proj"),
}  # fmt: skip


def built(name: str) -> tuple[Any, dict[str, Any], Any, Any, bool]:
    kind, settings, fused, out = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
    if kind == "Dbrx":
        # transformers 5.0 reads it there and no longer puts it there.
        config.attn_config.rope_theta = 1e4
    model = getattr(transformers, f"{kind}Model")(config).eval().float()
    modules = dict(model.named_modules())
    qkv = next(m for n, m in modules.items() if n.endswith(fused))
    torch.nn.init.normal_(qkv.weight, std=0.5)
    projection = next(m for n, m in modules.items() if n.endswith(out))
    return model, config.to_diff_dict(), qkv, projection, type(qkv).__name__ == "Conv1D"


def attended(model: Any, projection: Any) -> np.ndarray:
    """What enters the output projection: the outputs of all heads side by side."""
    seen = []
    hook = projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(torch.arange(1, 7)[None])
    hook.remove()
    return np.asarray(seen[0].reshape(6, H, -1).numpy())


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_a_head_change_what_that_head_puts_out_and_nothing_else(name: str) -> None:
    model, config, qkv, projection, turned = built(name)
    heads = heads_of(config)
    assert heads is not None
    assert heads.query == H
    rows, columns = qkv.weight.shape[::-1] if turned else qkv.weight.shape
    delta = Delta(
        parse("layers.0.self_attn.qkv_proj"), "", "lora", rows, columns, None, None, 1.0, (),
        lambda: Dense(np.zeros((rows, columns))),
    )  # fmt: skip
    blocks = blocks_of(delta, heads)
    assert len(blocks) == H + heads.key_value
    assert sorted(np.concatenate([where for _, _, where, _ in blocks])) == list(range(rows))
    before, whole = attended(model, projection), qkv.weight.detach().clone()
    for kind, head, where, _ in blocks:
        with torch.no_grad():
            (qkv.weight.T if turned else qkv.weight)[where] *= 1.5
        moved = np.abs(attended(model, projection) - before).max(axis=(0, 2)) > 1e-6
        each = H // heads.key_value
        wanted = {head} if kind == "query" else set(range(head * each, (head + 1) * each))
        assert set(np.flatnonzero(moved)) == wanted, (kind, head)
        with torch.no_grad():
            qkv.weight.copy_(whole)


# Under GPT-2's names; no published model has as many keys as queries.
LIKE_GPT2 = "gpt_bigcode, many"


@pytest.mark.parametrize("name", [name for name in MODELS if name != LIKE_GPT2])
def test_projections_are_cut_only_where_they_stand_one_after_the_other(name: str) -> None:
    """The names of the real modules tell what the test above holds of their rows."""
    model, config, qkv, _, _ = built(name)
    path = next(path for path, module in model.named_modules() if module is qkv)
    heads = heads_of(config)
    assert heads is not None
    rows = max(qkv.weight.shape) if min(qkv.weight.shape) == WIDTH else qkv.weight.shape[0]
    delta = Delta(
        parse(path), "", "lora", rows, WIDTH, None, None, 1.0, (), lambda: Dense(np.zeros((rows, WIDTH)))
    )
    queries = [where for kind, _, where, _ in blocks_of(delta, heads) if kind == "query"]
    counts = (len(np.concatenate(queries)), heads.key_value * len(queries[0]))
    stacked = sorted(np.concatenate(queries)) == list(range(counts[0]))
    # Falcon's has one key for all queries under the name that others give to groups.
    assert by_head(delta.address, counts) == (not stacked or name == "falcon, one key")
