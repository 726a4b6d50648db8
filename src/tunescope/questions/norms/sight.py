"""What was looked at, and the smallest effects that would have been found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tunescope.measure.depth import LEAST_LAYERS as LEAST_FOR_DEPTH
from tunescope.measure.depth import MOST_VISIBLE, depth_of, visible_third
from tunescope.measure.towers import Tower
from tunescope.questions.norms.cells import HOT_ALPHA, HOT_RATIO, cells_of, values_of
from tunescope.questions.norms.layers import LAYER_ALPHA, LAYER_RATIO, levels_of
from tunescope.questions.norms.places import Edge, Values, visible_from
from tunescope.questions.norms.tilt import ALPHA as TILT_ALPHA
from tunescope.questions.norms.tilt import TILT_RATIO, tilt_of
from tunescope.statistics.laws import NINE_IN_TEN
from tunescope.statistics.location import visible_shift
from tunescope.statistics.scatter import apart_from, standing_from
from tunescope.statistics.types import Float64
from tunescope.study.finding import factor, least_found, listed, named

# Why no weight could be compared with those of other layers.
_NONE = {
    "unnumbered": "no weight's name states a layer",
    "unknown": "no weight in a numbered layer has a number",
    "unchanged": "no weight in a numbered layer changed",
    "kinds": "in numbered layers only norms and biases changed",
}


def uncompared(frame: pl.DataFrame, metric: str) -> str:
    """Why no row of a norms table is in a tower, where none is: a key of the readout's `looked_at`."""
    inside = frame.filter(pl.col("layer").is_not_null())
    if frame.height and not inside.height:
        return "unnumbered"
    finite = inside.filter(pl.col(metric).is_finite())
    if inside.height and not finite.height:
        return "unknown"
    return "kinds" if finite.filter(pl.col(metric) > 0).height else "unchanged"


def looked_at(models: Mapping[str, Sequence[Tower]]) -> dict[str, Any]:
    """What was looked at, and for each kind of finding the least effect that is found nine times in ten.

    `third`, `layer`, `tilt` and `cell` are factors, that of the model in which least is seen; `None` where
    there is too little to see any.
    """
    every = [tower for its in models.values() for tower in its]
    layers = [len(tower.layers) for tower in every]
    return {
        "models": len(models),
        "towers": len(every),
        "layers": [min(layers, default=0), max(layers, default=0)],
        "kinds": max((len(tower.kinds) for tower in every), default=0),
        "third": _third(every),
        "layer": _layer(every),
        "tilt": _tilt(every),
        "cell": _cell(every),
    }


def _third(every: Sequence[Tower]) -> float | None:
    return visible_third([depth for tower in every if (depth := depth_of(tower)) is not None])


def _layer(every: Sequence[Tower]) -> float | None:
    found = [levels for tower in every if (levels := levels_of(tower)) is not None]
    values = [levels.values(levels.scale_of_all) for levels in found]
    scales = [np.full(len(levels.over), levels.scale_of_all) for levels in found]
    return _standing(values, scales, apart_from, LAYER_ALPHA, LAYER_RATIO)


def _tilt(every: Sequence[Tower]) -> float | None:
    found = [tilt for tower in every if (tilt := tilt_of(tower)) is not None]
    alpha = TILT_ALPHA / max(len(found), 1)
    seen = [
        max(
            *(visible_shift(s.error, s.freedom, alpha) for s in (t.layers, t.kinds)),
            _beyond(TILT_RATIO, t.layers.error),
        )
        for t in found
    ]
    return _factor(seen)


def _cell(every: Sequence[Tower]) -> float | None:
    found = [cells for tower in every if (cells := cells_of(tower)) is not None]
    scales = [(c.error * c.scale).flat[c.seen] for c in found]
    return _standing([values_of(cells) for cells in found], scales, standing_from, HOT_ALPHA, HOT_RATIO)


def _standing(
    found: Sequence[Values], scales: Sequence[Float64], edge_of: Edge, alpha: float, least: float
) -> float | None:
    """The factor at which nine in ten of some values over what is expected, with scales, stand out."""
    if not found:
        return None
    edge = visible_from(found, edge_of, alpha)
    pairs = zip(found, scales, strict=True)
    needed = [np.maximum(edge * scale, math.log(least)) - v.standard * scale for v, scale in pairs]
    return _factor([float(np.quantile(each, 0.9)) for each in needed])


def _beyond(least: float, error: float) -> float:
    """The log of an effect that is measured above `least` nine times in ten."""
    return math.log(least) + NINE_IN_TEN * error


def _factor(logs: Sequence[float]) -> float | None:
    """The largest of some effects as a factor, `None` beyond a hundredfold."""
    largest = max(logs, default=math.inf)
    return math.exp(largest) if largest < math.log(MOST_VISIBLE) else None


def nothing_stands_out(looked: Mapping[str, Any]) -> str:
    """What stands in the place of findings where there are none."""
    low, high = looked["layers"]
    if not high:
        why = _NONE[looked.get("uncompared", "unchanged")]
        return f"Nothing stands out; {why}, so layers were not compared."
    layers = f"{high}" if low == high else f"{low} to {high}"
    models = f"{looked['models']} models" if looked["models"] > 1 else "one model"
    kinds = f"{looked['kinds']} kind{'s' if looked['kinds'] > 1 else ''} of weight"
    text = (
        f"Nothing stands out in {models} of {layers} layer{'s' * (high > 1)} and {kinds}.{_untested(looked)}"
    )
    seen = _seen(looked)
    if seen:
        text += least_found(seen)
    return text


# Findings that say where a model changed more than elsewhere.
_PLACES = ("early_layers", "middle_layers", "late_layers", "hot_layer", "family_tilt", "hot_cell")


def nothing_in_others(
    looked: Mapping[str, Any], labels: Sequence[str], findings: Sequence[Mapping[str, Any]]
) -> str:
    """That nothing stands out in the models without such a finding; empty where all have one, or none has."""
    told = {label for f in findings if f["kind"] in _PLACES for label in f["models"]}
    rest = [label for label in labels if label not in told]
    if not told or not rest:
        return ""
    seen = _seen(looked)
    text = f"Nothing stands out in {named(rest, 12)}.{_untested(looked)}"
    return text + (least_found(seen) if seen else "")


def _seen(looked: Mapping[str, Any]) -> list[str]:
    """The least effects that would have been found, in words."""
    effects = (
        ("third", "a third of the layers {}× another"),
        ("layer", "a whole layer {}× the median one"),
        ("tilt", "MLP and attention {}× apart"),
        ("cell", "a weight {}× what is expected of it"),
    )
    return [words.format(factor(looked[key])) for key, words in effects if looked[key] is not None]


def _untested(looked: Mapping[str, Any]) -> str:
    """What could not be told, said before what would have been found: depth first."""
    text = ""
    if looked["third"] is None:
        few = looked["layers"][1] < LEAST_FOR_DEPTH
        text += " Depth was not tested: too few layers" if few else " Of depth nothing can be told"
        text += f" (it needs {LEAST_FOR_DEPTH})." if few else "."
    others = (("layer", "whole layers"), ("tilt", "MLP against attention"), ("cell", "single weights"))
    if blind := [words for key, words in others if looked[key] is None]:
        text += f" Too few layers or kinds of weight to tell of {listed(blind, 'and')}."
    return text
