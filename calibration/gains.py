"""Studies of the gain itself in `attribute`, on one data set and on two, and of weights put back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from calibration.attribution import QUESTION, frame_of, summary_of
from calibration.harness import Null, Planted, Scenario
from tunescope.questions.attribution.case import Case
from tunescope.questions.attribution.findings import attribution_findings, difference_findings
from tunescope.questions.attribution.put_back_findings import put_back

Random = np.random.Generator
Floats = NDArray[np.float64]
_MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


def _heavy(random: Random, shape: tuple[int, ...]) -> Floats:
    drawn: Floats = random.standard_t(5, shape) / np.sqrt(5 / 3)
    return drawn


def _skewed(random: Random, shape: tuple[int, ...]) -> Floats:
    drawn: Floats = (random.gamma(4.0, 1.0, shape) - 4) / 2
    return drawn


def _long(random: Random, shape: tuple[int, ...]) -> Floats:
    """Log-normal of deviation 0.8, skewness 3.7."""
    drawn: Floats = (np.exp(0.8 * random.standard_normal(shape)) - np.exp(0.32)) / 1.3
    return drawn


_Law = Callable[[Random, tuple[int, ...]], Floats]


@dataclass(frozen=True)
class Gain:
    """A fine-tune of four weights on data whose mean gain lies `errors` standard errors from zero."""

    sequences: int
    errors: float = 0.0
    law: _Law = _heavy

    @property
    def words(self) -> str:
        """The shape in the table."""
        return f"{self.sequences} sequences"

    def drawn(self, random: Random) -> tuple[pl.DataFrame, Any]:
        """The cells and the sums of one data set."""
        whole = self.law(random, (self.sequences, 1)) - self.errors / np.sqrt(self.sequences)
        parts = whole * np.array([0.4, 0.3, 0.2, 0.1])
        frame = frame_of(_MODULES, parts, np.ones(4), np.array([(0, j) for j in range(4)]))
        return frame, summary_of(frame, parts.sum(axis=1))

    def __call__(self, random: Random) -> set[str]:
        frame, summary = self.drawn(random)
        return {finding.kind for finding in attribution_findings(frame, summary, "m", "d")}


def gained_on_one(random: Random, sequences: int) -> set[str]:
    """A fine-tune that gains on one data set and does nothing on another."""
    sets = {"a": Gain(sequences, 6.0).drawn(random), "b": Gain(sequences).drawn(random)}
    frames, summaries = ({name: each[i] for name, each in sets.items()} for i in (0, 1))
    return {finding.kind for finding in difference_findings(frames, summaries, "m")}


@dataclass(frozen=True)
class PutBack:
    """`each` largest and as many random cells put back; what is measured follows what was attributed.

    `largest` and `random` say in which half it does, but for `scatter` (a deviation of logarithms); in the
    other half sizes are of their own. `turned` measures the opposite; `errors` is how many standard errors
    an effect of the usual size of its half is.
    """

    each: int = 8
    largest: bool = True
    random: bool = True
    scatter: float = 0.15
    turned: bool = False
    errors: float = 6.0
    sequences: int = 32

    @property
    def words(self) -> str:
        """The shape in the table."""
        return f"{self.each} largest and {self.each} random weights, {self.sequences} sequences"

    def __call__(self, random: Random) -> set[str]:
        cells = -np.sort(-np.exp(random.standard_normal(112)))
        chosen = {
            "largest": cells[: self.each],
            "random": random.choice(cells[self.each :], self.each, replace=False),
        }
        rows = pl.concat([self._half(random, name, values) for name, values in chosen.items()])
        frame = frame_of(_MODULES, -np.ones((2, 4)), np.ones(4), np.array([(0, j) for j in range(4)]))
        summary = {"sequences": self.sequences, "gain": 1.0, "gain_stderr": 0.1, "sum": -1.0}
        return {finding.kind for finding in put_back(Case(frame, summary, "m", "d"), rows)}

    def _half(self, random: Random, name: str, values: Floats) -> pl.DataFrame:
        follows = self.largest if name == "largest" else self.random
        own = values if follows else random.permutation(values)
        measured = -own * np.exp(self.scatter * random.standard_normal(len(values)))
        error = float(np.median(values)) / self.errors
        measured = (-measured if self.turned else measured) + error * random.standard_normal(len(values))
        n = len(values)
        columns = {
            "component_name": [f"{name} {i}" for i in range(n)], "chosen": [name] * n,
            "attribution": -values, "measured": measured, "measured_stderr": [error] * n,
        }  # fmt: skip
        return pl.DataFrame(columns)


def _null(kind: str, law: str, draw: Any) -> Null:
    return Null(QUESTION, (kind,), law, draw.words, draw)


def _planted(kind: str, effect: str, law: str, draw: Any, least: float | None = 0.9) -> Planted:
    return Planted(QUESTION, kind, effect, law, draw.words, draw, least)


_SETS = "2 data sets of 32 sequences"
_AS = "measured as attributed, 15 % apart"
_FOUR, _SIX = "a gain of 4 standard errors", "at 6 standard errors"
SCENARIOS: tuple[Scenario, ...] = (
    _null("gain", "no gain, sequences t₅", Gain(8)),
    _null("gain", "no gain, sequences skewed", Gain(16, law=_skewed)),
    *(Null(QUESTION, ("gain",), "not promised: no gain, sequences of a long tail, skewness 3.7", draw.words,
           draw, shown=True) for draw in (Gain(8, law=_long), Gain(64, law=_long))),
    _null("no_gain", f"{_FOUR}, sequences t₅", Gain(32, 4.0)),
    Null(QUESTION, ("gain_here_cost_there",), "a gain on one, nothing on the other", _SETS,
         partial(gained_on_one, sequences=32)),
    _null("attribution_agrees", "no order among random ones", PutBack(random=False)),
    _null("attribution_agrees", "no order among the largest", PutBack(largest=False)),
    _null("attribution_disagrees", "errors as large as the effects", PutBack(errors=1.0)),
    _null("put_back", "measured as attributed, 15 % apart", PutBack(16)),
    _planted("gain", "4 standard errors", "sequences t₅", Gain(32, 4.0)),
    _planted("no_gain", "no gain", "sequences t₅", Gain(32)),
    _planted("attribution_agrees", _AS, "effects " + _SIX, PutBack(12)),
    _planted("put_back", "measured effects in another order", "effects " + _SIX,
             PutBack(12, largest=False, random=False)),
    _planted("attribution_disagrees", "the opposite is measured", "effects " + _SIX, PutBack(turned=True)),
)  # fmt: skip
