"""What was read of every source and what was not: the ledger as a table, the notices, where it came from."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from tunescope.errors import Notice
from tunescope.source.opened import Source

COVERAGE_SCHEMA: dict[str, Any] = {
    "model_id": pl.String,
    "tensor": pl.String,
    "dtype": pl.String,
    "shape": pl.String,
    "bytes": pl.Int64,
    "status": pl.String,
    "reason": pl.String,
}


def coverage(sources: Sequence[Source]) -> pl.DataFrame:
    """One row per tensor of every file: part of a ΔW, or the reason why not."""
    rows = [
        (s.label, e.tensor, e.dtype, "×".join(map(str, e.shape)), e.bytes, e.status, e.reason)
        for s in sources
        for e in s.coverage
    ]
    return pl.DataFrame(rows, schema=COVERAGE_SCHEMA, orient="row")


def notices(sources: Sequence[Source]) -> list[tuple[str, Notice]]:
    """Everything noticed while reading, with the label of its source."""
    return [(source.label, notice) for source in sources for notice in source.notices]


def provenance(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Label, place, format and files (size, sha256) of every source, for the study's record."""
    return [
        {"label": s.label, "location": s.location, "format": s.format, "files": s.fingerprints()}
        for s in sources
    ]
