"""Single weights that changed far more, or far less, than their layer and their kind lead one to expect."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.measure.towers import Tower
from tunescope.questions.norms.words import is_size, of_measure, times
from tunescope.statistics.scatter import standing_out
from tunescope.statistics.tails import leading_outliers, t5_scale
from tunescope.statistics.two_way import two_way
from tunescope.statistics.types import Float64
from tunescope.study.finding import Finding, merged, named, significant

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

    def name(self, at: int) -> str:
        """The component at a flat index, empty where several experts stand there together."""
        row, column = divmod(at, int(self.over.shape[1]))
        return self.tower.names[row][column]


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


def _standing_out(looked: Sequence[tuple[str, Cells]], metric: str, hot: bool) -> list[Finding]:
    edge = math.log(HOT_RATIO) if hot else -math.log(COLLAPSED_SHARE)
    values = [(cells.over if hot else -cells.over) for _, cells in looked]
    standard = [v / (c.error * c.scale) for v, (_, c) in zip(values, looked, strict=True)]
    flat = np.concatenate([np.nan_to_num(t, nan=-np.inf).ravel() for t in standard] or [np.zeros(0)])
    large = np.concatenate([np.nan_to_num(v, nan=0.0).ravel() for v in values] or [np.zeros(0)]) >= edge
    seen, most = flat[np.isfinite(flat)], int(large.sum())
    count, p = standing_out(seen, most, HOT_ALPHA) if hot else leading_outliers(seen, most, COLLAPSED_ALPHA)
    first = np.zeros(len(flat), bool)
    first[np.argsort(-flat, kind="stable")[:count]] = True
    one: dict[str, list[tuple[Cells, int]]] = {}
    start = 0
    for model, cells in looked:
        for at in np.flatnonzero((first & large)[start : start + cells.over.size]).tolist():
            if cells.name(at):
                one.setdefault(model, []).append((cells, at))
        start += cells.over.size
    total = sum(cells.n for _, cells in looked)
    told = [_finding(model, its, p, total, metric, hot) for model, its in one.items()]
    return merged(told, lambda f: f.components, lambda group: _together(group, metric, hot))


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
