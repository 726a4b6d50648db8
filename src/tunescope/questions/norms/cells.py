"""Single weights that changed far more, or far less, than their layer and their kind lead one to expect."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tunescope.measure.towers import Tower
from tunescope.questions.norms.places import Values, leading
from tunescope.questions.norms.words import is_size, of_measure, times
from tunescope.statistics.scatter import far_out, standing_out
from tunescope.statistics.tails import t5_scale
from tunescope.statistics.two_way import two_way
from tunescope.statistics.types import Float64, Int64
from tunescope.study.finding import Finding, merged, significant
from tunescope.words import named

# A weight is hot from this many times its expected value on, and has collapsed below this share of it.
HOT_RATIO, COLLAPSED_SHARE = 2.5, 1 / 50
# The share of studies without any such weight that may be given one.
HOT_ALPHA, COLLAPSED_ALPHA = 0.035, 0.01
# Weights this far from what is expected take no part in saying what is expected.
_APART = 2.0
# Of fewer weights the scatter is not known well enough for any to stand out of it.
LEAST_CELLS = 16


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a tower against a level for each layer and each kind.

    `over` is log(value/expected), the cell itself left out of what is expected; `scale` that of the t₅ law
    through what remains, for a cell with all others known. All `(layers, kinds)`.
    """

    tower: Tower
    expected: Float64
    over: Float64
    error: Float64
    scale: float
    n: int

    @cached_property
    def seen(self) -> Int64:
        """Flat indices of the cells that are there."""
        return np.flatnonzero(np.isfinite(self.over))

    def name(self, at: int) -> str:
        """The component at a flat index, empty where several experts stand there together."""
        row, column = divmod(at, int(self.over.shape[1]))
        return self.tower.names[row][column]

    @cached_property
    def places(self) -> list[tuple[str, int, str]]:
        """Stack, layer and kind of weight of the cells that are there."""
        stack, layers, kinds = self.tower.stack, self.tower.layers, self.tower.kinds
        rows, columns = (axis.tolist() for axis in divmod(self.seen, int(self.over.shape[1])))
        return [(stack, layers[row], kinds[column]) for row, column in zip(rows, columns, strict=True)]


def cells_of(tower: Tower) -> Cells | None:
    """Every cell against its layer and kind; `None` where there are too few to know their scatter."""
    logs = tower.logs
    seen = np.isfinite(logs)
    n = int(seen.sum())
    if n < LEAST_CELLS or min(logs.shape) < 1 or logs.shape[0] < 4:
        return None
    usual = seen.copy()
    for _ in range(int(0.1 * n)):
        fit = two_way(np.where(usual, logs, np.nan))
        left = np.where(usual, np.abs(logs - fit.expected) / (1 - fit.leverage), 0.0)
        if left.max() <= math.log(_APART):
            break
        usual.flat[int(left.argmax())] = False
    fit = two_way(np.where(usual, logs, np.nan))
    residual = (logs - fit.expected)[usual] / np.sqrt(1 - fit.leverage[usual])
    over = np.where(usual, (logs - fit.expected) / (1 - fit.leverage), logs - fit.expected)
    # A cell left out is foretold with 1 + h/(1 − h) = 1/(1 − h) times the variance of one cell.
    error = 1 / np.sqrt(1 - fit.leverage)
    return Cells(tower, logs - over, over, error, t5_scale(residual), n)


def cell_findings(models: Mapping[str, Sequence[Tower]], metric: str) -> list[Finding]:
    """Hot and collapsed weights over all models: one finding for each model, or for models with the same."""
    looked = [(model, found) for model, its in models.items() for t in its if (found := cells_of(t))]
    return [
        *_standing_out(looked, metric, hot=True),
        *(_standing_out(looked, metric, hot=False) if is_size(metric) else []),
    ]


def values_of(cells: Cells, hot: bool = True) -> Values:
    """How far every cell lies above what is expected of it, or below; in units of its scatter."""
    at = cells.seen
    over = cells.over.flat[at] * (1.0 if hot else -1.0)
    edge = math.log(HOT_RATIO) if hot else -math.log(COLLAPSED_SHARE)
    return Values(cells.places, over / (cells.error.flat[at] * cells.scale), over >= edge)


def _standing_out(looked: Sequence[tuple[str, Cells]], metric: str, hot: bool) -> list[Finding]:
    alpha = HOT_ALPHA if hot else COLLAPSED_ALPHA
    told, (p, *_) = leading(
        [values_of(cells, hot) for _, cells in looked], standing_out if hot else far_out, alpha
    )
    one: dict[str, list[tuple[Cells, int]]] = {}
    for (model, cells), chosen in zip(looked, told, strict=True):
        for i in cells.seen[chosen].tolist():
            if cells.name(i):
                one.setdefault(model, []).append((cells, i))
    total = sum(cells.n for _, cells in looked)
    single = [_finding(model, its, p, total, metric, hot) for model, its in one.items()]
    return merged(single, lambda f: f.components, lambda group: _together(group, metric, hot))


def _finding(
    model: str, found: Sequence[tuple[Cells, int]], p: float, total: int, metric: str, hot: bool
) -> Finding:
    its = sorted(found, key=lambda cell: -abs(cell[0].over.flat[cell[1]]))
    names = [cells.name(at) for cells, at in its]
    (cells, at), count = its[0], len(its)
    ratio = math.exp(cells.over.flat[at])
    value, expected = math.exp(cells.tower.logs.flat[at]), math.exp(cells.expected.flat[at])
    evidence = {
        "statistic": "value over what layer and kind lead one to expect",
        "value": ratio,
        "threshold": HOT_RATIO if hot else COLLAPSED_SHARE,
        "null": "scatter about a level for each layer and each kind: t₅, or the tail that other cells have",
        "p": p,
        "n": cells.n,
        "places_looked_at": total,
        "measured": value,
        "expected": expected,
        "scatter": cells.scale,
        "ratios": {name: math.exp(c.over.flat[i]) for name, (c, i) in zip(names, its, strict=True)},
    }
    rest = f" ({significant(value)} against {significant(expected)} in {of_measure(metric)})"
    text = f"{_what(names, hot)} {model}: {_size(ratio, count, hot)}{rest}."
    strength = abs(math.log(ratio)) / abs(math.log(float(evidence["threshold"])))  # type: ignore[arg-type]
    return Finding(
        "hot_cell" if hot else "collapsed",
        text,
        (model,),
        tuple(names),
        evidence=evidence,
        severity="note" if hot else "warning",
        strength=strength,
    )


def _what(names: Sequence[str], hot: bool) -> str:
    verb = ("stands" if len(names) == 1 else "stand") + " out" if hot else "hardly changed"
    return f"{named(names)} {verb} in"


def _size(ratio: float, count: int, hot: bool) -> str:
    size = times(ratio) if hot else f"1/{1 / ratio:,.0f} of"
    return f"{'the first ' if count > 1 else ''}{size} what its layer and its kind lead one to expect"


def _together(group: Sequence[Finding], metric: str, hot: bool) -> str:
    ratios = [f.evidence["value"] for f in group]
    models = named([f.models[0] for f in group], 12)
    size = times(min(ratios), max(ratios)) if hot else f"1/{1 / max(ratios):,.0f} or less of"
    first = "the first " if len(group[0].components) > 1 else ""
    return (
        f"{_what(group[0].components, hot)} {models}: {first}{size} what its layer and its kind lead one to "
        f"expect in {of_measure(metric)}."
    )
