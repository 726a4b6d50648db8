"""What several runs say together: which domain moved furthest, whether in the same layers, and the rate."""

from collections.abc import Collection, Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import polars as pl

from tunescope.questions.trajectory.proxy import LEAST_LAYERS
from tunescope.questions.trajectory.summary import ALIKE, ALPHA
from tunescope.questions.trajectory.views import rate_text
from tunescope.statistics.multiplicity import holm
from tunescope.statistics.series import Agreement, agreement
from tunescope.study.finding import significant
from tunescope.words import counted

# One domain moved further than another when its ‖ΔW‖ is larger by this factor.
FURTHER = 1.1


def comparisons(
    by_step: pl.DataFrame, norms: pl.DataFrame, low_rank: Collection[str]
) -> list[dict[str, Any]]:
    """Sentences, with their numbers, about runs that share a learning rate or a domain.

    Runs in `low_rank` are compared with each other, and the rest with each other.

    ‖ΔW‖ is each run's at its last capture; layer profiles are compared by Spearman's correlation of ‖ΔW‖ per
    layer.
    """
    last = by_step.filter(pl.col("step") == pl.col("step").max().over("run")).filter(
        pl.col("domain").is_not_null()
        & pl.col("learning_rate").is_not_null()
        & pl.col("delta_frobenius_norm").is_finite()
    )
    last = last.with_columns(low=pl.col("run").is_in(list(low_rank))).sort("learning_rate", "low")
    found: list[dict[str, Any]] = []
    for (rate, _), rows in last.group_by("learning_rate", "low", maintain_order=True):
        if rows["domain"].n_unique() > 1:
            found += _of_rate(float(rate), rows, norms)
    for (domain, *_), rows in last.group_by("domain", "seed", "low", maintain_order=True):
        found += _of_domain(str(domain), rows.sort("learning_rate"))
    return found


def _of_rate(rate: float, rows: pl.DataFrame, norms: pl.DataFrame) -> Iterator[dict[str, Any]]:
    ordered = rows.sort("delta_frobenius_norm", descending=True)
    most, least = ordered.row(0, named=True), ordered.row(-1, named=True)
    high, low = most["delta_frobenius_norm"], least["delta_frobenius_norm"]
    if high >= FURTHER * low:
        text = (
            f"At {rate_text(rate)}, {most['domain']} moved the weights furthest (‖ΔW‖ {significant(high)}) "
            f"and {least['domain']} least ({significant(low)})."
        )
    else:
        span = f"{significant(low)} to {significant(high)}"
        text = f"At {rate_text(rate)}, all domains moved the weights about equally far (‖ΔW‖ {span})."
    sizes = dict(zip(ordered["run"].to_list(), ordered["delta_frobenius_norm"].to_list(), strict=True))
    runs = rows["run"].to_list()
    yield {
        "kind": "furthest",
        "runs": runs,
        "learning_rate": rate,
        "delta_frobenius_norm": sizes,
        "text": text,
    }
    yield from _profiles(rate, runs, norms)


def _profiles(rate: float, runs: list[str], norms: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Whether the runs rank the layers alike, every pair at once."""
    found = _pairwise(runs, norms)
    if not found:
        return
    values = {pair: one.correlation for pair, one in found.items()}
    p = dict(zip(found, holm([one.p for one in found.values()]).tolist(), strict=True))
    low, high = min(values.values()), max(values.values())
    span = f"Spearman {low:.2f}" + (f" to {high:.2f}" if len(values) > 1 else "")
    told = [pair for pair in found if values[pair] >= ALIKE and p[pair] <= ALPHA]
    layers = min(one.n for one in found.values())
    if len(told) == len(found):
        verdict = "rank the layers alike by how far they moved"
    elif told:
        verdict = f"rank the layers alike in {len(told)} of {counted(len(found), 'pair')}"
    else:
        verdict = "cannot be told to rank the layers alike or not"
    text = (
        f"At {rate_text(rate)}, the domains {verdict} ({span} between their profiles of ‖ΔW‖ over {layers} "
        "layers)."
    )
    yield {"kind": "profiles", "runs": runs, "learning_rate": rate, "spearman": values, "p": p, "text": text}


def _pairwise(runs: list[str], norms: pl.DataFrame) -> dict[str, Agreement]:
    profiles = {run: _profile(norms.filter(pl.col("run") == run)) for run in runs}
    found = {}
    for a, b in combinations(runs, 2):
        shared = sorted(set(profiles[a]) & set(profiles[b]))
        if len(shared) >= LEAST_LAYERS:
            one = agreement(*(np.array([profiles[run][layer] for layer in shared]) for run in (a, b)))
            if np.isfinite(one.correlation):
                found[f"{a} · {b}"] = one
    return found


def _profile(norms: pl.DataFrame) -> dict[int, float]:
    last = norms.filter((pl.col("step") == pl.col("step").max()) & pl.col("delta_frobenius_norm").is_finite())
    return dict(last.select("layer", "delta_frobenius_norm").iter_rows())


def _of_domain(domain: str, rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for low, high in pairwise(rows.iter_rows(named=True)):
        if low["learning_rate"] == high["learning_rate"] or low["delta_frobenius_norm"] <= 0:
            continue
        rates = high["learning_rate"] / low["learning_rate"]
        ratio = high["delta_frobenius_norm"] / low["delta_frobenius_norm"]
        text = (
            f"{domain} moved {ratio:.2f}× as far at {rate_text(high['learning_rate'])} as at "
            f"{rate_text(low['learning_rate'])} ({rates:.1f}× the rate)."
        )
        yield {
            "kind": "rate",
            "runs": [low["run"], high["run"]],
            "ratio": ratio,
            "rate_ratio": rates,
            "text": text,
        }
