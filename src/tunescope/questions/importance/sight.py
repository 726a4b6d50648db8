"""What was looked at in a map of importance, and the smallest effects that would have been found."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from tunescope.measure.depth import MOST_VISIBLE
from tunescope.questions.importance.findings import ALPHA, BELOW_ALPHA, LEAD, WORTH
from tunescope.questions.importance.levels import FEWEST_LAYERS, levels_of
from tunescope.questions.importance.orders import disagree_from
from tunescope.statistics.groups import parts_differ, smooth_levels, visible_lead
from tunescope.statistics.laws import NINE_IN_TEN
from tunescope.study.finding import because, least_found, significant, too_little_known
from tunescope.words import counted


def visible_effects(frame: pl.DataFrame) -> dict[str, float | None]:
    """For each kind of effect that was looked for the least that is found nine times in ten.

    `lead` is a factor between thirds of the layers, `below_zero` how much lower the loss must be without a
    layer in nats per token, `orders` the largest Spearman of two methods whose orders differ. `None` where
    none would be found; what was not measured is not there.
    """
    seen = {"lead": visible_lead_of(frame)}
    bypass = frame.filter(pl.col("method") == "bypass")
    if bypass.height:
        seen["below_zero"] = _below_zero(bypass)
    methods = set(frame["method"]) & {"taylor", "curvature", "noise", "ablation"}
    if len(methods) > 1:
        seen["orders"] = _orders(frame, sorted(methods)[0])
    return seen


def why_unseen(frame: pl.DataFrame, seen: Mapping[str, float | None]) -> dict[str, str]:
    """For every effect that is `None` in `visible_effects`, what keeps it from being found."""
    inside = frame.filter((pl.col("method") != "bypass") & pl.col("layer").is_not_null())
    most = inside.group_by("stack").agg(pl.col("layer").n_unique())["layer"].max()
    layers = int(most) if isinstance(most, int) else 0
    few = layers < FEWEST_LAYERS
    reasons = {
        "lead": f"{counted(layers, 'layer')} of {FEWEST_LAYERS} needed" if few else "layers differ too much",
        "below_zero": "their errors are not known",
        "orders": "too few tensors in numbered layers",
    }
    return {name: reasons[name] for name, size in seen.items() if size is None}


def _below_zero(bypass: pl.DataFrame) -> float | None:
    """Of a layer whose error is the middle one: a t test at the level of one of so many layers."""
    errors = bypass["stderr"].cast(pl.Float64).drop_nulls().to_numpy()
    n = int(bypass["n"].fill_null(1).min() or 1)  # type: ignore[arg-type]
    if n < 2 or not len(errors) or not np.median(errors) > 0:
        return None
    edge = float(stats.t.isf(BELOW_ALPHA / bypass.height, n - 1))
    # Errors of layers differ and are estimates: nine in ten of the layers would be found.
    low, high = 0.0, 100 * edge * float(errors.max())
    for _ in range(60):
        middle = (low + high) / 2
        found = np.nan_to_num(stats.nct.sf(edge, n - 1, middle / np.maximum(errors, 1e-300)), nan=1.0)
        low, high = (low, middle) if float(found.mean()) >= 0.9 else (middle, high)
    return high


def _orders(frame: pl.DataFrame, method: str) -> float | None:
    """The correlation over all tensors of which nine in ten measured ones lie below the bound."""
    cells = frame.filter((pl.col("method") == method) & pl.col("layer").is_not_null())
    edge = disagree_from(cells.select("stack", "layer", "parameter").n_unique())
    if edge is None:
        return None
    below, error = min(edge[0], WORTH), edge[1]
    seen = math.tanh(math.atanh(below) - NINE_IN_TEN * error)
    return seen if seen > -0.95 else None


def nothing_stands_out(document: Mapping[str, Any]) -> str:
    """What was looked at where no finding was made, and what would have been found."""
    tensors, visible = document["summary"]["parameters"], document["visible"]
    sequences = counted(document["summary"]["sequences"], "sequence")
    text = f"Nothing stands out in {counted(tensors, 'tensor')} and {sequences}."
    told = {key: value for key, value in visible.items() if value is not None}
    seen = [words.format(significant(told[key], 3)) for key, words, _ in _EFFECTS if key in told]
    if seen:
        text += least_found(seen)
    why = document.get("unseen", {})
    blind = [because(words, why.get(key)) for key, _, words in _EFFECTS if key in visible and key not in told]
    if blind:
        text += too_little_known(blind)
    return f"{text} No map shows only the sizes of tensors."


_EFFECTS = (
    ("lead", "a third of the layers that scores {} times what the others do", "thirds of the layers"),
    ("below_zero", "a layer without which the loss is {} nats per token lower", "layers that do harm"),
    ("orders", "orders of two methods that agree at Spearman {} or less", "whether two methods differ"),
)


def visible_lead_of(frame: pl.DataFrame) -> float | None:
    """The least lead of a third of the layers that would be found nine times in ten, by the worst method."""
    methods = [m for m in frame["method"].unique(maintain_order=True).to_list() if m != "bypass"]
    inside = frame.filter(pl.col("layer").is_not_null() & pl.col("score").is_not_null())
    seen = []
    for method in methods:
        for _, part in inside.filter(pl.col("method") == method).group_by("stack", maintain_order=True):
            if (levels := levels_of(part)) is not None:
                parts = parts_differ(levels[2])
                (level,) = smooth_levels([parts], ALPHA / len(methods))
                seen.append(visible_lead(len(levels[0]), parts.spread, level, LEAD))
    return max(seen) if seen and max(seen) < MOST_VISIBLE else None
