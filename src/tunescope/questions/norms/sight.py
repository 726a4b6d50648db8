"""What was looked at, and the smallest effects that would have been found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tunescope.measure.depth import MOST_VISIBLE, depth_of, visible_thirds
from tunescope.measure.towers import Tower
from tunescope.questions.norms.cells import HOT_ALPHA, HOT_RATIO, cells_of, values_of
from tunescope.questions.norms.layers import LAYER_ALPHA, LAYER_RATIO, levels_of
from tunescope.questions.norms.places import Edge, Values, visible_from
from tunescope.questions.norms.tilt import ALPHA as TILT_ALPHA
from tunescope.questions.norms.tilt import TILT_RATIO, tilt_of
from tunescope.questions.norms.untested import untested, why_untested
from tunescope.statistics.laws import NINE_IN_TEN
from tunescope.statistics.location import visible_shift
from tunescope.statistics.scatter import apart_from, standing_from
from tunescope.statistics.types import Float64
from tunescope.study.finding import factor, least_found, listed
from tunescope.words import named

# Why no weight could be compared with those of other layers.
_NONE = {
    "unnumbered": "no weight's name states a layer",
    "unknown": "no weight's size is known",
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


def outside_layers(frame: pl.DataFrame, metric: str) -> int:
    """How many matrices outside the layers changed: with no others of their shape they are not tested."""
    outside = frame.filter(pl.col("layer").is_null() & (pl.col(metric).is_finite()) & (pl.col(metric) > 0))
    return outside.filter((pl.col("d_out") > 1) & (pl.col("d_in") > 1)).height


def looked_at(models: Mapping[str, Sequence[Tower]]) -> dict[str, Any]:
    """What was looked at, and for each kind of finding the least effect that is found nine times in ten.

    `third`, `layer`, `tilt` and `cell` are factors: under `each` those of every model with a tower, in the
    tower of it in which least is seen, `None` beyond thirtyfold and for the kinds of which `untested` says
    why they were not looked at; beside it those of the model in which least is seen.
    """
    owned = [(label, tower) for label, its in models.items() for tower in its]
    every = [tower for _, tower in owned]
    logs = {"third": _thirds(every), "layer": _layers(every), "tilt": _tilts(every), "cell": _cells(every)}
    of = {label: [i for i, (whose, _) in enumerate(owned) if whose == label] for label, _ in owned}
    return {
        "models": len(of),
        "towers": len(every),
        "layers": _span([len(tower.layers) for tower in every]),
        "kinds": _span([len(tower.kinds) for tower in every]),
        **{kind: _factor(found) for kind, found in logs.items()},
        "each": {
            label: {
                **{kind: _factor([found[i] for i in its]) for kind, found in logs.items()},
                "untested": {
                    kind: why_untested(kind, [every[i] for i in its])
                    for kind, found in logs.items()
                    if all(found[i] is None for i in its)
                },
            }
            for label, its in of.items()
        },
    }


def _span(numbers: Sequence[int]) -> list[int]:
    return [min(numbers, default=0), max(numbers, default=0)]


# For every tower the log of the least effect that is found, `None` where there is too little to look at.
Logs = list[float | None]


def _placed(found: Sequence[Any], seen: Sequence[float]) -> Logs:
    values = iter(seen)
    return [None if one is None else next(values) for one in found]


def _thirds(every: Sequence[Tower]) -> Logs:
    found = [depth_of(tower) for tower in every]
    seen = visible_thirds([depth for depth in found if depth is not None])
    return _placed(found, [math.log(factor) for factor in seen])


def _layers(every: Sequence[Tower]) -> Logs:
    found = [levels_of(tower) for tower in every]
    known = [levels for levels in found if levels is not None]
    values = [levels.values(levels.scale_of_all) for levels in known]
    scales = [np.full(len(levels.over), levels.scale_of_all) for levels in known]
    return _placed(found, _standing(values, scales, apart_from, LAYER_ALPHA, LAYER_RATIO))


def _tilts(every: Sequence[Tower]) -> Logs:
    found = [tilt_of(tower) for tower in every]
    known = [tilt for tilt in found if tilt is not None]
    alpha = TILT_ALPHA / max(len(known), 1)
    seen = [
        max(
            *(visible_shift(s.error, s.freedom, alpha) for s in (t.layers, t.kinds)),
            _beyond(TILT_RATIO, t.layers.error),
        )
        for t in known
    ]
    return _placed(found, seen)


def _cells(every: Sequence[Tower]) -> Logs:
    found = [cells_of(tower) for tower in every]
    known = [cells for cells in found if cells is not None]
    scales = [(c.error * c.scale).flat[c.seen] for c in known]
    return _placed(
        found, _standing([values_of(c) for c in known], scales, standing_from, HOT_ALPHA, HOT_RATIO)
    )


def _standing(
    found: Sequence[Values], scales: Sequence[Float64], edge_of: Edge, alpha: float, least: float
) -> list[float]:
    """For each tower the log of what nine in ten of its values must be of what is expected to stand out."""
    if not found:
        return []
    edge = visible_from(found, edge_of, alpha)
    pairs = zip(found, scales, strict=True)
    needed = [np.maximum(edge * scale, math.log(least)) - v.standard * scale for v, scale in pairs]
    return [float(np.quantile(each, 0.9)) for each in needed]


def _beyond(least: float, error: float) -> float:
    """The log of an effect that is measured above `least` nine times in ten."""
    return math.log(least) + NINE_IN_TEN * error


def _factor(logs: Sequence[float | None]) -> float | None:
    """The largest of some effects as a factor, `None` beyond thirtyfold and where none is known."""
    largest = max((log for log in logs if log is not None), default=math.inf)
    return math.exp(largest) if largest < math.log(MOST_VISIBLE) else None


def nothing_stands_out(looked: Mapping[str, Any]) -> str:
    """What stands in the place of findings where there are none."""
    each = looked.get("each")
    if each is None:  # a study that was saved before each model was looked at by itself
        return "Nothing stands out."
    if not each:
        return f"Nothing stands out; {_why(looked['uncompared'])}, so layers were not compared."
    models = f"{len(each)} models" if len(each) > 1 else "one model"
    kinds = f"{_between(looked['kinds'])} kind{'s' * (looked['kinds'][1] > 1)} of weight"
    layers = f"{_between(looked['layers'])} layer{'s' * (looked['layers'][1] > 1)}"
    return f"Nothing stands out in {models} of {layers} and {kinds}.{_what_of(looked, list(each))}"


def _between(span: Sequence[int]) -> str:
    low, high = span
    return f"{high}" if low == high else f"{low} to {high}"


def _why(uncompared: Mapping[str, str]) -> str:
    """Why layers of no model were compared, by model where the reasons differ."""
    reasons = list(dict.fromkeys(uncompared.values()))
    return _NONE[reasons[0]] if len(reasons) == 1 else f"in {_by_reason(uncompared)}"


def _by_reason(uncompared: Mapping[str, str]) -> str:
    """Models of which layers were not compared, with the reason behind those that have it."""
    reasons: dict[str, list[str]] = {}
    for label, reason in uncompared.items():
        reasons.setdefault(reason, []).append(label)
    return listed([f"{named(labels)} ({_NONE[reason]})" for reason, labels in reasons.items()], "and")


def _what_of(looked: Mapping[str, Any], labels: Sequence[str]) -> str:
    """What could not be told of some models, what would have been found, and which were not compared."""
    each = {label: looked["each"][label] for label in labels}
    text = untested(each)
    if seen := _seen(list(each.values())):
        text += least_found(seen)
    if left := looked.get("uncompared"):
        text += f" Layers were not compared in {_by_reason(left)}."
    if outside := [label for label in labels if label in looked.get("outside", {})]:
        where = "" if len(looked["each"]) == 1 else f" in {named(outside)}"
        text += (
            f" Weights outside the layers, which have none of their kind beside them, were not tested{where}."
        )
    return text


# Findings that say where a model changed more than elsewhere.
_PLACES = ("early_layers", "middle_layers", "late_layers", "hot_layer", "family_tilt", "hot_cell")


# More models than this without a finding are counted, not named.
_FEW = 4


def nothing_in_others(
    looked: Mapping[str, Any], labels: Sequence[str], findings: Sequence[Mapping[str, Any]]
) -> str:
    """That nothing stands out in the models without such a finding; empty where all have one, or none has."""
    told = {label for f in findings if f["kind"] in _PLACES for label in f["models"]}
    rest = [label for label in labels if label not in told and label in looked.get("each", ())]
    if not told or not rest:
        return ""
    who = named(rest) if len(rest) <= _FEW else f"the {len(rest)} other models"
    return f"Nothing stands out in {who}.{_what_of(looked, rest)}"


_EFFECTS = (
    ("third", "a third of the layers {} another"),
    ("layer", "a whole layer {} the median one"),
    ("tilt", "MLP and attention {} apart"),
    ("cell", "a weight {} what is expected of it"),
)


def _seen(each: Sequence[Mapping[str, Any]]) -> list[str]:
    """The least effects that would have been found, in words: of several models as a range."""
    told = []
    for key, words in _EFFECTS:
        if known := [model[key] for model in each if model[key] is not None]:
            low, high = (f"{factor(value)}×" for value in (min(known), max(known)))
            told.append(
                words.format(low) if low == high else f"{words.format(f'{low} to {high}')} (by model)"
            )
    return told
