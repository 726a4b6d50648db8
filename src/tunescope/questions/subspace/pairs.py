"""What a pair of models has in common over all their weights, tested against random subspaces."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tunescope.linalg import overlap
from tunescope.questions.subspace.kinds import THRESHOLDS
from tunescope.statistics.laws import normal_tail
from tunescope.statistics.multiplicity import holm

Side = Literal["input", "output"]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
# The share of null studies in which a kind may be raised.
ALPHA = 0.05
# So many of the weights must be alike for the pair to be one run, or to have its inputs in common.
RUN, INPUTS = 0.75, 0.5
# The least that is worth saying: a quarter of the directions at this cos².
QUARTER, SQUARE = 0.25, 0.9
# An absence lies below this share of what that would give.
_SHARE = 0.7
# Below it, that two runs span alike directions in bases of their own is no explanation for alike factors.
START_P = 1e-3


@dataclass(frozen=True, eq=False)
class Pair:
    """One pair's weights that have numbers on both sides, and what the study's tests leave of them.

    `sure` says per side which weights overlap beyond random subspaces, Holm over all weights and pairs;
    `compared` counts the weights of the whole pair.
    """

    a: str
    b: str
    rows: pl.DataFrame
    sure: dict[Side, Bools]
    p: dict[Side, Floats]
    compared: int

    def part(self, where: Bools) -> "Pair":
        """The pair in some of its weights, with what the tests of all of them left."""
        sure: dict[Side, Bools] = {side: values[where] for side, values in self.sure.items()}
        p: dict[Side, Floats] = {side: values[where] for side, values in self.p.items()}
        return replace(self, rows=self.rows.filter(pl.Series(where)), sure=sure, p=p)

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        return {}

    def column(self, name: str) -> Floats:
        """A column as floats, NaN where there is none."""
        if name not in self._columns:
            self._columns[name] = self.rows[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
        return self._columns[name]

    def excess(self, side: Side) -> Floats:
        """(φ − chance)/(1 − chance) of the whole spans."""
        return self.column(f"excess_{side}")

    def some(self, side: Side) -> Bools:
        """Where more is in common than chance gives, and as much as is worth saying."""
        counted = np.nan_to_num(self.column(f"dimensions_shared_{side}")) >= 1
        worth: Bools = self.sure[side] & ((self.excess(side) >= THRESHOLDS["little"]) | counted)
        return worth

    @property
    def run_like(self) -> Bools:
        """Where two steps of one run would agree: both sides, and ΔW itself."""
        together = np.nan_to_num(self.column("delta_cosine")) >= THRESHOLDS["same_run_cosine"]
        outputs = self.sure["output"] & (self.excess("output") >= THRESHOLDS["little"])
        alike: Bools = (self.excess("input") >= THRESHOLDS["same_start"]) & outputs & together
        return alike

    @property
    def inputs_alike(self) -> Bools:
        """Where the input sides agree by more than adapters of one base do."""
        alike: Bools = self.sure["input"] & (self.excess("input") >= THRESHOLDS["little"])
        return alike


def study_pairs(summary: pl.DataFrame) -> list[Pair]:
    """Every pair of different models, with one correction for all that the study looks at."""
    usable = summary.filter(
        (pl.col("model_a") != pl.col("model_b"))
        & pl.col("excess_input").is_not_null()
        & pl.col("excess_output").is_not_null()
    )
    tails = {side: _tails(usable, side) for side in ("input", "output")}
    both = holm(np.concatenate([tails["input"], tails["output"]]))
    corrected = {"input": both[: usable.height], "output": both[usable.height :]}
    found = []
    for a, b in summary.select("model_a", "model_b").unique(maintain_order=True).iter_rows():
        here = ((usable["model_a"] == a) & (usable["model_b"] == b)).to_numpy()
        if a == b or not here.any():
            continue
        p: dict[Side, Floats] = {"input": corrected["input"][here], "output": corrected["output"][here]}
        sure: dict[Side, Bools] = {side: values <= ALPHA for side, values in p.items()}
        found.append(Pair(a, b, usable.filter(pl.Series(here)), sure, p, int(here.sum())))
    return found


def _tails(rows: pl.DataFrame, side: str) -> Floats:
    """p of each weight's overlap under random subspaces: the whole spans, or the directions counted."""
    whole, counted = (
        rows[name].cast(pl.Float64).fill_null(1.0).to_numpy()
        for name in (f"overlap_{side}_p", f"dimensions_shared_{side}_p")
    )
    tails: Floats = np.minimum(2 * np.minimum(whole, counted), 1.0)
    return tails


def one_start(pair: Pair) -> tuple[float | None, float]:
    """Mean cosine of the factors A, entry by entry, and its p where inputs were learned alike.

    Two runs that learned the same r input directions hold them in bases of their own: the cosine of a weight
    is then 0 with a standard deviation of 1/r.
    """
    cosines = pair.column("start_cosine")
    known = np.isfinite(cosines)
    if not known.any():
        return None, 1.0
    ranks = pair.column("rank_a")[known]
    deviation = math.sqrt(float((1 / ranks**2).sum())) / int(known.sum())
    mean = float(cosines[known].mean())
    return mean, normal_tail(mean / deviation)


def started_alike(pair: Pair) -> bool:
    """Whether the factors themselves tell a common start, rather than inputs that were learned alike."""
    mean, p = one_start(pair)
    return mean is not None and mean >= THRESHOLDS["start_cosine"] and p <= START_P


@dataclass(frozen=True, slots=True)
class Equivalence:
    """How much the weights of a pair could share unseen: upper bound of the mean excess against the limit.

    `tellable` says whether an excess of zero would lie surely below the limit: not where the spans fill the
    space, nor for few weights of few dimensions.
    """

    excess: float
    bound: float
    limit: float

    @property
    def tellable(self) -> bool:
        """Whether the absence of what is worth saying could be told at all."""
        return self.bound - self.excess < self.limit


def equivalence(pair: Pair, side: Side) -> Equivalence:
    """Hold the mean excess against what a quarter of the directions at cos² 0.9 would give.

    The bound is one-sided at 95 % with the deviation of random subspaces; the limit is 0.7 of that
    excess, and 0.15 at most: what adapters of one base share without a task in common lies below.
    """
    excess, limits, deviations = pair.excess(side), [], []
    for row in pair.rows.iter_rows(named=True):
        limit, deviation = sensitivity(row["rank_a"], row["rank_b"], row[_dimension(side)])
        limits.append(limit)
        deviations.append(deviation)
    low, sd = np.array(limits), np.array(deviations)
    mean = float(excess.mean())
    bound = mean + 1.645 * math.sqrt(float((sd**2).sum())) / len(sd)
    return Equivalence(mean, bound, float(low.mean()))


def _dimension(side: Side) -> str:
    return "d_in" if side == "input" else "d_out"


def sensitivity(k: int, other: int, d: int) -> tuple[float, float]:
    """The limit on the excess of one weight, and the deviation of the excess between random subspaces.

    >>> [round(x, 3) for x in sensitivity(16, 16, 768)]
    [0.15, 0.002]
    """
    few, many = sorted((k, other))
    mean, deviation = (float(part[-1, -1]) for part in overlap.chance_grid(few, many, d))
    if mean >= 1:
        return 0.0, 1.0
    q = math.ceil(QUARTER * few)
    rest = (few - q) * (many - q) / max(d - q, 1)
    planted = overlap.excess((SQUARE * q + rest) / few, mean)
    return min(THRESHOLDS["little"], _SHARE * planted), deviation / (1 - mean)


def whole_cosine(rows: pl.DataFrame) -> float | None:
    """Cosine of the whole ΔW over weights that were compared."""
    norms = [float((rows[name] ** 2).sum()) for name in ("norm_a", "norm_b")]
    # Two roots, as the product of two small squares can be 0.
    product = math.sqrt(norms[0]) * math.sqrt(norms[1])
    return max(-1.0, min(1.0, float(rows["inner"].sum()) / product)) if product > 0 else None


def length_ratio(rows: pl.DataFrame) -> float | None:
    """‖ΔW'‖/‖ΔW‖ over weights that were compared; `None` where a size is not known."""
    if rows["norm_a"].null_count() or rows["norm_b"].null_count():
        return None
    a, b = (float((rows[name] ** 2).sum()) for name in ("norm_a", "norm_b"))
    return math.sqrt(b) / math.sqrt(a) if a > 0 and b > 0 else None


def means(rows: pl.DataFrame, names: tuple[str, ...]) -> dict[str, Any]:
    """Means over weights, `None` where none has a number."""
    return {name: rows[name].mean() for name in names}
