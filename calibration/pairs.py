"""Studies of two models side by side in `norms`: which values moved, and updates of opposite signs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calibration.harness import Null, Planted, Scenario
from calibration.subspace import Model, delta_of, gaussian
from tunescope.linalg.changed import common_changes
from tunescope.linalg.rounding import rounded
from tunescope.measure.between import between
from tunescope.questions.norms.changed import same_values
from tunescope.questions.norms.pairs import opposite_updates

QUESTION = "norms"

Random = np.random.Generator
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moved:
    """Whole models of one base in bfloat16, two trained apart, or with a share of their values in common.

    Steps are of one size with random signs, times what a row and a column have in common (`scales`, a
    deviation of logarithms) and a value has of its own; of `sparse` models that share of values moves at
    all, of which `chosen` is the same in both; `rank` makes them low-rank updates instead.
    """

    size: int = 128
    weights: int = 2
    step: float = 3e-5
    scales: float = 0.0
    own: float = 0.0
    sparse: float | None = None
    chosen: float = 0.0
    rank: int = 0

    @property
    def words(self) -> str:
        """The shape in the table."""
        weights = f"{self.weights} weight{'s' * (self.weights > 1)}"
        return f"{weights} of {self.size} × {self.size}, bfloat16, 2 models"

    def __call__(self, random: Random) -> set[str]:
        shape = (self.size, self.size)
        counts = []
        for _ in range(self.weights):
            W = rounded((0.02 * random.standard_normal(shape)).astype(np.float32), "bfloat16")
            common = np.exp(self.scales * random.standard_normal((self.size, 1)))
            common = common * np.exp(self.scales * random.standard_normal((1, self.size)))
            here = random.random(shape) < self.chosen * (self.sparse or 0.0)
            a, b = (self._moved(random, W, self.step * common, here) for _ in range(2))
            counts.append(common_changes(a, b, np.abs(W)))
        return {finding.kind for finding in same_values("a", "b", counts)}

    def _moved(self, random: Random, W: Array, step: Array, here: NDArray[np.bool_]) -> NDArray[np.bool_]:
        signs = random.choice([-1.0, 1.0], size=W.shape)
        steps = signs * step * np.exp(self.own * random.standard_normal(W.shape))
        if self.rank:
            B, A = (random.standard_normal((self.size, self.rank)) for _ in range(2))
            steps = self.step / np.sqrt(self.rank) * B @ A.T
        if self.sparse is not None:
            steps = np.where(here | (random.random(W.shape) < self.sparse * (1 - self.chosen)), steps, 0.0)
        changed: NDArray[np.bool_] = rounded(W + steps.astype(np.float32), "bfloat16") != W
        return changed


def _opposite(random: Random, *, weights: int, r: int, d: int, noise: float | None = None) -> set[str]:
    """Two unrelated adapters, or one and its negative with some noise."""
    one, other = gaussian(random, weights, r, d, d), gaussian(random, weights, r, d, d)
    if noise is not None:
        other = [(-B + noise * C, A) for (B, A), (C, _) in zip(one, other, strict=True)]
    models = [(name, [delta_of(n, pair) for n, pair in enumerate(its)]) for name, its in _named(one, other)]
    return {finding.kind for finding in opposite_updates(between(models))}


def _named(one: Model, other: Model) -> list[tuple[str, Model]]:
    return [("a", one), ("b", other)]


def _null(law: str, draw: Moved) -> Null:
    return Null(QUESTION, ("same_values",), law, draw.words, draw)


_SAME, _OPPOSITE = "same_values", "opposite"
_SMALL, _MANY = "1 weight of 8 × 8, rank 1, 2 models", "8 weights of 64 × 64, rank 8, 2 models"
_Draw = Callable[[Random], set[str]]
_small: _Draw = partial(_opposite, weights=1, r=1, d=8)
_turned: _Draw = partial(_opposite, weights=8, r=8, d=64, noise=0.02)
_TWO_WEIGHTS = Moved().words
SCENARIOS: tuple[Scenario, ...] = (
    _null("steps of one size, rounding alone decides", Moved()),
    _null("tiny steps, rounding alone decides", Moved(step=3e-6)),
    _null("steps with scales of rows and columns in common, 70 %", Moved(scales=0.7)),
    _null("steps that differ by 100 % from value to value", Moved(own=1.0)),
    _null("unrelated updates of rank 8", Moved(rank=8)),
    _null("a tenth of the values, chosen apart", Moved(step=1e-3, sparse=0.1)),
    Null(QUESTION, (_OPPOSITE,), "unrelated adapters", _SMALL, _small),
    Planted(QUESTION, _SAME, "half of the values that move are chosen in common", "a tenth of the values",
            _TWO_WEIGHTS, Moved(step=1e-3, sparse=0.1, chosen=0.5)),
    Planted(QUESTION, _OPPOSITE, "one is minus the other", "2 % noise", _MANY, _turned),
)  # fmt: skip
