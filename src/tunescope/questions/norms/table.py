"""Sources to the norms table: every ΔW measured, published tables as they stand."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import polars as pl

from tunescope.address import component_names
from tunescope.measure import similarity as _similarity
from tunescope.questions.norms import measure as _norms
from tunescope.source.opened import Source
from tunescope.source.selection import EVERYTHING, Selection, addresses_of, open_labelled, select
from tunescope.table import Table


def norms(
    sources: Sequence[Any] | Any,
    *,
    scales: Mapping[str, float] | None = None,
    spectra: bool = True,
    selection: Selection = EVERYTHING,
    executor: Executor | None = None,
) -> Table:
    """Measure every ΔW of every source: ‖ΔW‖_F, its share per output, ranks of its spectrum.

    `sources` is one source or a sequence: paths, hub ids, `LABEL=…` of either, live `PeftModel`s, state
    dicts, or sources opened before. One row per ΔW and model; norms have the unit of the weights.
    `spectra=False` leaves the spectral columns null and is several times faster. Raises as `open_source`.
    """
    listed: list[Any] = list(sources) if isinstance(sources, list | tuple) else [sources]
    opened = listed if all(isinstance(s, Source) for s in listed) else open_labelled(listed, scales)
    return measure_norms(select(opened, selection), spectra=spectra, executor=executor)


def measure_norms(
    sources: Sequence[Source], *, spectra: bool = True, executor: Executor | None = None
) -> Table:
    """The norms table of opened sources; published ones contribute their own rows."""
    frames = []
    for source in sources:
        if source.published is not None:
            frames.append(_published(source))
            continue
        work = partial(_norms.measure, model_id=source.label, spectra=spectra)
        rows: Iterable[dict[str, Any]] = (
            map(work, source.deltas) if executor is None else executor.map(work, source.deltas)
        )
        frames.append(_norms.frame(rows))
        source.verify_unchanged()
    meta = {
        "units": _norms.units(),
        "sources": {s.label: {"location": s.location, "format": s.format} for s in sources},
    }
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
    return both.select(
        (pl.col(name) if name in both.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, (dtype, _) in _norms.SCHEMA.items()
    )


def pairs(sources: Sequence[Source]) -> pl.DataFrame:
    """Inner products, norms and equality of every module that two sources share."""
    found = _similarity.pairs([(source.label, source.deltas) for source in sources])
    for source in sources:
        source.verify_unchanged()
    return found
