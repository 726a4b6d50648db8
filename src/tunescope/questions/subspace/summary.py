"""The readout of a subspace study: every pair in numbers, what they say, and what was found."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.measure.depth import main_stack
from tunescope.questions.subspace.findings import untold
from tunescope.questions.subspace.pairs import length_ratio, whole_cosine
from tunescope.questions.subspace.sight import visible_directions
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
        "untold": untold(summary),
        "visible": visible_directions(summary),
        "findings": [finding.record() for finding in ordered(findings)],
    }
    if amplification is not None and intruders is not None:
        document["base"] = against_base(amplification, intruders)
    return document


def pairs_of(summary: pl.DataFrame) -> list[tuple[str, str]]:
    """The pairs of models, in the order they were compared."""
    return [(a, b) for a, b in summary.select("model_a", "model_b").unique(maintain_order=True).iter_rows()]


def of_pair(summary: pl.DataFrame, model_a: str, model_b: str) -> pl.DataFrame:
    """The rows of one pair."""
    return summary.filter((pl.col("model_a") == model_a) & (pl.col("model_b") == model_b))


def _pair(rows: pl.DataFrame, a: str, b: str) -> dict[str, Any]:
    usable = rows.filter(pl.col("overlap_output").is_not_null())
    kinds = usable["finding"].drop_nulls().value_counts(sort=True)
    left = rows.filter(pl.col("overlap_output").is_null())
    stack = main_stack(usable)
    # Layers and kinds of weight are told of one tower: those of several have nothing in common.
    several = usable.filter(pl.col("layer").is_not_null())["stack"].n_unique() > 1
    own = usable.filter(pl.col("stack") == stack) if several else usable
    return {
        "model_a": a,
        "model_b": b,
        "n_components": rows.height,
        "n_compared": usable.height,
        "not_compared": dict(left["status"].value_counts(sort=True).iter_rows()),
        "not_judged": usable.filter(pl.col("finding").is_null()).height,
        **{name: usable[name].mean() for name in _MEANS},
        "delta_cosine": whole_cosine(usable),
        "length_ratio": length_ratio(usable),
        "kinds": dict(kinds.iter_rows()),
        **({"stack": stack} if several else {}),
        **{f"thirds_{side}": _thirds(own, side) for side in ("input", "output")},
        **{f"query_value_{side}": _query_value(own, side) for side in ("input", "output")},
    }


def _thirds(rows: pl.DataFrame, side: str) -> list[float] | None:
    """Mean excess of the early, middle and late layers; `None` for fewer than three."""
    known = rows.filter(pl.col("layer").is_not_null() & pl.col(f"excess_{side}").is_not_null())
    layers = known.group_by("layer", maintain_order=True).agg(pl.col(f"excess_{side}").mean()).sort("layer")
    n = layers.height
    if n < 3:
        return None
    values, cuts = layers[f"excess_{side}"].to_numpy(), [0, -(-n // 3), -(-2 * n // 3), n]
    return [float(np.mean(values[i:j])) for i, j in pairwise(cuts)]


def _query_value(rows: pl.DataFrame, side: str) -> list[float] | None:
    """Mean excess of query and of value weights; `None` where one of them is not there."""
    known = rows.filter(pl.col(f"excess_{side}").is_not_null())
    kinds = [Address("", 0, module).component for module in known["module_type"].to_list()]
    values = known[f"excess_{side}"].to_numpy()
    parts = [values[[k == wanted for k in kinds]] for wanted in ("ATTN_Q", "ATTN_V")]
    return [float(part.mean()) for part in parts] if all(len(part) for part in parts) else None


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
