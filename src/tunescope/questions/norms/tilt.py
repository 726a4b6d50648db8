"""Did a model change its MLP more than its attention, or less, inside the same layers?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunescope.measure.towers import Tower
from tunescope.questions.norms.words import is_size, of_measure, times
from tunescope.statistics.location import Shift, groups_differ, mean_differs, sign_flips
from tunescope.statistics.multiplicity import holm
from tunescope.study.finding import Finding, merged
from tunescope.words import named

# Families differ when one's mean is this many times the other's.
TILT_RATIO = 1.25
# The share of studies without any effect that may be given a tilt.
ALPHA = 0.02
FLIPPED = 0.05
# The signs of fewer layers reach no p of 5 %.
LEAST_LAYERS = 6
# One kind of a family may differ by its width alone; where all shapes are alike it may stand for its family.
LEAST_KINDS = 2
# Fewer kinds leave no scatter of kinds to test against.
LEAST_OF_BOTH = 3


@dataclass(frozen=True, eq=False)
class Tilt:
    """MLP over attention in the layers of a tower that have the same kinds of both.

    `layers` is the difference of the families' mean logs with layers as draws, `kinds` with kinds of weight
    as draws: a family differs only where both say so. `p` is the larger of the two.
    """

    tower: Tower
    n_layers: int
    n_kinds: dict[str, int]
    layers: Shift
    kinds: Shift
    differences: np.ndarray[tuple[int], np.dtype[np.float64]]

    @property
    def p(self) -> float:
        """The larger p of the two tests, before correction."""
        return max(self.layers.p, self.kinds.p)

    @property
    def ratio(self) -> float:
        """The larger family's geometric mean over the smaller one's."""
        return math.exp(abs(self.layers.difference))

    @property
    def order(self) -> tuple[str, str]:
        """The family that changed more, and the other."""
        return ("mlp", "attention") if self.layers.difference > 0 else ("attention", "mlp")


def tilt_of(tower: Tower) -> Tilt | None:
    """MLP against attention; `None` below six layers with both, or two kinds of each that all have.

    Where all weights of a layer have one shape, three kinds of both together are enough.
    """
    families = np.array(tower.families)
    seen = np.isfinite(tower.logs)
    mlp, attention = families == "mlp", families == "attention"
    rows = np.flatnonzero(seen[:, mlp].any(axis=1) & seen[:, attention].any(axis=1))
    # Kinds that only some of these layers have would compare other layers with others.
    full = seen[rows].all(axis=0) if len(rows) else np.zeros(len(families), bool)
    mlp, attention = mlp & full, attention & full
    fewest = min(mlp.sum(), attention.sum())
    least = 1 if tower.one_shape and mlp.sum() + attention.sum() >= LEAST_OF_BOTH else LEAST_KINDS
    if len(rows) < LEAST_LAYERS or fewest < least:
        return None
    table = tower.logs[rows]
    differences = table[:, mlp].mean(axis=1) - table[:, attention].mean(axis=1)
    levels = table.mean(axis=0)
    return Tilt(
        tower,
        len(rows),
        {"mlp": int(mlp.sum()), "attention": int(attention.sum())},
        mean_differs(differences),
        groups_differ(levels[mlp], levels[attention]),
        differences,
    )


def tilt_findings(
    models: Mapping[str, Sequence[Tower]],
    metric: str,
    per_output: Mapping[str, Sequence[Tower]] | None = None,
) -> list[Finding]:
    """One finding for each direction in which some models tilt in one tower, over all models of the study.

    `per_output` are the towers of a size divided by the width of its weights: a tilt of the size itself is
    told only where it is one there too.
    """
    looked = _tilted(models)
    beside = {(model, t.tower.stack, t.order) for model, t, p in _tilted(per_output or {}) if p is not None}
    told = [
        _finding(model, tilt, p, len(looked), metric)
        for model, tilt, p in looked
        if p is not None and (per_output is None or (model, tilt.tower.stack, tilt.order) in beside)
    ]
    return merged(told, lambda f: (f.evidence["most"], f.evidence["stack"]), lambda g: _together(g, metric))


def _tilted(models: Mapping[str, Sequence[Tower]]) -> list[tuple[str, Tilt, float | None]]:
    """Every tower that can be tested, with the adjusted p of a tilt, `None` where there is none."""
    looked = [(model, found) for model, its in models.items() for t in its if (found := tilt_of(t))]
    adjusted = holm([tilt.p for _, tilt in looked]).tolist()
    return [
        (model, tilt, p if tilt.ratio >= TILT_RATIO and p <= ALPHA and _flips(tilt) else None)
        for (model, tilt), p in zip(looked, adjusted, strict=True)
    ]


def _flips(tilt: Tilt) -> bool:
    return sign_flips(tilt.differences) <= FLIPPED


def _finding(model: str, tilt: Tilt, p: float, towers: int, metric: str) -> Finding:
    evidence = {
        "statistic": "geometric mean of one family over the other's, inside layers",
        "value": tilt.ratio,
        "threshold": TILT_RATIO,
        "null": "families alike: kinds of weight as draws, and layers as draws",
        "p": p,
        "n": tilt.n_layers,
        "p_layers": tilt.layers.p,
        "p_kinds": tilt.kinds.p,
        "kinds": tilt.n_kinds,
        "places_looked_at": towers,
        "ratio": tilt.ratio,
        "most": tilt.order[0],
        "stack": tilt.tower.stack,
        "title": tilt.tower.title,
    }
    strength = math.log(tilt.ratio) / math.log(TILT_RATIO)
    text = _text(model, f"{times(tilt.ratio)}", evidence, metric, "its", str(tilt.n_layers))
    return Finding("family_tilt", text, (model,), evidence=evidence, strength=strength)


def _together(group: Sequence[Finding], metric: str) -> str:
    ratios = [f.evidence["ratio"] for f in group]
    layers = sorted({f.evidence["n"] for f in group})
    count = str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    names = named([f.models[0] for f in group], 12)
    return _text(names, times(min(ratios), max(ratios)), group[0].evidence, metric, "their", count)


def _text(who: str, factor: str, evidence: Mapping[str, object], metric: str, whose: str, layers: str) -> str:
    first, second = ("MLP", "attention") if evidence["most"] == "mlp" else ("attention", "MLP")
    where = f"inside the {layers} {evidence['title']}layers that have both"
    measure = of_measure(metric)
    if is_size(metric):
        both = f"{whose} {first} weights {factor} as much as {whose} {second} weights"
        return f"{who} changed {both} in {measure}, {where}."
    return f"In {who}, {measure} is {factor} as large in {first} weights as in {second} weights, {where}."
