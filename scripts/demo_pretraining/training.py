"""One pre-training run: AdamW, warm-up and cosine decay, random windows of the token stream."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from demo_pretraining import model as small
from demo_pretraining.tokens import Tokens

Curve = list[dict[str, float | None]]
OPENING_SHARE = 1 / 7


@dataclass(frozen=True)
class Recipe:
    steps: int = 11_187
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup: int = 200
    evaluations: int = 40
    seed: int = 0
    compiled: bool = False

    def rate(self, step: int) -> float:
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


class Windows:
    """Batches of 513 tokens; one in seven opens where a document opens, as fine-tuning rows do."""

    def __init__(self, tokens: Tokens, recipe: Recipe, device: str) -> None:
        self.stream = torch.from_numpy(tokens.stream.astype(np.int32)).to(device)
        self.starts = tokens.starts[tokens.starts < len(tokens.stream) - small.WINDOW - 1]
        self.rng, self.batch, self.device = np.random.default_rng(recipe.seed), recipe.batch, device

    def __call__(self) -> torch.Tensor:
        anywhere = self.rng.integers(0, len(self.stream) - small.WINDOW - 1, size=self.batch)
        opening = self.rng.choice(self.starts, size=self.batch)
        chosen = np.where(self.rng.random(self.batch) < OPENING_SHARE, opening, anywhere)
        offsets = torch.from_numpy(chosen).to(self.device)[:, None] + torch.arange(
            small.WINDOW + 1, device=self.device
        )
        return self.stream[offsets].long()


def train(
    model: Any, tokens: Tokens, recipe: Recipe, device: str, say: Callable[[str], None] = print
) -> Curve:
    """Train ``model`` in place; returns training and held-out loss (nats a token) along the way."""
    model.to(device)
    runnable = torch.compile(model) if recipe.compiled else model
    adam, draw = optimizer(model, recipe), Windows(tokens, recipe, device)
    documents, curve, running, begun = tokens.documents(), [], [], time.monotonic()
    every = max(1, recipe.steps // recipe.evaluations)
    for step in range(recipe.steps + 1):
        if step % every == 0 or step == recipe.steps:
            held = held_out_loss(model, documents, device)
            seen = float(torch.stack(running).mean()) if running else None
            curve.append(
                {
                    "step": step,
                    "training_loss": seen,
                    "held_out_loss": held,
                    "seconds": time.monotonic() - begun,
                }
            )
            say(f"step {step} training {seen} held out {held:.4f} after {time.monotonic() - begun:.0f} s")
            running = []
        if step < recipe.steps:
            running.append(_step(runnable, adam, draw(), recipe.rate(step), device))
    return curve


def _step(
    model: Any, adam: torch.optim.Optimizer, ids: torch.Tensor, rate: float, device: str
) -> torch.Tensor:
    for group in adam.param_groups:
        group["lr"] = rate
    with torch.autocast(device, dtype=torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    adam.zero_grad()
    return loss.detach()


def held_out_loss(model: Any, documents: list[NDArray[Any]], device: str) -> float:
    model.eval()
    with torch.autocast(device, dtype=torch.bfloat16):
        nats = small.losses(model, documents, batch=256)
    model.train()
    return float(np.concatenate(nats).mean())


def seconds_a_step(model: Any, tokens: Tokens, recipe: Recipe, device: str, steps: int = 40) -> float:
    """Wall time of one step on a copy-free trial whose updates have a rate of zero."""
    model.to(device)
    runnable = torch.compile(model) if recipe.compiled else model
    adam, draw = optimizer(model, recipe), Windows(tokens, recipe, device)
    for count in (8, steps):
        begun = time.monotonic()
        for _ in range(count):
            last = _step(runnable, adam, draw(), 0.0, device)
        float(last)
    return (time.monotonic() - begun) / steps
