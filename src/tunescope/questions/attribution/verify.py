"""Attribution against measurement: cells put back to the base one at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tunescope.lm.batches import Batch
from tunescope.questions.attribution.convergence import per_token
from tunescope.questions.attribution.integral import Integral, Progress, losses_at
from tunescope.questions.attribution.path import Path


@dataclass(frozen=True, slots=True)
class Check:
    """One cell put back: `measured` = L(tuned) − L(tuned without this cell's ΔW), nats per token.

    `chosen` says why it was taken: `largest` or `random`. `stderr` is over sequences, paired.
    """

    cell: int
    chosen: str
    measured: float
    stderr: float


def choose(attribution: NDArray[np.float64], count: int, seed: int = 0) -> list[tuple[int, str]]:
    """The `count` cells of largest |attribution|, and `count` drawn from the others.

    >>> [name for _, name in choose(np.array([3.0, -9.0, 1.0, 0.5]), 1)]
    ['largest', 'random']
    >>> choose(np.array([3.0, -9.0]), 5)
    [(1, 'largest'), (0, 'largest')]
    """
    order = np.argsort(-np.abs(attribution), kind="stable")
    largest, rest = order[:count], np.sort(order[count:])
    drawn = np.random.default_rng(seed).choice(rest, min(count, len(rest)), replace=False)
    return [(int(c), "largest") for c in largest] + [(int(c), "random") for c in sorted(drawn)]


def verify(
    path: Path,
    batches: Sequence[Batch],
    integral: Integral,
    chosen: Sequence[tuple[int, str]],
    progress: Progress | None = None,
) -> list[Check]:
    """Put each chosen cell back to the base, all others tuned, and measure what the loss does."""
    tell: Callable[[str, int, int], None] = progress or (lambda *_: None)
    checks = []
    for i, (cell, why) in enumerate(chosen):
        tell("verification", i, len(chosen))
        alphas = torch.ones(integral.parts.shape[1], dtype=torch.float64)
        alphas[cell] = 0.0
        without, tokens = losses_at(path, batches, alphas)
        mean, error = per_token((integral.tuned - without)[:, None], tokens)
        checks.append(Check(cell, why, float(mean[0]), float(error[0])))
    return checks
