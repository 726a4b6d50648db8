"""Sources to the norms table: every ΔW measured, published tables as they stand."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any

import polars as pl

from tunescope.address import component_names
from tunescope.questions.norms import dense
from tunescope.questions.norms import measure as _norms
from tunescope.questions.norms.together import Together
from tunescope.source.opened import Source
from tunescope.source.selection import addresses_of
from tunescope.study.progress import Tell, silent
from tunescope.table import Table, described, dtypes
from tunescope.tabular import typed_columns

if TYPE_CHECKING:
    from tunescope.measure.between import Between


def measure_norms(
    sources: Sequence[Source],
    *,
    spectra: str | None = None,
    tell: Tell = silent,
    together: Together | None = None,
) -> tuple[Table, Table]:
    """The norms table of opened sources, and the table `low_rank` of their whole weights.

    Published sources contribute their own rows. `spectra` is `none`, `top` or `full`; left out, `full` for
    factored updates, which cost little, and `none` for whole weights. In the passes over these
    `together` also gathers what any two models share.
    """
    together = together or Together(sources)
    frames, curves = [], []
    total, done = sum(len(source.deltas) for source in sources), 0
    with ThreadPoolExecutor(dense.THREADS) as pool:
        for source in sources:
            if source.published is not None:
                frames.append(_published(source))
                continue
            parts = []
            for part, curve in _measured(source, spectra, pool, together):
                tell("measuring", done, total)
                parts.append(part)
                curves += curve
                done += len(part["model_id"])
            parts.append(_norms.identities(source.incomparable, source.label, source.step))
            frames.append(_norms.gathered(parts))
            source.verify_unchanged()
    table = Table(
        pl.concat(frames) if frames else _norms.frame([]), "norms", {"columns": described(_norms.SCHEMA)}
    )
    low_rank = pl.DataFrame(curves, schema=dtypes(dense.LOW_RANK))
    return table, Table(low_rank, "low_rank", {"columns": described(dense.LOW_RANK)})


def _measured(
    source: Source, spectra: str | None, pool: Executor, together: Together
) -> Iterator[tuple[_norms.Columns, list[dict[str, Any]]]]:
    for whole, deltas in groupby(source.deltas, lambda delta: delta.pair is not None):
        if not whole:
            parts = _norms.measure_all(deltas, source.label, source.step, spectra != "none")
            yield from ((part, []) for part in parts)
            continue
        for delta in deltas:
            assert delta.pair is not None
            part = _norms.identities([delta], source.label, source.step)
            found = together.change(delta, pool)
            columns, curve = dense.measured_pair(delta, delta.pair, spectra or "none", found)
            part |= {name: [value] for name, value in columns.items()}
            yield part, dense.identified({name: values[0] for name, values in part.items()}, curve)


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


def common(sources: Sequence[Source], tell: Tell, together: Together) -> "Between":
    """What every two sources have in common, beside what is known of whole weights that were read."""
    # Deferred: one model alone is compared with none.
    from tunescope.measure.between import between

    found = between([(source.label, source.deltas) for source in sources], tell, together.known)
    for source in sources:
        source.verify_unchanged()
    return found
