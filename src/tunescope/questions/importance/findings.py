"""What an importance table says against chance, and the plain facts that qualify its maps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from tunescope.address import Address
from tunescope.linalg.ranks import ranks, spearman
from tunescope.questions.importance.levels import FEWEST_LAYERS, grid, levels_of
from tunescope.questions.importance.orders import (
    ALIKE,
    BOUNDS,
    DISAGREE,
    FEWEST_CELLS,
    upper_spearman,
)
from tunescope.questions.importance.reliability import reliability
from tunescope.questions.importance.views import said, size_spearman
from tunescope.statistics.groups import parts_differ, smooth_p
from tunescope.statistics.multiplicity import holm
from tunescope.statistics.neighbours import cuts
from tunescope.study.finding import Finding, merged
from tunescope.words import counted, named

Floats = NDArray[np.float64]
ALPHA = 0.05
# Sequences of unlike lengths are worth fewer than their number.
BELOW_ALPHA = ALPHA / 8
LEAD = 1.25  # a third of the layers stands out when its layers score this many times what the others do
UNIFORM = 0.25  # coefficient of variation over layers below which norms count as uniform
WORTH = 0.35  # two methods are said to disagree from here down, where 0.5 is surely not reached
SIZE = 0.7  # |Spearman| with the number of weights from which size explains a map
_CELL = ["stack", "layer", "parameter"]


def importance_findings(frame: pl.DataFrame, model_id: str, summary: Mapping[str, Any]) -> list[Finding]:
    """All findings, one for each fact with the methods that show it."""
    found: list[Finding] = []
    methods = [m for m in frame["method"].unique(maintain_order=True).to_list() if m != "bypass"]
    inside = frame.filter(pl.col("layer").is_not_null() & pl.col("score").is_not_null())
    parts = inside.partition_by("method", "stack", maintain_order=True, as_dict=True)
    for method in methods:
        for stack in [stack for of, stack in parts if of == method]:
            part = parts[method, stack]
            found += [*_depth(part, method, model_id, len(methods)), *_norms(part, method, model_id)]
            found += _disagreement(parts.get(("bypass", stack)), part, method, model_id)
        found += _size(frame, method, model_id)
    found = merged(found, lambda finding: (finding.kind, finding.evidence.get("stack")), _together)
    found += [*_between(frame, methods, model_id), *_below_zero(frame, model_id)]
    return found + list(_left_out(summary, model_id))


def _together(group: Sequence[Finding]) -> str:
    """The sentence of the strongest, for all the methods that say it."""
    strongest = max(group, key=lambda finding: finding.strength)
    others = [f.evidence["method"] for f in group if f is not strongest]
    return f"{strongest.text} So {'does' if len(others) == 1 else 'do'} {named(others)}."


def _depth(part: pl.DataFrame, method: str, model_id: str, methods: int) -> Iterator[Finding]:
    """A third of the layers that scores more: layers with the same tensors, exchanged as wholes."""
    found = levels_of(part)
    if found is None:
        return
    kept, layers, levels = found
    parts = parts_differ(levels)
    edges, leading = cuts(len(kept)), int(np.argmax(parts.means))
    inside = np.zeros(len(kept), dtype=bool)
    inside[edges[leading] : edges[leading + 1]] = True
    lead = math.exp(float(levels[inside].mean() - levels[~inside].mean()))
    p = max(*smooth_p([parts]), parts.p_exchanged) * methods
    if p > ALPHA or lead < LEAD:
        return
    name = ("early", "middle", "late")[leading]
    span = [layers[int(i)] for i, chosen in zip(kept, inside, strict=True) if chosen]
    text = (
        f"The {name} layers, {span[0]} to {span[-1]}, score {lead:.1f} times as much as the others by "
        f"{said(method)}, tensor for tensor."
    )
    evidence = {
        "method": method,
        "stack": part["stack"][0],
        "statistic": "leading third / other layers",
        "value": lead,
        "threshold": LEAD,
        "null": "layers exchanged as wholes; neighbours alike as they are",
        "p": p,
        "n": len(kept),
    }
    yield Finding(f"{name}_layers", text, (model_id,), evidence=evidence, strength=lead)


def _norms(part: pl.DataFrame, method: str, model_id: str) -> Iterator[Finding]:
    """A plain fact: norm weights whose scores hardly differ between layers."""
    variation, names = {}, np.array(part["parameter"].to_list(), dtype=object)
    for parameter in dict.fromkeys(names.tolist()):
        scores = part["score"].to_numpy()[names == parameter]
        if Address("", 0, parameter).family == "norm" and len(scores) >= 4 and scores.mean() > 0:
            variation[parameter] = float(scores.std() / scores.mean())
    uniform = [name for name, value in variation.items() if value < UNIFORM]
    if uniform:
        worst = max(variation[name] for name in uniform)
        each = " or less" if len(uniform) > 1 else ""
        differ = "differ" if len(uniform) > 1 else "differs"
        text = (
            f"By {said(method)}, {named(uniform)} {differ} little between "
            f"the {part['layer'].n_unique()} layers: the scores' standard deviation is {worst:.0%} of their "
            f"mean{each}."
        )
        evidence = {
            "method": method,
            "stack": part["stack"][0],
            "variation": variation,
            "threshold": UNIFORM,
            "statistic": "standard deviation / mean over layers",
            "value": worst,
            "null": None,
            "p": None,
            "n": part["layer"].n_unique(),
        }
        yield Finding("uniform_norms", text, (model_id,), evidence=evidence, strength=0.2)


def _disagreement(
    bypass: pl.DataFrame | None, part: pl.DataFrame, method: str, model_id: str
) -> Iterator[Finding]:
    """Layer Importance and the layers' sums in surely different orders."""
    if bypass is None:
        return
    stack, bypass = part["stack"][0], bypass.sort("layer")
    layers, _, values = grid(part)
    sums, whole = np.nansum(values, axis=1), bypass["score"].to_numpy()
    if len(whole) != len(sums) or len(sums) < FEWEST_LAYERS:
        return
    rho = spearman(whole, sums)
    errors = bypass["stderr"].cast(pl.Float64).fill_null(math.inf).to_numpy()
    known = reliability(whole, errors, int(bypass["n"].fill_null(1).min() or 1))  # type: ignore[arg-type]
    bound = upper_spearman(rho, max(len(sums) / ALIKE, 4)) if np.isfinite(rho) else 1.0
    # What scatters of its own has no order that could be another: noise takes √reliability off a correlation.
    if known <= 0 or bound / math.sqrt(known) >= DISAGREE:
        return
    gaps = ranks(whole) - ranks(sums)
    more, less = layers[int(np.argmax(gaps))], layers[int(np.argmin(gaps))]
    text = (
        f"Leaving out whole layers orders them otherwise than their sums of {said(method)} do (Spearman "
        f"{rho:.2f} over {len(sums)} layers): layer {more} is missed more than its sum says, {less} less."
    )
    evidence = {
        "method": method,
        "stack": stack,
        "statistic": "Spearman of Layer Importance with the layers' sums",
        "value": rho,
        "spearman": rho,
        "bound": bound / math.sqrt(known),
        "reliability": known,
        "threshold": DISAGREE,
        "null": f"Spearman {DISAGREE:g}",
        "p": None,
        "n": len(sums),
        "layer_underrated": more,
        "layer_overrated": less,
    }
    yield Finding("layer_importance_disagrees", text, (model_id,), evidence=evidence, strength=1 - rho)


def _size(frame: pl.DataFrame, method: str, model_id: str) -> Iterator[Finding]:
    """A plain fact: the map's order is that of the tensors' sizes; what remains among the largest."""
    rho = size_spearman(frame, method)
    if rho is None or abs(rho) < SIZE:
        return
    cells = frame.filter((pl.col("method") == method) & pl.col("layer").is_not_null())
    top = _among_top(cells["score"].to_numpy(), cells["numel"].cast(pl.Float64).to_numpy())
    rest = "" if top is None else f", {top:.2f} among the quarter that scores most"
    text = (
        f"By {said(method)}, the map mostly shows tensor size (Spearman {rho:.2f} with the number of weights"
        f"{rest}): compare layers within a column, not columns."
    )
    evidence = {
        "method": method,
        "statistic": "Spearman with the number of weights",
        "value": rho,
        "threshold": SIZE,
        "spearman_numel": rho,
        "among_largest_quarter": top,
        "null": None,
        "p": None,
        "n": cells.height,
    }
    yield Finding("size_explains_map", text, (model_id,), evidence=evidence, strength=abs(rho))


def _among_top(scores: Floats, other: Floats) -> float | None:
    """Spearman among the quarter with the largest scores; `None` for fewer than 5 such cells."""
    finite = np.isfinite(scores) & np.isfinite(other)
    scores, other = scores[finite], other[finite]
    if len(scores) < FEWEST_CELLS:
        return None
    top = scores >= np.quantile(scores, 0.75)
    rho = spearman(scores[top], other[top])
    return rho if np.isfinite(rho) else None


def _between(frame: pl.DataFrame, methods: Sequence[str], model_id: str) -> Iterator[Finding]:
    """Two methods whose orders surely differ, over all cells or among those that matter by one of them."""
    inside = frame.filter(pl.col("layer").is_not_null() & pl.col("score").is_not_null())
    for a, b in combinations([m for m in methods if m in ("taylor", "curvature", "noise", "ablation")], 2):
        cells = [
            inside.filter(pl.col("method") == m)
            .group_by(_CELL, maintain_order=True)
            .agg(pl.col("score").sum())
            for m in (a, b)
        ]
        both = cells[0].join(cells[1], on=_CELL, suffix="_other", maintain_order="left")
        x, y = both["score"].to_numpy(), both["score_other"].to_numpy()
        if len(x) < FEWEST_CELLS:
            continue
        rho, tops = spearman(x, y), {a: _among_top(x, y), b: _among_top(y, x)}
        known = {m: value for m, value in tops.items() if value is not None}
        if not known or not np.isfinite(rho):
            continue
        of, least = min(known.items(), key=lambda item: item[1])
        count = math.ceil(len(x) / 4)
        bounds = [upper_spearman(r, m / ALIKE, BOUNDS) for r, m in ((rho, len(x)), (least, count))]
        if min(bounds) >= DISAGREE or min(rho, least) >= WORTH:
            continue
        text = (
            f"{said(a)} and {said(b)} order the tensors differently: Spearman {rho:.2f} over all {len(x)}, "
            f"{least:.2f} among the quarter that matters most by {of}."
        )
        evidence = {
            "statistic": "Spearman of two methods",
            "value": {"all": rho, "top": least},
            "methods": [a, b],
            "among_top": tops,
            "threshold": DISAGREE,
            "null": f"Spearman {DISAGREE:g}",
            "p": None,
            "n": len(x),
        }
        yield Finding("methods_disagree", text, (model_id,), evidence=evidence, strength=1 - min(rho, least))


def _below_zero(frame: pl.DataFrame, model_id: str) -> Iterator[Finding]:
    """Layers without which the loss is lower: how many, and of how many that is told from zero."""
    bypass = frame.filter(pl.col("method") == "bypass").sort("stack", "layer")
    below = bypass.filter(pl.col("score") < 0)
    if not below.height or "stderr" not in bypass.columns:
        return
    errors = bypass["stderr"].cast(pl.Float64).fill_null(math.inf).to_numpy()
    freedom = np.maximum(bypass["n"].fill_null(1).to_numpy() - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        tails = np.nan_to_num(stats.t.sf(-bypass["score"].to_numpy() / errors, freedom), nan=1.0)
    q = holm(tails)
    sure = bypass.filter(pl.Series(q <= BELOW_ALPHA))
    if not sure.height:
        return
    layers = [f"{row['layer']}" for row in sure.iter_rows(named=True)]
    text = (
        f"Layer Importance is below zero in {below.height} of "
        f"{counted(bypass.height, 'layer')}: without one of them "
        f"the loss is lower, told from zero in {sure.height} ({named(layers, 6)})."
    )
    evidence = {
        "statistic": "rise of the loss / standard error, one-sided t",
        "value": float(np.min((bypass["score"].to_numpy() / errors)[q <= BELOW_ALPHA])),
        "threshold": {"p": BELOW_ALPHA},
        "null": "no fall of the loss, Holm over layers",
        "p": float(q[q <= BELOW_ALPHA].max()),
        "n": int(freedom.max()) + 1,
        "below": below.height,
        "layers": bypass.height,
    }
    yield Finding("negative_layer_importance", text, (model_id,), evidence=evidence, strength=1.0)


def _left_out(summary: Mapping[str, Any], model_id: str) -> Iterator[Finding]:
    if left := summary.get("parameters_not_scored"):
        text = f"{counted(len(left), 'parameter')} could not be scored: {named(left)}."
        evidence = {"parameters": dict(left)}
        yield Finding("not_understood", text, (model_id,), evidence=evidence, severity="warning")
    if silent := summary.get("parameters_without_gradient"):
        text = (
            f"{counted(len(silent), 'parameter plays', 'parameters play')} no part in the loss "
            f"and {'scores' if len(silent) == 1 else 'score'} zero: {named(silent)}."
        )
        yield Finding("without_gradient", text, (model_id,), evidence={"parameters": list(silent)})
