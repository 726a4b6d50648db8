"""Places of a study where values stand out: what several models have at one place is one draw."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.statistics.tails import t5_scale
from tunescope.statistics.types import Bool, Float64, Int64

# The share of the level for the largest value of the models at a place; the rest is for their mean there.
_LARGEST = 0.85

# Values at places, how many may lead, a level, and all values that they are the largest of, which know the
# scatter: gives how many lead, and the p of that with those that belong to it.
Test = Callable[[Float64, int, float, Float64], tuple[float, ...]]
# The same of where one more value would lead.
Edge = Callable[[Float64, float, Float64], float]


@dataclass(frozen=True, eq=False)
class Values:
    """The values of one tower: where they stand, in units of their scatter, and whether they are large."""

    places: Sequence[Hashable]
    standard: Float64
    large: Bool


def leading(towers: Sequence[Values], test: Test, alpha: float) -> tuple[list[Bool], tuple[float, ...]]:
    """Which values of every tower lead, at level `alpha` for the study; and the p's of that.

    Models that were trained alike scatter alike, so places are the draws. The largest value that any model
    has at a place is tested against those at other places; where models share places, so is the mean of their
    values there, which scatters less where models scatter by themselves. The two tests share the level.
    """
    table, at = _side_by_side(towers)
    places = {int(i) for columns, tower in zip(at, towers, strict=True) for i in columns[tower.large]}
    if not places:
        return [np.zeros(len(tower.large), dtype=bool) for tower in towers], (1.0,)
    bar, p = _leading(table, len(places), test, alpha)
    told = [t.large & (t.standard > bar[columns]) for t, columns in zip(towers, at, strict=True)]
    return told, p


def visible_from(towers: Sequence[Values], edge_of: Edge, alpha: float) -> float:
    """From where on one more value of one tower would lead, in the units of the values."""
    table, _ = _side_by_side(towers)
    seen = np.isfinite(table)
    several = bool(seen.sum(axis=0).max() > 1)
    largest = np.where(seen, table, -np.inf).max(axis=0)
    return edge_of(largest, alpha * (_LARGEST if several else 1.0), table[seen])


def _side_by_side(towers: Sequence[Values]) -> tuple[Float64, list[Int64]]:
    """The values `(towers, places)`, NaN where a tower has no such place, and the places of each tower."""
    column: dict[Hashable, int] = {}
    at = [np.array([column.setdefault(key, len(column)) for key in t.places], dtype=int) for t in towers]
    table = np.full((len(towers), len(column)), np.nan)
    for row, (columns, tower) in enumerate(zip(at, towers, strict=True)):
        table[row, columns] = tower.standard
    return table, at


def _leading(table: Float64, most: int, test: Test, alpha: float) -> tuple[Float64, tuple[float, ...]]:
    """From where on a value `(towers, places)` leads at each place, infinite where none does; and the p's."""
    seen = np.isfinite(table)
    models = seen.sum(axis=0)
    bar = np.full(table.shape[1], np.inf)
    several = models.max() > 1
    share = _LARGEST if several else 1.0
    largest = np.where(seen, table, -np.inf).max(axis=0)
    found, *p = test(largest, most, alpha * share, table[seen])
    order = np.argsort(-largest, kind="stable")
    bar[order[: int(found)]] = largest[order[int(found)]] if found else np.inf
    shared = np.flatnonzero(models == models.max())
    if several and len(shared) > 1:
        means = np.nanmean(table[:, shared], axis=0)
        means -= np.median(means)
        means /= t5_scale(means)
        count, *q = test(means, most, alpha * (1 - share), means)
        bar[shared[np.argsort(-means, kind="stable")[: int(count)]]] = -np.inf
        if count and (not found or q[0] / (1 - share) < p[0] / share):
            p, share = q, 1 - share
    return bar, tuple(min(x / share, 1.0) for x in p)
