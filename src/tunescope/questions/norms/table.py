"""Sources to the norms table: every ΔW measured, published tables as they stand."""

from collections.abc import Sequence

import polars as pl

from tunescope.address import component_names
from tunescope.measure import similarity as _similarity
from tunescope.questions.norms import measure as _norms
from tunescope.source.opened import Source
from tunescope.source.selection import addresses_of
from tunescope.study.progress import Tell, silent
from tunescope.table import Table, described, dtypes
from tunescope.tabular import typed_columns


def measure_norms(sources: Sequence[Source], *, spectra: bool = True, tell: Tell = silent) -> Table:
    """The norms table of opened sources; published ones contribute their own rows."""
    frames = []
    total, done = sum(len(source.deltas) for source in sources), 0
    for source in sources:
        if source.published is not None:
            frames.append(_published(source))
            continue
        rows = []
        for delta in source.deltas:
            tell("measuring", done, total)
            rows.append(_norms.measure(delta, source.label, source.step, spectra))
            done += 1
        frames.append(_norms.frame(rows))
        source.verify_unchanged()
    meta = {"columns": described(_norms.SCHEMA)}
    return Table(pl.concat(frames) if frames else _norms.frame([]), "norms", meta)


def _published(source: Source) -> pl.DataFrame:
    """The rows as they stand, in our columns; stack, family and component name follow from the module."""
    assert source.published is not None
    rows = source.published.to_polars()
    addresses = addresses_of(source)
    derived = pl.DataFrame(
        {
            "model_id": [source.label] * rows.height,
            "component_name": component_names(addresses),
            "stack": [a.stack for a in addresses],
            "family": [a.family for a in addresses],
            "status": ["published"] * rows.height,
        }
    )
    given = [c for c in rows.columns if c in _norms.SCHEMA and c != "model_id"]
    both = pl.concat(
        [derived.drop([c for c in given if c in derived.columns]), rows.select(given)], how="horizontal"
    )
    types = dtypes(_norms.SCHEMA)
    both = typed_columns(both, types, source.location)
    return both.select(
        pl.col(name) if name in both.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in types.items()
    )


def pairs(sources: Sequence[Source]) -> pl.DataFrame:
    """Inner products, norms and equality of every module that two sources share."""
    found = _similarity.pairs([(source.label, source.deltas) for source in sources])
    for source in sources:
        source.verify_unchanged()
    return found
