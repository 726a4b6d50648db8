"""Which values moved: the same ones in two whole models, and what rounding alone would give."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl

from tunescope.address import Address
from tunescope.delta import Delta
from tunescope.source.opened import Source
from tunescope.study.finding import Finding
from tunescope.table import Column, Schema, Table, described, dtypes

if TYPE_CHECKING:
    from tunescope.linalg.changed import Common

CHANGED: Schema = {
    "model_a": Column(pl.String, "label of the first model"),
    "model_b": Column(pl.String, "label of the second"),
    "stack": Column(pl.String, "stack of blocks or tower"),
    "layer": Column(pl.Int64, "index of the block in its stack"),
    "module_type": Column(pl.String, "name of the module inside its block"),
    "expert": Column(pl.Int64, "number of the expert"),
    "component_name": Column(pl.String, "short name of layer and module"),
    "values": Column(pl.Int64, "values that were looked at"),
    "changed_a": Column(pl.Float64, "share that changed in the first", "[0, 1]"),
    "changed_b": Column(pl.Float64, "share that changed in the second", "[0, 1]"),
    "common": Column(pl.Float64, "share that changed in both", "[0, 1]"),
    "common_chance": Column(pl.Float64, "its chance if independent", "[0, 1]"),
    "common_chance_given_weight": Column(pl.Float64, "its chance given |w|, row and column", "[0, 1]"),
    "overlap": Column(pl.Float64, "share of the smaller set that changed in both", "[0, 1]"),
    "overlap_chance": Column(pl.Float64, "its chance if independent", "[0, 1]"),
    "overlap_chance_given_weight": Column(pl.Float64, "its chance given |w|, row and column", "[0, 1]"),
}
# What `pooled` says of a pair, all weights together.
POOLED: Schema = {
    "overlap": Column(pl.Float64, "share of the smaller set that changed in both, of all weights", "[0, 1]"),
    "overlap_chance_given_weight": Column(pl.Float64, "its chance given |w|, row and column", "[0, 1]"),
}
# What must be exceeded both of the excess over chance, as a share of what is left and as it is.
EXCESS_SHARE, EXCESS = 0.2, 0.05


def changed_values(
    sources: Sequence[Source], common: "Callable[[Delta, Delta], Common | None]"
) -> tuple[Table | None, list[Finding]]:
    """The table `similarity_changed` of all pairs of whole models, and what it says beyond rounding.

    `common` counts the values that moved in both of two weights.
    """
    whole = [s for s in sources if any(d.pair is not None for d in s.deltas) and s.base is not None]
    rows: list[dict[str, Any]] = []
    findings = []
    for a, b in combinations(whole, 2):
        held = {delta.address: delta for delta in b.deltas}
        counts = []
        for delta in a.deltas:
            other = held.get(delta.address)
            if other is None or (found := common(delta, other)) is None:
                continue
            counts.append(found)
            rows.append(_row(a.label, b.label, delta, found))
        findings += same_values(a.label, b.label, counts)
    if not rows:
        return None, findings
    frame = pl.DataFrame(rows, schema=dtypes(CHANGED))
    return Table(frame, "similarity_changed", {"columns": described(CHANGED)}), findings


def pooled(changed: pl.DataFrame) -> pl.DataFrame:
    """`model_a`, `model_b` and the columns of `POOLED`: of each pair, over the values of all its weights."""
    least = pl.min_horizontal("changed_a", "changed_b") * pl.col("values")
    sums = changed.group_by("model_a", "model_b", maintain_order=True).agg(
        (pl.col("common") * pl.col("values")).sum().alias("both"),
        (pl.col("common_chance_given_weight") * pl.col("values")).sum().alias("chance"),
        least.sum().alias("least"),
    )
    known = pl.when(pl.col("least") > 0)
    return sums.select(
        "model_a", "model_b",
        known.then(pl.col("both") / pl.col("least")).alias("overlap"),
        known.then(pl.col("chance") / pl.col("least")).alias("overlap_chance_given_weight"),
    )  # fmt: skip


def _row(label_a: str, label_b: str, delta: Delta, c: "Common") -> dict[str, Any]:
    address: Address = delta.address
    least = min(c.first, c.second)
    return {
        "model_a": label_a, "model_b": label_b, "stack": address.stack, "layer": address.layer,
        "module_type": address.module_type, "expert": address.expert, "component_name": delta.component_name,
        "values": c.n, "changed_a": c.first / c.n, "changed_b": c.second / c.n,
        "common": c.both / c.n, "common_chance": c.independent / c.n,
        "common_chance_given_weight": c.given_weight / c.n,
        "overlap": c.both / least if least else None,
        "overlap_chance": c.independent / least if least else None,
        "overlap_chance_given_weight": c.given_weight / least if least else None,
    }  # fmt: skip


def same_values(a: str, b: str, counts: Sequence["Common"]) -> list[Finding]:
    """One sentence for a pair of models, over all weights together."""
    least = sum(min(c.first, c.second) for c in counts)
    if not least:
        return []
    overlap, chance = (sum(c.both for c in counts) / least, sum(c.given_weight for c in counts) / least)
    excess = overlap - chance
    share = excess / (1 - chance) if chance < 1 else 0.0
    # Deferred: adapters have no whole weights.
    from tunescope.linalg.changed import EDGE

    # Of few values that moved the chance is known too coarsely for a small excess.
    least_excess = EXCESS + EDGE * len(counts) / least
    if not (share >= EXCESS_SHARE and excess >= least_excess):
        return []
    text = (
        f"{a} and {b} changed the same values, beyond what rounding and the scale of rows and columns "
        f"explain: {overlap:.0%} of the values that the one with fewer changes moved, the other moved too, "
        f"where values of such sizes would meet in {chance:.0%} by chance ({len(counts)} "
        f"weight{'s' if len(counts) > 1 else ''})."
    )
    evidence = {
        "statistic": "overlap", "value": overlap, "null": chance, "threshold": EXCESS_SHARE, "excess": excess,
        "least_excess": least_excess, "n": sum(c.n for c in counts),
    }  # fmt: skip
    return [Finding("same_values", text, (a, b), evidence=evidence, strength=share)]
