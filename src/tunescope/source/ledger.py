"""What was read of every source and what was not: the ledger as a table, the notices, where it came from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from tunescope.errors import Notice
from tunescope.source import digest
from tunescope.source.opened import Source
from tunescope.table import Column, Schema, Table, described, dtypes

COVERAGE: Schema = {
    "model_id": Column(pl.String, "label of the model"),
    "tensor": Column(pl.String, "name of the tensor in its file"),
    "dtype": Column(pl.String, "type of its values"),
    "shape": Column(pl.String, "its shape"),
    "bytes": Column(pl.Int64, "its size", "bytes"),
    "status": Column(pl.String, "used, where it is part of an update"),
    "reason": Column(pl.String, "why it is not"),
}


def coverage(sources: Sequence[Source]) -> Table:
    """One row per tensor of every file: part of a ΔW, or the reason why not."""
    rows = [
        (s.label, e.tensor, e.dtype, "×".join(map(str, e.shape)), e.bytes, e.status, e.reason)
        for s in with_bases(sources)
        for e in s.coverage
    ]
    frame = pl.DataFrame(rows, schema=dtypes(COVERAGE), orient="row")
    return Table(frame, "coverage", {"columns": described(COVERAGE)})


def notices(sources: Sequence[Source]) -> list[tuple[str, Notice]]:
    """Everything noticed while reading, with the label of its source."""
    return [(source.label, notice) for source in with_bases(sources) for notice in source.notices]


def provenance(sources: Sequence[Source], hash_all: bool = False) -> list[dict[str, Any]]:
    """Where every source came from, and what tells this version of it from another."""
    return [
        digest.provenance(s.label, s.location, s.format, s.files, hash_all=hash_all, ranged=s.ranged)
        for s in with_bases(sources)
    ]


def with_bases(sources: Sequence[Source]) -> list[Source]:
    """The sources and the bases that they are measured against, each base once for each ledger of its own."""
    listed = list(sources)
    taken = {source.label for source in sources}
    seen: set[str] = set()
    for source in sources:
        base = source.base
        if base is None or base.location in seen:
            continue
        seen.add(base.location)
        label, k = base.label, 2
        while label in taken:
            label, k = f"{base.label}-{k}", k + 1
        taken.add(label)
        listed.append(replace(base, label=label))
    return listed
