"""Integrated gradients from base to tuned: Gauss-Legendre nodes, until the parts add up."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
import torch
from numpy.typing import NDArray

from tunescope.errors import BadInput, UsageError
from tunescope.lm.batches import Batch, DataHash
from tunescope.questions.attribution.path import Path
from tunescope.questions.attribution.state import NodeStore

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

# The residual may be this share of |gain|, or this share of the gain's standard error.
GAIN_SHARE, ERROR_SHARE = 0.01, 0.1
MOST_NODES = 64


@dataclass(frozen=True, eq=False)
class Integral:
    """What every cell did to every sequence, in nats summed over the sequence's tokens.

    `parts` is (sequences, cells); `base`, `tuned` and `tokens` are (sequences,). `history` holds the
    residual in nats per token at every number of nodes that was tried.
    """

    parts: Array
    base: Array
    tuned: Array
    tokens: Array
    history: tuple[tuple[int, float], ...]
    data_hash: str

    @property
    def nodes(self) -> int:
        """The number of Gauss-Legendre nodes."""
        return self.history[-1][0]

    @property
    def residual(self) -> float:
        """Sum over the cells less L(tuned) − L(base), in nats per token."""
        return self.history[-1][1]

    @property
    def gain(self) -> tuple[float, float]:
        """L(base) − L(tuned) in nats per token, and its standard error over sequences (paired)."""
        mean, error = per_token((self.base - self.tuned)[:, None], self.tokens)
        return float(mean[0]), float(error[0])

    @property
    def tolerance(self) -> float:
        """The residual that is small enough: 1 % of |gain| or a tenth of its standard error."""
        gain, error = self.gain
        return max(GAIN_SHARE * abs(gain), 0.0 if math.isnan(error) else ERROR_SHARE * error)

    @property
    def converged(self) -> bool:
        """Whether the parts add up to the whole within `tolerance`."""
        return abs(self.residual) <= self.tolerance


def per_token(nats: Array, tokens: Array) -> tuple[Array, Array]:
    """Mean per token of (sequences, columns) sums, and its standard error over sequences, both (columns,).

    The mean is Σ nats / Σ tokens; its error √(n/(n−1) · Σ (nats − tokens·mean)²) / Σ tokens is that of a
    mean weighted by tokens, NaN for fewer than two sequences.

    >>> mean, error = per_token(np.array([[1.0], [3.0]]), np.array([1.0, 1.0]))
    >>> float(mean[0]), float(error[0])
    (2.0, 1.0)
    """
    n, total = len(tokens), float(tokens.sum())
    mean: Array = nats.sum(0) / total
    if n < 2:
        return mean, np.full_like(mean, np.nan)
    spread = np.square(nats - tokens[:, None] * mean).sum(0)
    return mean, np.sqrt(spread * n / (n - 1)) / total


def integrate(
    path: Path,
    batches: Sequence[Batch],
    *,
    nodes: int = 8,
    most: int = MOST_NODES,
    progress: Progress | None = None,
    state: FilePath | None = None,
) -> Integral:
    """∫₀¹⟨∇L(W₀ + αΔW), ΔW_c⟩dα of every cell c, the nodes doubled until the sum is L(tuned) − L(base).

    `nodes` is where it starts and `most` where it stops, whether or not the sum fits by then. Nodes that a
    killed run finished are found again in the folder `state`. Raises `BadInput` where no token has a
    label, or where a loss is not finite.
    """
    if nodes < 1:
        raise UsageError("nodes", "an integral needs one node or more", found=nodes)
    tell = progress or (lambda *_: None)
    base, tokens = losses_at(path, batches, 0.0)
    tuned, _ = losses_at(path, batches, 1.0)
    _check(base, tuned, tokens)
    digest = _digest(batches)
    store = NodeStore(state, (base, tuned, tokens, path.moved))
    history: list[tuple[int, float]] = []
    while True:
        parts = _quadrature(path, batches, nodes, tell, store)
        residual = float((parts.sum() - (tuned - base).sum()) / tokens.sum())
        history.append((nodes, residual))
        found = Integral(parts, base, tuned, tokens, tuple(history), digest)
        if found.converged or 2 * nodes > max(most, 1):
            return found
        nodes *= 2


def losses_at(path: Path, batches: Sequence[Batch], alphas: torch.Tensor | float) -> tuple[Array, Array]:
    """Summed loss and scored tokens of every sequence at one point of the path, both (sequences,)."""
    path.place(alphas)
    found = [path.losses(batch) for batch in batches]
    return tuple(torch.cat(column).numpy() for column in zip(*found, strict=True))  # type: ignore[return-value]


def _quadrature(path: Path, batches: Sequence[Batch], nodes: int, tell: Progress, store: NodeStore) -> Array:
    points, weights = np.polynomial.legendre.leggauss(nodes)
    total: Array | float = 0.0
    for i, (point, weight) in enumerate(zip((points + 1) / 2, weights / 2, strict=True)):
        values = store.load(nodes, i)
        if values is None:
            path.place(float(point))
            rows = []
            for j, batch in enumerate(batches):
                tell(f"{nodes} nodes", i * len(batches) + j, nodes * len(batches))
                rows.append(path.derivatives(batch).numpy())
            values = np.concatenate(rows)
            store.save(nodes, i, values)
        total = total + weight * values
    return np.asarray(total)


def _digest(batches: Sequence[Batch]) -> str:
    digest = DataHash()
    for batch in batches:
        digest.add(batch)
    return digest.hex()


def _check(base: Array, tuned: Array, tokens: Array) -> None:
    if not tokens.sum():
        raise BadInput(
            "no-targets",
            f"none of {len(tokens)} sequences has a token to score",
            expected="labels that are token ids at one position or more",
            found="labels that are all -100, or padding",
        )
    for which, losses in (("base", base), ("tuned", tuned)):
        if broken := int((~np.isfinite(losses)).sum()):
            raise BadInput(
                "loss-not-finite",
                f"the loss of the {which} model is not finite",
                found=f"{broken} of {len(losses)} sequences have a NaN or infinite loss",
                fix="check the model's weights; try --dtype float32",
            )
