"""What an attribution says in words, each sentence with the numbers and thresholds it rests on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.questions.attribution.views import CLEAR, NAMED, QUARTER, outliers, ranked
from tunescope.study.finding import Finding, named, significant

# A third of the layers holds the gain when it has this share of it.
HOLDS = 0.5
# The families differ when their shares do by this factor.
TILT_RATIO = 1.5
# Size explains a map from this rank correlation on.
EXPLAINS = 0.8
# Below this rank correlation between attributed and measured effects, the map does not predict single cells.
AGREES = 0.5

Summary = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Case:
    """One attribution: its cells, its sums, and what tuned model and data are called."""

    frame: pl.DataFrame
    summary: Summary
    model: str
    data: str


def attribution_findings(
    frame: pl.DataFrame, summary: Summary, model: str, data: str, verification: pl.DataFrame | None = None
) -> list[Finding]:
    """All findings of one attribution; `data` is named in every one of them."""
    found: list[Finding] = []
    case = Case(frame, summary, model, data)
    for check in _CHECKS:
        found += check(case)
    if verification is not None:
        found += _verified(summary, verification, model, data)
    return found


def _gain(case: Case) -> Iterable[Finding]:
    summary, model, data = case.summary, case.model, case.data
    gain, error = summary["gain"], summary["gain_stderr"]
    evidence = {k: summary[k] for k in ("base_loss", "tuned_loss", "gain", "gain_stderr")} | {"data": data}
    if not case.frame["frobenius_norm_normalized"].sum():
        text = f"the tuned model and the base are identical: their loss on {data} is "
        text += f"{summary['base_loss']:.4g} nats per token, and there is no gain."
        yield Finding("no_gain", text, (model,), evidence=evidence, severity="warning")
        return
    both = f"from {summary['base_loss']:.4g} to {summary['tuned_loss']:.4g} nats per token"
    if error is not None and abs(gain) <= CLEAR * error:
        text = f"fine-tuning moved the loss on {data} {both}, within {CLEAR:g} standard errors of nothing."
        yield Finding(
            "no_gain", text, (model,), evidence={**evidence, "threshold": CLEAR * error}, severity="warning"
        )
        return
    give = "" if error is None else f" ± {significant(error, 2)}"
    if gain <= 0:
        text = f"fine-tuning raised the loss on {data} {both}, by {significant(-gain)}{give}."
        yield Finding("no_gain", text, (model,), evidence=evidence, severity="warning")
        return
    text = f"fine-tuning lowered the loss on {data} {both}: a gain of {significant(gain)}{give}."
    yield Finding("gain", text, (model,), evidence=evidence)


def _not_converged(case: Case) -> Iterable[Finding]:
    summary, model, data = case.summary, case.model, case.data
    if summary["converged"]:
        return
    text = (
        f"on {data} the cells add up to {significant(summary['sum'])} where the loss changed by "
        f"{significant(-summary['gain'])}: after {summary['nodes']} nodes the residual "
        f"{significant(summary['residual'])} is still above {significant(summary['tolerance'])}."
    )
    evidence = {k: summary[k] for k in ("sum", "gain", "residual", "tolerance", "nodes")} | {"data": data}
    yield Finding("not_converged", text, (model,), evidence=evidence, severity="warning")


def _thirds(case: Case) -> Iterable[Finding]:
    frame, summary, model, data = case.frame, case.summary, case.model, case.data
    layers = sorted(frame["layer"].drop_nulls().unique().to_list())
    if len(layers) < 3 or not _clear(summary):
        return
    cut = -(-len(layers) // 3), -(-2 * len(layers) // 3)
    parts = {"early": layers[: cut[0]], "middle": layers[cut[0] : cut[1]], "late": layers[cut[1] :]}
    shares = {k: float(frame.filter(pl.col("layer").is_in(v))["share"].sum()) for k, v in parts.items()}
    most = max(shares, key=lambda k: shares[k])
    if shares[most] < HOLDS:
        return
    span = parts[most]
    text = f"layers {span[0]}–{span[-1]} hold {_percent(shares[most])} of the {_whole(summary)} on {data}."
    yield Finding(f"{most}_layers", text, (model,), evidence={**shares, "threshold": HOLDS, "data": data})


def _tilt(case: Case) -> Iterable[Finding]:
    frame, summary, model, data = case.frame, case.summary, case.model, case.data
    if not _clear(summary):
        return
    shares: dict[str, float] = {}
    for module, share in (
        frame.group_by("module_type", maintain_order=True).agg(pl.col("share").sum()).iter_rows()
    ):
        family = Address("", 0, module).family
        shares[family] = shares.get(family, 0.0) + (share or 0.0)
    mlp, attention = shares.get("mlp", 0.0), shares.get("attention", 0.0)
    if min(mlp, attention) <= 0 or max(mlp, attention) < TILT_RATIO * min(mlp, attention):
        return
    most, least = ("mlp", "attention") if mlp > attention else ("attention", "mlp")
    ratio = shares[most] / shares[least]
    text = (
        f"{_family(most)} weights account for {_percent(shares[most])} of the {_whole(summary)} on {data}, "
        f"{_family(least)} weights for {_percent(shares[least])} ({ratio:.1f}×)."
    )
    yield Finding(
        "family_tilt",
        text,
        (model,),
        evidence={**shares, "ratio": ratio, "threshold": TILT_RATIO, "data": data},
    )


def _half(case: Case) -> Iterable[Finding]:
    frame, model, data = case.frame, case.model, case.data
    effect = frame.with_columns(pl.col("attribution").abs().alias("effect")).sort("effect", descending=True)
    total = float(effect["effect"].sum())
    if frame.height < 4 or not total:
        return
    count = int((effect["effect"].cum_sum() < 0.5 * total).sum()) + 1
    top = effect["component_name"].head(min(count, 3)).to_list()
    s = "s" if count == 1 else ""
    text = (
        f"{count} of {frame.height} changed weights hold{s} half of all that was moved in the loss on "
        f"{data}; the largest {'is' if len(top) == 1 else 'are'} {named(top)}."
    )
    evidence = {"cells": count, "of": frame.height, "share_of_cells": count / frame.height, "data": data}
    yield Finding("hot_cell", text, (model,), tuple(top), evidence=evidence)


def _against(case: Case) -> Iterable[Finding]:
    """Cells that clearly worked against the whole."""
    frame, summary, model, data = case.frame, case.summary, case.model, case.data
    sign = np.sign(summary["sum"])
    rows = frame.filter(
        (pl.col("attribution") * -sign > CLEAR * pl.col("stderr")) & (pl.col("attribution") != 0)
    )
    if not rows.height or not sign:
        return
    rows = rows.sort(pl.col("attribution").abs(), descending=True)
    total = float(rows["attribution"].sum())
    verb = "raised" if sign < 0 else "lowered"
    text = (
        f"{rows.height} of {frame.height} updates {verb} the loss on {data} against the rest, by "
        f"{significant(abs(total))} nats per token together: {named(_names(rows))}."
    )
    evidence = {"cells": rows.height, "sum": total, "threshold": f"{CLEAR:g} standard errors", "data": data}
    yield Finding("works_against", text, (model,), tuple(_names(rows)), evidence=evidence)


def _strangers(case: Case) -> Iterable[Finding]:
    frame = outliers(case.frame)
    for kind in ("moved_without_effect", "effect_without_motion"):
        rows = ranked(frame, kind)
        for row in rows.head(NAMED).iter_rows(named=True):
            yield _stranger(case, kind, row, rows.height)


def _stranger(case: Case, kind: str, row: Mapping[str, Any], count: int) -> Finding:
    name, change, effect, error = (
        row[key] for key in ("component_name", "frobenius_norm_normalized", "attribution", "stderr")
    )
    if kind == "effect_without_motion":
        text = "moved as little as the lowest quarter and has an effect in the top quarter"
    elif abs(effect) <= CLEAR * (error or 0.0):
        text = "moved as far as the top quarter, with no effect that can be told from zero"
    else:
        text = "moved as far as the top quarter, with an effect in the lowest quarter"
    more = f"‖ΔW‖/√d_out {significant(change)}, {significant(effect)} nats per token on {case.data}"
    evidence = {"change": change, "attribution": effect, "stderr": error, "quarter": QUARTER}
    evidence |= {"cells_of_this_kind": count, "data": case.data}
    return Finding(kind, f"{name} {text} ({more}).", (case.model,), (name,), evidence=evidence)


def _size(case: Case) -> Iterable[Finding]:
    summary, model, data = case.summary, case.model, case.data
    for key, what in (
        ("spearman_change_effect", "how far a weight moved (‖ΔW‖/√d_out)"),
        ("spearman_numel", "how many numbers a weight has"),
    ):
        found = summary[key]
        if found is not None and found >= EXPLAINS:
            text = f"{what} explains most of the map on {data}: Spearman {found:.2f} with |attribution|."
            evidence = {key: found, "threshold": EXPLAINS, "data": data}
            yield Finding("size_explains_map", text, (model,), evidence=evidence)


def _left(case: Case) -> Iterable[Finding]:
    summary, model = case.summary, case.model
    left = summary["not_attributed"]
    if left:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left.items())[:3])
        text = f"{len(left)} changed tensors are not attributed; the tuned loss is without them ({reasons})."
        yield Finding(
            "not_attributed",
            text,
            (model,),
            tuple(left),
            evidence={"tensors": len(left)},
            severity="warning",
        )


def _verified(summary: Summary, rows: pl.DataFrame, model: str, data: str) -> Iterable[Finding]:
    found = summary["verification"]
    correlation = found["spearman"]
    attributed, measured = rows["attribution"].to_numpy(), rows["measured"].to_numpy()
    ratio = float(attributed @ measured) / (float(attributed @ attributed) or np.nan)
    text = (
        f"{rows.height} weights were put back to the base one at a time: what the loss on {data} did ranks "
        f"as attributed with Spearman {significant(correlation, 2)} ({_percent(found['same_sign'])} with the "
        f"same sign) and is {significant(ratio, 2)}× as large"
    )
    text += ": without one of them the others make up for most of its part." if abs(ratio) < 0.5 else "."
    low = correlation is None or correlation < AGREES
    evidence = {**found, "slope_measured_on_attributed": ratio, "threshold": AGREES, "data": data}
    yield Finding("attribution_disagrees" if low else "attribution_agrees", text, (model,), evidence=evidence,
                  severity="warning" if low else "note")  # fmt: skip


def difference_findings(
    frames: Mapping[str, pl.DataFrame], summaries: Mapping[str, Summary], model: str
) -> list[Finding]:
    """What the fine-tune gained on one data set and cost on another, as a whole and cell by cell."""
    found = []
    won = [d for d, s in summaries.items() if s["gain"] > CLEAR * (s["gain_stderr"] or 0.0)]
    lost = [d for d, s in summaries.items() if -s["gain"] > CLEAR * (s["gain_stderr"] or 0.0)]
    for a in won:
        for b in lost:
            gains = {d: summaries[d]["gain"] for d in (a, b)}
            sides = f"{significant(gains[a])} nats per token on {a} and cost {significant(-gains[b])} on {b}"
            text = f"the fine-tune gained {sides}."
            found.append(
                Finding("gain_here_cost_there", text, (model,), evidence={**gains, "threshold": CLEAR})
            )
            found += _trades(frames[a], frames[b], model, a, b)
    return found


def _trades(first: pl.DataFrame, second: pl.DataFrame, model: str, a: str, b: str) -> Iterable[Finding]:
    rows = first.join(second, on="component_name", suffix="_b").filter(
        (pl.col("attribution") < -CLEAR * pl.col("stderr"))
        & (pl.col("attribution_b") > CLEAR * pl.col("stderr_b"))
    )
    if rows.height:
        rows = rows.sort("attribution_b", descending=True)
        worst = named(_names(rows), 3)
        text = f"{rows.height} weights lowered the loss on {a} and raised it on {b}, most of all {worst}."
        evidence = {"cells": rows.height, "threshold": f"{CLEAR:g} standard errors on both"}
        yield Finding("trade_off", text, (model,), tuple(_names(rows)), evidence=evidence)


def _clear(summary: Summary) -> bool:
    """Whether the loss changed beyond its error: shares of a whole that may be nothing mean nothing."""
    return abs(summary["gain"]) > CLEAR * (summary["gain_stderr"] or 0.0) and bool(summary["sum"])


def _whole(summary: Summary) -> str:
    return "gain" if summary["sum"] < 0 else "rise of the loss"


def _family(name: str) -> str:
    return "MLP" if name == "mlp" else name


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _names(rows: pl.DataFrame) -> list[str]:
    return rows["component_name"].to_list()


Check = Callable[[Case], Iterable[Finding]]
_CHECKS: tuple[Check, ...] = (
    _gain, _not_converged, _thirds, _tilt, _half, _against, _strangers, _size, _left,
)  # fmt: skip
