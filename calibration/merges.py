"""Studies of `verify`: what a model in 16 or 32 bits holds of adapters that were merged rightly, or not."""

from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from calibration.harness import POWER, Null, Planted, Scenario
from calibration.subspace import delta_of
from tunescope.delta import InMemory, Pair
from tunescope.questions.verify.measure import Candidates, Replayed, replays
from tunescope.questions.verify.reading import Reading
from tunescope.questions.verify.verdict import judge

QUESTION = "verify"
# Verdicts that claim something of the merge; the others say that nothing can be told.
CLAIMS = (
    "as_expected", "not_merged", "merged_twice", "other_scale", "partly_merged", "other_change", "mixture",
)  # fmt: skip
DTYPES: Mapping[str, type] = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}
_RANK = 8

Random = np.random.Generator
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Merge:
    """`modules` square weights, and adapters of rank 8 that are in them with `coefficients`.

    ‖ΔW‖/‖W‖ is `size` each. Only one in `every` weights was merged; `other` adds an unrelated change of so
    many times the size of ΔW; where `rounded_first` the merger rounded ΔW to the grid first.
    """

    size: float = 5e-3
    grid: str = "bfloat16"
    coefficients: tuple[float, ...] = (1.0,)
    modules: int = 2
    width: int = 48
    every: int = 1
    other: float = 0.0
    rounded_first: bool = False

    @property
    def words(self) -> str:
        """The shape in the table."""
        count = len(self.coefficients)
        adapters = f"{count} adapters" if count > 1 else "1 adapter"
        weights = f"{self.modules} weight{'s' * (self.modules > 1)}"
        return f"{weights} of {self.width} × {self.width}, {self.grid}, {adapters}"

    def __call__(self, random: Random) -> set[str]:
        modules = [self._module(random, number) for number in range(self.modules)]
        readings = [reading for found in replays(modules) for reading in _readings(found)]
        return {judge(readings, [f"a{k}" for k in range(len(self.coefficients))]).verdict}

    def _module(self, random: Random, number: int) -> Candidates:
        kind = DTYPES[self.grid]
        W = (0.02 * random.standard_normal((self.width, self.width))).astype(kind).astype(np.float32)
        factors = [self._factors(random, W) for _ in self.coefficients]
        held = 0.0 if number % self.every else 1.0
        after = W.copy()
        for c, (B, A) in zip(self.coefficients, factors, strict=True):
            update = (B @ A).astype(kind).astype(np.float32) if self.rounded_first else B @ A
            after += np.float32(held * c) * update
        if self.other:
            B, A = self._factors(random, W)
            after += np.float32(self.other) * (B @ A)
        deltas = {f"a{k}": delta_of(number, pair) for k, pair in enumerate(factors)}
        pair = Pair(InMemory(W.astype(kind)), InMemory(after.astype(kind)))
        first = deltas["a0"]
        return Candidates(first.component_name, first.address, pair, W.shape, deltas)

    def _factors(self, random: Random, W: Array) -> tuple[Array, Array]:
        B, A = (random.standard_normal(shape) for shape in ((self.width, _RANK), (_RANK, self.width)))
        B *= self.size * np.linalg.norm(W) / np.linalg.norm(B @ A)
        return B.astype(np.float32), A.astype(np.float32)


def _readings(found: Replayed) -> list[Reading]:
    assert found.found is not None, found.status
    read = found.found
    return [
        Reading(
            label, found.module.component, float(read.values[k]), float(read.errors[k]), read.exact,
            read.unexplained, read.below_grid, found.moved, float(found.weights[k]),
            alpha=float(_RANK), rank=_RANK, scale=1.0,
        )
        for k, label in enumerate(found.labels)
    ]  # fmt: skip


def _law(what: str, merge: Merge) -> str:
    return f"{what}, ‖ΔW‖ {merge.size:g} of ‖W‖"


def _null(what: str, verdict: str, merge: Merge) -> Null:
    """Any claim but the right one is wrong."""
    return Null(QUESTION, tuple(c for c in CLAIMS if c != verdict), _law(what, merge), merge.words, merge)


def _planted(what: str, verdict: str, merge: Merge, least: float | None = POWER) -> Planted:
    return Planted(QUESTION, verdict, what, f"‖ΔW‖ {merge.size:g} of ‖W‖", merge.words, merge, least)


_ONCE = ("merged once", "as_expected")
_ABSENT = ("not merged", "not_merged")
_TWICE = ("merged twice", "merged_twice")
_SCALED = ("merged at 1.2 times the scale", "other_scale")
_PARTLY = ("merged in every other weight", "partly_merged")
_OTHER = ("merged, and an unrelated change of 0.3 ΔW beside it", "other_change")
_MIXED = ("merged with 0.7 and 0.3", "mixture")
# Of a few thousand values so small a ΔW moves ten.
_LEAST, _TINY, _SMALL, _LARGE = 1e-5, 3e-5, 3e-4, 3e-2

SCENARIOS: tuple[Scenario, ...] = (
    _null(*_ONCE, Merge(_LARGE)),
    _null(*_ONCE, Merge(_SMALL)),
    _null(*_ONCE, Merge(_TINY)),
    _null(*_ONCE, Merge(_SMALL, "float16")),
    _null(*_ONCE, Merge(_TINY, "float32")),
    _null("merged once, ΔW rounded first", "as_expected", Merge(rounded_first=True)),
    _null("each merged once", "as_expected", Merge(coefficients=(1.0, 1.0), modules=1)),
    _null(*_ABSENT, Merge(_TINY, coefficients=(0.0,))),
    _null(*_TWICE, Merge(_SMALL, coefficients=(2.0,))),
    _null(*_SCALED, Merge(_LEAST, coefficients=(1.2,))),
    _null(*_PARTLY, Merge(_LEAST, every=2)),
    _null(*_OTHER, Merge(_SMALL, other=0.3)),
    _null(*_MIXED, Merge(_SMALL, coefficients=(0.7, 0.3), modules=1)),
    _null("merged once, below the grid", "as_expected", Merge(3e-7)),
    _null("not merged, below the grid", "not_merged", Merge(3e-7, coefficients=(0.0,))),
    _planted(*_ONCE, Merge(_LARGE, "float16")),
    _planted(*_ONCE, Merge()),
    _planted(*_ONCE, Merge(_TINY)),
    _planted(*_ABSENT, Merge(_SMALL, coefficients=(0.0,))),
    _planted(*_TWICE, Merge(_TINY, coefficients=(2.0,))),
    _planted(*_SCALED, Merge(_SMALL, coefficients=(1.2,))),
    _planted(*_SCALED, Merge(_TINY, "float32", coefficients=(1.2,))),
    _planted(*_PARTLY, Merge(_SMALL, every=2)),
    _planted(*_OTHER, Merge(_SMALL, other=0.3)),
    _planted(*_OTHER, Merge(_LARGE, "float16", other=0.3)),
    _planted(*_MIXED, Merge(coefficients=(0.7, 0.3), modules=1)),
)
