"""What several runs say together: which domain moved furthest, whether in the same layers, and the rate."""

from collections.abc import Collection, Iterator, Mapping, Sequence
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
            f"At a learning rate of {rate_text(rate)}, {most['domain']} moved the weights furthest "
            f"(‖ΔW‖ {significant(high)}) and {least['domain']} least ({significant(low)})."
        )
    else:
        span = f"{significant(low)} to {significant(high)}"
        text = f"At a learning rate of {rate_text(rate)}, all domains moved the weights about equally far "
        text += f"(‖ΔW‖ {span})."
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
    span = f"Spearman {low:.2f}"
    if len(values) > 1:
        middle = float(np.median(list(values.values())))
        span += f" to {high:.2f}, {middle:.2f} in the median of {counted(len(values), 'pair')},"
    told = [pair for pair in found if values[pair] >= ALIKE and p[pair] <= ALPHA]
    layers = min(one.n for one in found.values())
    if len(told) == len(found):
        verdict = "the domains rank the layers alike by how far they moved"
    elif told:
        verdict = f"the domains rank the layers alike in {len(told)} of {counted(len(found), 'pair')}"
    else:
        verdict = "it cannot be told whether the domains rank the layers alike"
    text = (
        f"At a learning rate of {rate_text(rate)}, {verdict} ({span} between their profiles of "
        f"‖ΔW‖ over {layers} layers)."
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
        both = [rate_text(row["learning_rate"]) for row in (low, high)]
        text = (
            f"{domain} moved {ratio:.2f}× as far at a learning rate of {both[1]} as at {both[0]}, "
            f"{rates:.1f}× the rate."
        )
        yield {
            "kind": "rate",
            "runs": [low["run"], high["run"]],
            "domain": domain,
            "rates": both,
            "ratio": ratio,
            "rate_ratio": rates,
            "text": text,
        }


def comparison_sentences(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences of `comparisons`, what one pair of rates did to several domains in one."""
    said: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for each in found:
        same = tuple(each["rates"]) if each["kind"] == "rate" and "rates" in each else (each["text"],)
        said.setdefault(same, []).append(each)
    return [_of_rates(group) if len(group) > 1 else group[0]["text"] for group in said.values()]


def _of_rates(group: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(group, key=lambda each: each["ratio"])
    least, most, (low, high) = ordered[0], ordered[-1], group[0]["rates"]
    return (
        f"At a learning rate of {high}, {group[0]['rate_ratio']:.1f}× that of {low}, the weights moved "
        f"{least['ratio']:.2f}× ({least['domain']}) to {most['ratio']:.2f}× ({most['domain']}) as far in "
        f"{counted(len(group), 'run')} of each rate."
    )
