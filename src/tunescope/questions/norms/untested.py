"""Why a comparison of layers or weights could not be made in a model, and what says so."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunescope.measure.depth import LEAST_LAYERS as LEAST_FOR_DEPTH
from tunescope.measure.towers import Tower
from tunescope.questions.norms.cells import LEAST_CELLS
from tunescope.questions.norms.tilt import LEAST_KINDS
from tunescope.questions.norms.tilt import LEAST_LAYERS as LEAST_FOR_TILT
from tunescope.study.finding import listed
from tunescope.words import named

# What is looked for, in the order in which it is told.
NAMES = {
    "third": "depth",
    "layer": "whole layers",
    "tilt": "MLP against attention",
    "cell": "single weights",
}
_REASONS = {
    "layers": f"fewer than {LEAST_FOR_DEPTH} layers have the same kinds of weight",
    "attention": "no MLP weight changed",
    "mlp": "no attention weight changed",
    "neither": "neither changed",
    "both": f"fewer than {LEAST_FOR_TILT} layers have both",
    "kinds": f"fewer than {LEAST_KINDS} kinds of one of them in all layers",
    "weights": f"fewer than {LEAST_CELLS} weights or 4 layers",
}
_SCATTER = "too much scatter"
# More models than this are counted, not named.
_FEW = 4


def why_untested(kind: str, towers: Sequence[Tower]) -> str:
    """The key of the reason why no tower of a model could be tested for a kind: that of the largest one."""
    if kind in ("third", "layer"):
        return "layers"
    return "weights" if kind == "cell" else _of_families(max(towers, key=lambda tower: tower.logs.size))


def _of_families(tower: Tower) -> str:
    seen, families = np.isfinite(tower.logs), np.array(tower.families)
    having = {name: seen[:, families == name].any(axis=1) for name in ("mlp", "attention")}
    there = [name for name, rows in having.items() if rows.any()]
    if len(there) < len(having):
        return there[0] if there else "neither"
    return "both" if (having["mlp"] & having["attention"]).sum() < LEAST_FOR_TILT else "kinds"


def untested(each: Mapping[str, Mapping[str, Any]]) -> str:
    """What could not be told of some models and why, depth first; empty where all could be.

    `each` holds the least effects that are found in every model, `None` where none is, and under `untested`
    the reasons of what was not looked at.
    """
    causes: dict[tuple[str, ...], list[str]] = {}
    for kind, words in NAMES.items():
        blind: dict[str, list[str]] = {}
        for label, model in each.items():
            if model[kind] is None:
                blind.setdefault(_reason(model, kind), []).append(label)
        for reason, labels in blind.items():
            causes.setdefault((reason, *labels), []).append(words)
    told = [(kinds, reason, _where(labels, len(each))) for (reason, *labels), kinds in causes.items()]
    noisy = [f"{listed(kinds, 'and')}{where}" for kinds, reason, where in told if reason == _SCATTER]
    text = f" Too much scatter to tell of {listed(noisy, 'and')}." if noisy else ""
    return text + "".join(
        f" Not tested{where}: {listed(kinds, 'and')} ({reason})."
        for kinds, reason, where in told
        if reason != _SCATTER
    )


def _reason(model: Mapping[str, Any], kind: str) -> str:
    key = model.get("untested", {}).get(kind)
    return _SCATTER if key is None else _REASONS[key]


def _where(labels: Sequence[str], of: int) -> str:
    """Of which models something could not be told, nothing where of all."""
    some = named(labels) if len(labels) < _FEW else f"{len(labels)} models"
    return "" if len(labels) == of else f" in {some}"
