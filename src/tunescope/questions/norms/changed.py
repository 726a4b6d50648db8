"""Which values moved: the same ones in two whole models, and what rounding alone would give."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tunescope.address import Address
from tunescope.delta import Delta, Pair
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
# Values of a weight that are looked at; of larger ones stretches of rows spread evenly.
_MOST, _STRETCH = 1 << 22, 64


def changed_values(sources: Sequence[Source]) -> tuple[Table | None, list[Finding]]:
    """The table `similarity_changed` of all pairs of whole models, and what it says beyond rounding."""
    whole = [s for s in sources if any(d.pair is not None for d in s.deltas) and s.base is not None]
    rows: list[dict[str, Any]] = []
    findings = []
    for a, b in combinations(whole, 2):
        held = {delta.address: delta for delta in b.deltas}
        counts = []
        for delta in a.deltas:
            other = held.get(delta.address)
            if other is None or (found := _counted(delta, other)) is None:
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


def _counted(a: Delta, b: Delta) -> "Common | None":
    if a.pair is None or b.pair is None or (a.d_out, a.d_in) != (b.d_out, b.d_in):
        return None
    shape = (a.d_in, a.d_out) if a.pair.turned else (a.d_out, a.d_in)
    parts = [_stretch(a.pair, b.pair, first, last, shape[1]) for first, last in _stretches(*shape)]
    if not parts:
        return None
    # Deferred: adapters have no whole weights.
    from tunescope.linalg.changed import common_changes

    first, second, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
    return common_changes(first, second, sizes)


def _stretches(rows: int, columns: int) -> list[tuple[int, int]]:
    if rows * columns <= _MOST:
        return [(0, rows)] if rows * columns else []
    count = max(_MOST // (columns * _STRETCH), 1)
    starts = np.unique(np.linspace(0, max(rows - _STRETCH, 0), count).astype(int) // _STRETCH) * _STRETCH
    return [(int(start), min(int(start) + _STRETCH, rows)) for start in starts]


def _stretch(a: Pair, b: Pair, first: int, last: int, columns: int) -> tuple[Any, Any, Any]:
    span = (first * columns, last * columns)
    before = a.before.part(*span).astype(np.float64)
    masks = [_moved(before, pair.after.part(*span).astype(np.float64)) for pair in (a, b)]
    shaped = [array.reshape(-1, columns) for array in (*masks, np.abs(before))]
    return shaped[0], shaped[1], shaped[2]


def _moved(before: Any, after: Any) -> Any:
    return ~((before == after) | (np.isnan(before) & np.isnan(after)))


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
