"""`tunescope.subspace`: the comparison of directions as one table, from Python."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tunescope.linalg.device import resolve
from tunescope.questions.subspace import measure
from tunescope.questions.subspace.directions import MATRICES, SIDES, Selection
from tunescope.questions.subspace.sources import check_comparable
from tunescope.questions.subspace.study import meta_of
from tunescope.source.opened import Source
from tunescope.source.selection import EVERYTHING, open_labelled, select
from tunescope.source.selection import Selection as Modules
from tunescope.table import Table


def subspace(
    *sources: Any,
    grids: bool = False,
    of: Sequence[str] = tuple(MATRICES),
    sides: Sequence[str] = SIDES,
    max_rank: int | None = None,
    scales: Mapping[str, float] | None = None,
    selection: Modules = EVERYTHING,
    against_self: bool = False,
    device: str = "cpu",
) -> Table:
    """Compare the directions in which two or more models change each weight, against chance.

    `sources` are what `norms` takes: paths, hub ids, `LABEL=…` of either, live `PeftModel`s, state dicts,
    or sources opened before. One row per pair and ΔW: overlap ‖UᵀU'‖²_F/min(r, r') of the whole spans in
    [0, 1] on both sides with its chance level and z, cosine of ΔW, principal angles in degrees, shared
    dimensions and `finding`. `grids=True` gives one row per pair, ΔW, matrix (`of`), side, i and j
    instead: φ(i, j) [Hu et al. 2021, eq. 4] with chance and z. Raises as `open_source`, and `BadInput`
    where two sources have no weight in common.
    """
    wanted = Selection(tuple(of), tuple(sides), max_rank, resolve(device))
    opened = list(sources) if all(isinstance(s, Source) for s in sources) else open_labelled(sources, scales)
    opened = select(opened, selection)
    check_comparable(opened, against_self)
    found = measure.compare([(s.label, s.deltas) for s in opened], wanted, against_self)
    if grids:
        frame, kind = pl.concat([comparison.grids for comparison in found]), "subspace"
    else:
        rows = [comparison.row for comparison in found]
        frame, kind = pl.DataFrame(rows, schema=measure.SUMMARY_SCHEMA), "subspace_summary"
    for source in opened:
        source.verify_unchanged()
    return Table(frame, kind, meta_of(opened))
