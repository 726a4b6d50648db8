"""Integrated gradients from base to tuned: nested nodes, until the cells and their sum have converged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
import torch
from numpy.typing import NDArray

from tunescope.errors import BadInput, UsageError
from tunescope.lm.batches import Batch, DataHash
from tunescope.lm.processes import gathered, world
from tunescope.questions.attribution.convergence import Judge, Step, Stopped, gain_of, tolerance
from tunescope.questions.attribution.path import Path
from tunescope.questions.attribution.quadrature import Node, nodes, place, sizes, weights
from tunescope.questions.attribution.state import NodeStore

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
MOST_NODES = 65


@dataclass(frozen=True, eq=False)
class Integral:
    """What every cell did to every sequence, in nats summed over the sequence's tokens.

    `parts` is (sequences, cells); `base`, `tuned` and `tokens` are (sequences,). `history` holds every nested
    set up to the last, and `stopped` why that was the last.
    """

    parts: Array
    base: Array
    tuned: Array
    tokens: Array
    history: tuple[Step, ...]
    stopped: Stopped
    data_hash: str

    @property
    def nodes(self) -> int:
        """The number of nodes, all of which were evaluated once."""
        return self.history[-1].nodes

    @property
    def residual(self) -> float:
        """Sum over the cells less L(tuned) − L(base), in nats per token."""
        return self.history[-1].residual

    @property
    def gain(self) -> tuple[float, float]:
        """L(base) − L(tuned) in nats per token, and its standard error over sequences (paired)."""
        return gain_of(self.base, self.tuned, self.tokens)

    @property
    def tolerance(self) -> float:
        """The residual that is small enough: 1 % of |gain| or a tenth of its standard error."""
        return tolerance(*self.gain)

    @property
    def converged(self) -> bool:
        """Whether the cells no longer change and add up to the whole within `tolerance`."""
        return self.stopped == "converged"


def integrate(
    path: Path,
    batches: Sequence[Batch],
    *,
    nodes: int = 9,
    most: int = MOST_NODES,
    progress: Progress | None = None,
    state: FilePath | None = None,
) -> Integral:
    """∫₀¹⟨∇L(W₀ + αΔW), ΔW_c⟩dα of every cell c, from nested sets of nodes.

    It begins with the first set of at least `nodes` and goes on to the next, all nodes used again, until the
    cells agree between two sets and add up to L(tuned) − L(base), until only rounding noise is left, or until
    the next set has more than `most`. Nodes that a killed run finished are found again in the folder
    `state`; processes of one launch share the sequences. Raises `BadInput` where no token has a label, or
    where a loss is not finite.
    """
    if nodes < 1:
        raise UsageError("nodes", "an integral needs one node or more", found=nodes)
    base, tokens = losses_at(path, batches, 0.0)
    tuned, _ = losses_at(path, batches, 1.0)
    _check(base, tuned, tokens)
    integrand = _Integrand(path, batches, progress, NodeStore(state, (base, tuned, tokens, path.moved)))
    judge = Judge(base, tuned, tokens, path.epsilon)
    found: list[Array] = []
    history: list[Step] = []
    for size in sizes(max(most, 2 * nodes)):
        integrand.want(size, _first(nodes))
        found.append(integrand.parts(size))
        history.append(judge.step(size, found))
        stopped = judge.verdict(history, found) or ("most_nodes" if 2 * size - 1 > most else None)
        if size >= nodes and stopped:
            return Integral(found[-1], base, tuned, tokens, tuple(history), stopped, _digest(batches))
    raise AssertionError("the last set of nodes always stops")


def _first(least: int) -> int:
    """The first set of at least so many nodes."""
    return next(size for size in sizes(4 * least + 1) if size >= least)


class _Integrand:
    """d(loss)/dα of every sequence and cell, evaluated once at each node."""

    def __init__(
        self, path: Path, batches: Sequence[Batch], progress: Progress | None, store: NodeStore
    ) -> None:
        self._path, self._batches, self._store = path, batches, store
        self._tell = progress or (lambda *_: None)
        self._values: dict[Node, Array] = {}

    def want(self, size: int, first: int) -> None:
        """Evaluate what is missing of a set, or of the first set that counts where that is larger."""
        missing = [node for node in nodes(max(size, first)) if node not in self._values]
        for i, node in enumerate(missing):
            self._values[node] = self._at(node, f"{max(size, first)} nodes", i, len(missing))

    def parts(self, size: int) -> Array:
        """The integral by the set of `size` nodes, (sequences, cells)."""
        pairs = zip(nodes(size), weights(size), strict=True)
        return np.asarray(sum(weight * self._values[node] for node, weight in pairs))

    def _at(self, node: Node, what: str, done: int, total: int) -> Array:
        # One process may find what the others do not, so the first one says what is kept.
        kept: Array | None = gathered(self._store.load(node) if world()[0] == 0 else None)[0]
        if kept is not None:
            return kept
        self._path.place(place(node))
        count = len(self._batches)

        def derivatives(index: int, batch: Batch) -> Array:
            self._tell(what, done * count + index, total * count)
            return self._path.derivatives(batch).numpy()

        (values,) = _shared(self._batches, lambda index, batch: (derivatives(index, batch),))
        if world()[0] == 0:
            self._store.save(node, values)
        return values


def _shared(
    batches: Sequence[Batch], measured: Callable[[int, Batch], tuple[Array, ...]]
) -> tuple[Array, ...]:
    """What is measured of every batch, in the order of the data; each process takes every n-th batch."""
    rank, size = world()
    mine = {i: measured(i, batch) for i, batch in enumerate(batches) if i % size == rank}
    found = {i: values for part in gathered(mine) for i, values in part.items()}
    return tuple(np.concatenate(column) for column in zip(*(found[i] for i in sorted(found)), strict=True))


def losses_at(path: Path, batches: Sequence[Batch], alphas: torch.Tensor | float) -> tuple[Array, Array]:
    """Summed loss and scored tokens of every sequence at one point of the path, both (sequences,)."""
    path.place(alphas)

    def losses(_: int, batch: Batch) -> tuple[Array, Array]:
        nats, tokens = path.losses(batch)
        return nats.numpy(), tokens.numpy()

    nats, tokens = _shared(batches, losses)
    return nats, tokens


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
            fix="leave labels at the tokens to be scored, or give texts of two tokens or more",
        )
    for which, losses in (("base", base), ("tuned", tuned)):
        if broken := int((~np.isfinite(losses)).sum()):
            raise BadInput(
                "loss-not-finite",
                f"the loss of the {which} model is not finite",
                expected="a finite loss of every sequence",
                found=f"{broken} of {len(losses)} sequences have a NaN or infinite loss",
                fix="check the model's weights; try --dtype float32",
            )
