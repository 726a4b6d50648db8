"""What leaving out whole layers does to the loss, in words: which counts most, where that is told."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tunescope.linalg.ranks import spearman
from tunescope.statistics.multiplicity import holm
from tunescope.study.finding import listed, significant
from tunescope.words import counted, named

ALPHA = 0.02
OF_LAYERS = (
    "stack",
    "layer",
    "layer_importance",
    "layer_importance_stderr",
    "layer_importance_behind_stderr",
)
# A rank correlation of fewer layers says little.
_FEWEST_RANKED = 7

Floats = NDArray[np.float64]
Layer = Mapping[str, Any]


def left_out(document: Mapping[str, Any]) -> list[str]:
    """What the loss does without whole layers: which counts most where that is told, the next, the median.

    A layer counts where leaving it out raises the loss (one-sided t over sequences, Holm over layers), and
    more than any other where it leads each by more than chance: t of the differences over the same
    sequences, two-sided, since the layer was chosen by these data (the largest against the next holds its
    level so: Hung & Fithian 2019). Both at 2 %.
    """
    layers = [row for row in document["layers"] or () if row.get("layer_importance") is not None]
    if len(layers) < 2:
        return []
    told = document["summary"]
    freedom = max(told["sequences"] - (told.get("sequences_skipped") or 0) - 1, 1)
    several = len({row["stack"] for row in layers}) > 1
    layers.sort(key=lambda row: -row["layer_importance"])
    names = [f"{row['stack'] + ' ' if several else ''}layer {row['layer']}" for row in layers]
    worth = _numbers(layers, "layer_importance")
    p = stats.t.sf(_ratio(worth, _numbers(layers, "layer_importance_stderr")), freedom)
    sure = np.flatnonzero(holm(np.nan_to_num(p, nan=1.0)) <= ALPHA)
    count = counted(len(layers), "layer")
    if not sure.size:
        return [f"No whole layer of {count} is told to matter: {_most(layers[0], names[0])}"]
    # A layer that scatters more may lie above the largest that is told.
    first = int(sure[0])
    text = (
        f"Leaving out {names[first]} as a whole raises the model's loss by {_rise(layers[first])} nats per "
        f"token, {_standing(layers, names, first, freedom)}, and the median is "
        f"{significant(float(np.median(worth)), 2)}{_lower(worth)}."
    )
    return [f"{text}{_agreement(layers, worth)}"]


def _most(row: Layer, name: str) -> str:
    """What leaving out the layer does that raises the loss most, or lowers it least; neither is told."""
    if row["layer_importance"] < 0:
        fall = dict(row) | {"layer_importance": -row["layer_importance"]}
        return (
            f"without any one of them the model's loss is lower, least so without {name}, by {_rise(fall)} "
            "nats per token."
        )
    return (
        f"left out, {name} raises the model's loss most, by {_rise(row)} nats per token, and that is "
        "not told from zero."
    )


def _standing(layers: Sequence[Layer], names: Sequence[str], first: int, freedom: int) -> str:
    """How a layer that counts stands among the others: above all, or with which it may be changed."""
    count = counted(len(layers), "layer")
    if first:
        return f"the most of {count} that is told from zero; {names[0]} has {_rise(layers[0])}"
    following = f"{names[1]} with {_rise(layers[1])}"
    if "layer_importance_behind_stderr" not in layers[0]:  # a study that was saved before these were measured
        return f"the most of {count}; next is {following}"
    worth = _numbers(layers, "layer_importance")
    gaps = _ratio(worth[0] - worth[1:], _numbers(layers[1:], "layer_importance_behind_stderr"))
    p = 2 * stats.t.sf(gaps, freedom)
    close = [names[int(k) + 1] for k in np.flatnonzero(~(p <= ALPHA))]
    if not close:
        return f"more than any other of {count}; next is {following}"
    return f"the most of {count}, but not told from {named(close)}; next is {following}"


def _numbers(layers: Sequence[Layer], name: str) -> Floats:
    return np.array([row.get(name) for row in layers], dtype=np.float64)


def _ratio(value: Floats, error: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = value / error
    return ratio


def _rise(row: Layer) -> str:
    error = row.get("layer_importance_stderr")
    around = "" if error is None else f" ± {significant(error, 2)}"
    return f"{significant(row['layer_importance'], 3)}{around}"


def _lower(worth: Floats) -> str:
    below = int((worth < 0).sum())
    return f"; without {counted(below, 'layer')} it falls" if below else ""


def _agreement(known: Sequence[Layer], worth: Floats) -> str:
    """Rank correlations of what leaving out layers costs with the methods' sums over them."""
    names = [name for name in known[0] if name not in OF_LAYERS]
    found = {name: spearman(worth, _numbers(known, name)) for name in names}
    told = [f"{rho:.2f} with those of {name}" for name, rho in found.items() if np.isfinite(rho)]
    if len(known) < _FEWEST_RANKED or not told:
        return ""
    return f" This order of layers agrees with their sums at Spearman {listed(told, 'and')}."
