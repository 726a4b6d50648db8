"""What was looked at in an attribution, and the smallest effects that would have been found."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from tunescope.questions.attribution.case import ALPHA, FEWEST_SEQUENCES, Case, Summary
from tunescope.questions.attribution.cell_findings import WORTH, level_of_one
from tunescope.questions.attribution.shape_findings import (
    TILT,
    TILT_SHARE,
    family_shift,
    leading_third,
    stacks_of,
    third_of,
)
from tunescope.statistics.laws import NINE_IN_TEN
from tunescope.statistics.location import upper_scale, visible_shift
from tunescope.study.finding import Finding, because, factor, least_found, significant, too_little_known
from tunescope.words import counted

Floats = NDArray[np.float64]
# Random orders of the layers in which a lead is put into each of their thirds.
_ORDERS, _HALVINGS = 10, 12
# Both tests of the families must be passed: each so often.
_EACH = 0.95
# What is promised, and the largest factor that is looked for.
_FOUND, _MOST = 0.9, 100.0
# Kinds that are about parts of the gain on one data set.
_OF_PARTS = {
    "early_layers", "middle_layers", "late_layers", "family_tilt", "works_against", "moved_without_effect",
    "effect_without_motion", "size_explains_map",
}  # fmt: skip


def visible_effects(case: Case) -> dict[str, float | None]:
    """For each kind of effect the least that is found nine times in ten, `None` where none would be.

    `gain` and `against` (what one weight does against the whole) are in nats per token, `third` and `tilt`
    factors. Where the gain itself is not told, nothing is looked for in its parts.
    """
    if not case.clear:
        return {"gain": visible_gain(case.summary), "third": None, "tilt": None, "against": None}
    return {
        "gain": visible_gain(case.summary),
        "third": _worst([_third(case, stack) for stack in stacks_of(case.frame)]),
        "tilt": _worst([_tilt(case, stack) for stack in stacks_of(case.frame)]),
        "against": _against(case),
    }


def looked_at(case: Case) -> dict[str, Any] | None:
    """What the parts of a gain were looked for in; `None` where the gain is not told."""
    if not case.clear:
        return None
    inside = case.frame.filter(pl.col("layer").is_not_null())
    return {
        "whole": case.whole,
        "weights": case.frame.height,
        "layers": inside.select("stack", "layer").n_unique(),
        "kinds": inside["module_type"].n_unique(),
    }


def visible_gain(summary: Summary) -> float | None:
    """The gain, or the rise, that would be told from none nine times in ten."""
    error, freedom = summary["gain_stderr"], int(summary["sequences"]) - 1
    if not error or freedom < 1:
        return None
    return visible_shift(error, freedom, ALPHA)


def _worst(seen: Sequence[float | None]) -> float | None:
    known = [value for value in seen if value is not None]
    return max(known) if known and len(known) == len(seen) else None


def _third(case: Case, stack: str) -> float | None:
    """Leads are put into each third of the layers, in random orders that leave no trend."""
    gross = third_of(case.frame, stack)
    if gross is None:
        return None
    random = np.random.default_rng(0)
    orders = [gross, *(random.permutation(gross) for _ in range(_ORDERS))]
    alpha = case.alpha / len(stacks_of(case.frame))

    def share(factor: float, gate: float = 0.0) -> float:
        places = [(order, third) for order in orders for third in range(3)]
        found = [leading_third(_with_lead(*place, factor), alpha, gate) for place in places]
        pairs = zip(found, places, strict=True)
        return float(np.mean([f is not None and f.leading == third for f, (_, third) in pairs]))

    # Layers are exchanged only at the end, for a few sizes.
    factor = _least(share)
    if factor is not None:
        # How far layers scatter is an estimate of few of them.
        factor = factor ** upper_scale(len(gross) - 3, NINE_IN_TEN)
    while factor is not None and share(factor, ALPHA) < _FOUND:
        factor = factor * 1.1 if factor < _MOST else None
    return factor


def _with_lead(values: Floats, third: int, factor: float) -> Floats:
    edges = [math.ceil(i * len(values) / 3) for i in range(4)]
    planted = values.copy()
    planted[edges[third] : edges[third + 1]] *= factor
    return planted


def _least(share: Callable[[float], float]) -> float | None:
    """The least factor with which nine in ten are found."""
    low, high = 0.0, math.log(_MOST)
    if share(_MOST) < _FOUND:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if share(math.exp(middle)) >= _FOUND else (middle, high)
    return math.exp(high)


def _tilt(case: Case, stack: str) -> float | None:
    found = family_shift(case.frame, stack)
    if found is None:
        return None
    alpha = case.alpha * TILT_SHARE / len(stacks_of(case.frame))
    tests = [visible_shift(s.error, s.freedom, alpha, _EACH) for s in (found.within, found.kinds)]
    least = max(*tests, math.log(TILT) + NINE_IN_TEN * found.kinds.error)
    return math.exp(least) if least < math.log(_MOST) else None


def _against(case: Case) -> float | None:
    """How much a single weight must do against the whole, whichever of them it is."""
    errors = case.frame["stderr"].drop_nulls().to_numpy()
    if case.n < FEWEST_SEQUENCES or not len(errors) or not errors.max() > 0:
        return None
    edge, freedom = level_of_one(case.frame.height, case.n, case.alpha), case.n - 1
    # What it does against the rest is worth a sentence from a share of all that was moved on, which is an
    # estimate here and would be one there.
    worth = WORTH / (1 - WORTH) * float(case.frame["attribution"].abs().sum())
    around = WORTH / (1 - WORTH) * math.sqrt(2) * float(case.summary["gain_stderr"])

    def share(size: float) -> float:
        told = stats.nct.sf(edge, freedom, size / np.maximum(errors, 1e-300))
        large = stats.norm.cdf((size - worth) / np.hypot(np.maximum(errors, 1e-300), around))
        return float(np.minimum(np.nan_to_num(told, nan=1.0), large).mean())

    low, high = 0.0, worth + 100 * float(errors.max())
    for _ in range(_HALVINGS + 10):
        middle = (low + high) / 2
        low, high = (low, middle) if share(middle) >= _FOUND else (middle, high)
    return high


def stands_out(findings: Iterable[Finding]) -> set[str]:
    """The data sets of whose gain a part stands out."""
    return {str(f.evidence.get("data")) for f in findings if f.kind in _OF_PARTS}


def nothing_stands_out(sets: Mapping[str, Summary], findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each data set of whose gain no part stands out: what would have been found."""
    told = {f["evidence"].get("data") for f in findings if f["kind"] in _OF_PARTS}
    quiet = {name: summary for name, summary in sets.items() if name not in told}
    return [text for name, summary in quiet.items() for text in _quiet(name, summary, len(sets) > 1)]


def _quiet(name: str, summary: Summary, several: bool) -> Iterator[str]:
    visible = summary.get("visible")
    if not visible or not summary["looked_at"]:
        return
    looked, on = summary["looked_at"], f" on {name}" if several else ""
    text = (
        f"Of the parts of the {looked['whole']}{on}, nothing stands out in "
        f"{counted(looked['weights'], 'weight')} of {counted(looked['layers'], 'layer')} and "
        f"{counted(looked['kinds'], 'kind')}, {counted(int(summary['sequences']), 'sequence')}."
    )
    seen = [words.format(_size(key, visible[key])) for key, words, _ in _EFFECTS if visible[key] is not None]
    if seen:
        text += least_found(seen)
    why = summary.get("unseen", {})
    blind = [because(words, why.get(key)) for key, _, words in _EFFECTS if visible[key] is None]
    if blind:
        text += too_little_known(blind)
    yield text


_EFFECTS = (
    ("third", "a third of the layers that does {} times what the others do", "thirds of the layers"),
    ("tilt", "weights of the MLP that do {} times what those of attention do, or the reverse",
     "MLP against attention"),
    ("against", "a weight that works against the rest by {} nats per token",
     "single weights against the rest"),
)  # fmt: skip


def _size(key: str, value: float) -> str:
    return significant(value, 2) if key == "against" else factor(value)
