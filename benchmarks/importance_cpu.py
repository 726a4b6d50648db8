"""Scores from one backward pass on one CPU thread: time beside the plain pass and the usual loop.

    python benchmarks/importance_cpu.py --out benchmarks/results/importance_cpu.json

A Qwen3 model of 25 M float32 parameters with random weights, random tokens, ways taken in turn.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from tunescope.lm.batches import Batch
from tunescope.lm.forward import Forward
from tunescope.lm.loss import mean_loss, targets, token_losses
from tunescope.lm.parameters import parameters_of
from tunescope.questions.importance.blocks import blocks_of
from tunescope.questions.importance.bypass import Bypass
from tunescope.questions.importance.reducer import GradientReducer
from tunescope.questions.importance.setting import Setting

SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 6400,
}


def ways(model: nn.Module, ids: torch.Tensor) -> dict[str, Callable[[], None]]:
    """Every way to the sums of |g*w|, g^2 and w^2 g^2, the plain pass first."""
    target = targets(ids, torch.ones_like(ids), shift=True)
    reducer = GradientReducer(parameters_of(model))

    def plain() -> None:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    def scored() -> None:
        with reducer:
            logits = model(input_ids=ids, use_cache=False).logits
            mean_loss(token_losses(logits, target), target).backward()
        reducer.take()

    def usual_loop() -> None:
        plain()
        for parameter in model.parameters():
            product = parameter.grad * parameter.detach()
            (product.abs().sum().item(), (parameter.grad**2).sum().item(), (product**2).sum().item())

    return {"plain": plain, "scored": scored, "usual_loop": usual_loop}


def measure(model: nn.Module, tokens: int, rounds: int) -> dict[str, object]:
    ids = torch.randint(0, SHAPE["vocab_size"], (1, tokens), generator=torch.Generator().manual_seed(tokens))
    runs = ways(model, ids)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            for parameter in model.parameters():
                parameter.grad = None
            start = time.process_time()
            run()
            if turn:
                seconds[name].append(time.process_time() - start)
    plain = seconds["plain"]
    return {
        "tokens": tokens,
        "rounds": rounds,
        "median_cpu_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "median_ratio_to_plain": {
            name: statistics.median(t / p for t, p in zip(values, plain, strict=True))
            for name, values in seconds.items()
        },
        "quartiles_of_ratio": {
            name: statistics.quantiles([t / p for t, p in zip(values, plain, strict=True)], n=4)
            for name, values in seconds.items()
        },
    }


def layer_importance(model: nn.Module, tokens: int, rounds: int) -> dict[str, object]:
    """Leaving every block out, over as many plain forward passes with their losses, in turn."""
    ids = torch.randint(0, SHAPE["vocab_size"], (1, tokens), generator=torch.Generator().manual_seed(tokens))
    batch, parameters = Batch(0, 0, ids, torch.ones_like(ids), ids), parameters_of(model)
    setting, blocks = Setting(Forward(model, True), parameters, 0), blocks_of(model, parameters)
    bypass = Bypass(setting, blocks)
    # The first batch decides how blocks are left out.
    list(bypass(batch))
    ratios = []
    with torch.no_grad():
        for _ in range(rounds):
            start = time.process_time()
            for _ in blocks:
                setting.losses(batch)
            plain = time.process_time()
            list(bypass(batch))
            ratios.append((time.process_time() - plain) / (plain - start))
    count, head = len(blocks), head_share(tokens)
    bound = 1.1 * ((count + 1) / (2 * count) * (1 - head) + head)
    found = {"tokens": tokens, "blocks": count, "head_share": head, "bound": bound}
    return found | {"median_ratio": statistics.median(ratios), "ratios": ratios}


def head_share(tokens: int) -> float:
    """The head's share of a forward pass's multiplications, attention over half of all pairs included."""
    width, heads = SHAPE["hidden_size"], SHAPE["num_attention_heads"] * SHAPE["head_dim"]
    kept = SHAPE["num_key_value_heads"] * SHAPE["head_dim"]
    projections = 2 * width * heads + 2 * width * kept + 3 * width * SHAPE["intermediate_size"]
    head = width * SHAPE["vocab_size"]
    return head / (head + SHAPE["num_hidden_layers"] * (projections + tokens * heads))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Qwen3Config(**SHAPE, tie_word_embeddings=False, attn_implementation="sdpa")
    model = Qwen3ForCausalLM(config).eval()
    report = {
        "what": "forward and backward pass with the sums of |g*w|, g^2, w^2 g^2 of every tensor; CPU seconds",
        "shape": SHAPE,
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": {"torch": torch.__version__, "processor": platform.machine(), "threads": 1},
        "passes": [measure(model, tokens, arguments.rounds) for tokens in arguments.tokens],
        "layer_importance": [layer_importance(model, n, arguments.rounds) for n in arguments.tokens],
    }
    print(json.dumps(report, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
