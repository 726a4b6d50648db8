"""The readout of a subspace study: every pair in numbers, what they say, and what was found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tunescope.questions.subspace.findings import comparison_sentences, of_pair, pairs_of
from tunescope.study.finding import Finding, ordered
from tunescope.table import SCHEMA_VERSION

_MEANS = (
    "overlap_input", "overlap_input_chance", "excess_input", "overlap_output", "overlap_output_chance",
    "excess_output", "dimensions_shared_input", "dimensions_shared_output",
)  # fmt: skip


def subspace_readout(
    summary: pl.DataFrame,
    findings: Sequence[Finding],
    thresholds: Mapping[str, float],
    amplification: pl.DataFrame | None = None,
    intruders: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """The readout document: pairs, sentences, the base's numbers where measured, findings."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "subspace",
        "thresholds": dict(thresholds),
        "pairs": [_pair(of_pair(summary, a, b), a, b) for a, b in pairs_of(summary)],
        "comparison": comparison_sentences(summary),
        "findings": [finding.record() for finding in ordered(findings)],
    }
    if amplification is not None and intruders is not None:
        document["base"] = against_base(amplification, intruders)
    return document


def _pair(rows: pl.DataFrame, a: str, b: str) -> dict[str, Any]:
    usable = rows.filter(pl.col("overlap_output").is_not_null())
    kinds = usable["finding"].drop_nulls().value_counts(sort=True)
    left = rows.filter(pl.col("overlap_output").is_null())
    return {
        "model_a": a,
        "model_b": b,
        "n_components": rows.height,
        "n_compared": usable.height,
        "not_compared": dict(left["status"].value_counts(sort=True).iter_rows()),
        "not_judged": usable.filter(pl.col("finding").is_null()).height,
        **{name: usable[name].mean() for name in _MEANS},
        "delta_cosine": _whole_cosine(usable),
        "kinds": dict(kinds.iter_rows()),
    }


def _whole_cosine(rows: pl.DataFrame) -> float | None:
    """Cosine of the whole ΔW over the weights that were compared."""
    norms = [float((rows[name] ** 2).sum()) for name in ("norm_a", "norm_b")]
    product = math.sqrt(norms[0]) * math.sqrt(norms[1])
    return max(-1.0, min(1.0, float(rows["inner"].sum()) / product)) if product > 0 else None


def against_base(amplification: pl.DataFrame, intruders: pl.DataFrame) -> list[dict[str, Any]]:
    """Per model: the table of norms along ΔW's, W's and random directions, and how many intruders."""
    usable = amplification.filter(pl.col("projected_norm").is_not_null())
    out = []
    for model in amplification["model_id"].unique(maintain_order=True).to_list():
        rows = usable.filter(pl.col("model_id") == model)
        strangers = intruders.filter(pl.col("model_id") == model)
        own = rows.filter(pl.col("directions") == "delta")
        out.append(
            {
                "model_id": model,
                "ranks": [_at_rank(rows, rank) for rank in own["rank"].unique().sort().to_list()],
                "vectors": strangers.height,
                "intruders": int(strangers["intruder"].sum()),
                "undecided": strangers["intruder"].null_count(),
                "intruder_residual": strangers["residual"].max(),
                "not_measured": _without_numbers(amplification, model),
            }
        )
    return out


def _without_numbers(amplification: pl.DataFrame, model: str) -> dict[str, int]:
    """Why weights of a model have no numbers, and how many."""
    rows = amplification.filter((pl.col("model_id") == model) & pl.col("projected_norm").is_null())
    rows = rows.filter(pl.col("rank").is_null())
    return dict(rows["status"].value_counts(sort=True).iter_rows())


def _at_rank(rows: pl.DataFrame, rank: int) -> dict[str, Any]:
    at = rows.filter(pl.col("rank") == rank)
    along = dict(
        at.group_by("directions", maintain_order=True).agg(pl.col("projected_norm").mean()).iter_rows()
    )
    own = at.filter(pl.col("directions") == "delta")
    return {
        "rank": rank,
        "components": own.height,
        "along_delta": along.get("delta"),
        "along_base": along.get("base"),
        "along_random": along.get("random"),
        "base_norm": own["base_norm"].mean(),
        "delta_norm": own["delta_norm"].mean(),
        "amplification_median": own["amplification"].median(),
        "overlap_input": own["overlap_input"].mean(),
        "overlap_output": own["overlap_output"].mean(),
    }
