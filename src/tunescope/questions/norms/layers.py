"""Whole layers that changed far more than the other layers of their tower, whatever the kind of weight."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunescope.measure.depth import LEAST_LAYERS
from tunescope.measure.towers import Tower
from tunescope.questions.norms.places import Values, leading
from tunescope.questions.norms.words import is_size, of_measure, times
from tunescope.statistics.location import medians_of_others
from tunescope.statistics.scatter import standing_apart
from tunescope.statistics.tails import t5_scale
from tunescope.statistics.two_way import common_block
from tunescope.statistics.types import Float64
from tunescope.study.finding import Finding, listed, merged
from tunescope.words import named

# A layer stands out from this many times the median of the others on.
LAYER_RATIO = 2.0
# The level of the leading layers given the next one; their gap is tested beside it.
LAYER_ALPHA = 0.015
# From so many kinds of weight on one of them does not move the median of all.
_FOR_MEDIAN = 3


@dataclass(frozen=True, eq=False)
class Levels:
    """How far each layer of a tower lies above the others, in logs: the median over its kinds of weight.

    Of two kinds it is the smaller of both, of one its own. A single weight moves neither a median of three
    kinds or more nor the smaller of two, so it makes no layer. `over` is `(layers,)`, over the median of the
    other layers; `scale` that of the t₅ law through the scatter of all but the highest, `scale_of_all` with
    it.
    """

    tower: Tower
    layers: tuple[int, ...]
    kinds: int
    over: Float64
    scale: float
    scale_of_all: float

    def values(self, scale: float | None = None) -> Values:
        """How far every layer lies above the others, in units of their scatter."""
        places = [(self.tower.stack, layer) for layer in self.layers]
        return Values(places, self.over / (scale or self.scale), self.over >= math.log(LAYER_RATIO))

    def components(self, at: int) -> tuple[str, ...]:
        """The weights of a layer that have a name of their own."""
        row = self.tower.layers.index(self.layers[at])
        return tuple(name for name in self.tower.names[row] if name)


def levels_of(tower: Tower) -> Levels | None:
    """The layers of a tower; `None` below seven layers with the same kinds of weight."""
    rows, columns = common_block(np.isfinite(tower.logs))
    if len(rows) < LEAST_LAYERS:
        return None
    table = tower.logs[np.ix_(rows, columns)]
    table = table - np.median(table, axis=0)
    level = np.median(table, axis=1) if len(columns) >= _FOR_MEDIAN else table.min(axis=1)
    over = level - medians_of_others(level)
    layers = tuple(tower.layers[i] for i in rows)
    lower = np.delete(level, int(np.argmax(level)))
    scales = (t5_scale(some - np.median(some)) for some in (lower, level))
    return Levels(tower, layers, len(columns), over, *scales)


def layer_findings(models: Mapping[str, Sequence[Tower]], metric: str) -> list[Finding]:
    """The layers that stand out over all models: one finding for each tower and set of layers."""
    looked = [(model, found) for model, its in models.items() for t in its if (found := levels_of(t))]
    if not looked:
        return []
    chosen, p = leading([levels.values() for _, levels in looked], standing_apart, LAYER_ALPHA)
    total = sum(len(levels.over) for _, levels in looked)
    told = [
        _finding(model, levels, np.flatnonzero(its).tolist(), p, total, metric)
        for (model, levels), its in zip(looked, chosen, strict=True)
        if its.any()
    ]
    return merged(
        told, lambda f: (f.evidence["stack"], *f.evidence["layers"]), lambda group: _together(group, metric)
    )


def _finding(
    model: str, levels: Levels, its: Sequence[int], p: Sequence[float], total: int, metric: str
) -> Finding:
    ratios = [math.exp(levels.over[at]) for at in its]
    evidence = {
        "statistic": f"{_over_kinds(levels.kinds)}a layer's value over the median of the other layers",
        "value": max(ratios),
        "least": min(ratios),
        "threshold": LAYER_RATIO,
        "null": "layers scatter by a t₄ law or the heavier tail that they have, and gaps are exponential",
        "p": p[0],
        "p_gap": p[1],
        "n": len(levels.over),
        "places_looked_at": total,
        "scatter": levels.scale,
        "kinds": levels.kinds,
        "layers": [levels.layers[at] for at in its],
        "stack": levels.tower.stack,
        "title": levels.tower.title,
    }
    strength = math.log(max(ratios)) / math.log(LAYER_RATIO)
    text = _text(model, times(min(ratios), max(ratios)), evidence, metric, str(len(levels.over)))
    names = tuple(name for at in its for name in levels.components(at))
    return Finding("hot_layer", text, (model,), names, evidence=evidence, strength=strength)


def _over_kinds(kinds: int) -> str:
    return {1: "", 2: "smaller over two kinds of weight of "}.get(kinds, "median over kinds of weight of ")


def _together(group: Sequence[Finding], metric: str) -> str:
    least, most = (pick(f.evidence[k] for f in group) for pick, k in ((min, "least"), (max, "value")))
    layers = sorted({f.evidence["n"] for f in group})
    count = str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    names = named([f.models[0] for f in group], 12)
    return _text(names, times(least, most), group[0].evidence, metric, count)


def _text(who: str, factor: str, evidence: Mapping[str, Any], metric: str, layers: str) -> str:
    what = "changed more" if is_size(metric) else "has larger values"
    many, kinds = len(evidence["layers"]) > 1, evidence["kinds"]
    lead = f"{'Layers' if many else 'Layer'} {_numbers(evidence['layers'])} of {who}"
    among, by = {1: ("", ""), 2: (", in both kinds of weight", " (the smaller of the two)")}.get(
        kinds, (", in all kinds of weight together", f" (median over {kinds} kinds of weight)")
    )
    return (
        f"{lead} {what.replace('has', 'have') if many else what} than the others{among}: {factor} the median "
        f"of the others among {layers} {evidence['title']}layers in {of_measure(metric)}{by}."
    )


def _numbers(layers: Sequence[int]) -> str:
    """Layers in a sentence, three or more in a row as a span: `3, 8 to 11 and 20`."""
    rows: list[list[int]] = []
    for layer in sorted(layers):
        if rows and layer == rows[-1][-1] + 1:
            rows[-1].append(layer)
        else:
            rows.append([layer])
    spans = [[f"{row[0]} to {row[-1]}"] if len(row) > 2 else [str(layer) for layer in row] for row in rows]
    return listed([part for span in spans for part in span], "and")
