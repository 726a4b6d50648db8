"""Sources × measures → tables."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tunescope.address import Address, component_names
from tunescope.delta import Delta
from tunescope.errors import Notice, UsageError
from tunescope.measure import norms as _norms
from tunescope.measure import similarity as _similarity
from tunescope.source.open import open_sources
from tunescope.source.opened import Source
from tunescope.source.spec import parse_spec
from tunescope.table import Table


@dataclass(frozen=True)
class Selection:
    """Which modules to measure: layer indices, and module names, last parts of them, or families.

    >>> Selection(modules=("q_proj",)).takes(Address("model", 3, "self_attn.q_proj"))
    True
    """

    layers: frozenset[int] | None = None
    modules: tuple[str, ...] | None = None

    def takes(self, address: Address) -> bool:
        """Whether the address is selected."""
        if self.layers is not None and address.layer not in self.layers:
            return False
        return self.modules is None or any(_named_by(word, address) for word in self.modules)


def _named_by(word: str, address: Address) -> bool:
    module = address.module_type
    return (
        word in (module, address.family, address.component)
        or word in module.split(".")
        or (module.endswith(f".{word}"))
    )


EVERYTHING = Selection()


def open_labelled(specs: Sequence[Any], scales: Mapping[str, float] | None = None) -> list[Source]:
    """Open every source and give each a label of its own.

    `specs` are paths, ids, live models or state dicts, each optionally `LABEL=…`; `scales` maps labels
    to the scale of sources that do not say it. Two equal labels that were asked for are refused; equal
    ones that come from folder names get their parent folder in front.
    """
    scales = dict(scales or {})
    opened: list[Source] = []
    explicit: list[bool] = []
    for spec in specs:
        said = parse_spec(spec)[0] if isinstance(spec, str) else None
        found = open_sources(spec) if said not in scales else open_sources(spec, scale=scales[str(said)])
        opened += found
        explicit += [said is not None and len(found) == 1] * len(found)
    opened = _own_labels(opened, explicit)
    return _scaled(specs, opened, scales)


def _own_labels(opened: list[Source], explicit: list[bool]) -> list[Source]:
    asked = Counter(source.label for source, said in zip(opened, explicit, strict=True) if said)
    if twice := [label for label, count in asked.items() if count > 1]:
        raise UsageError(
            "duplicate-label", f"the label {twice[0]!r} is given twice", fix="give each source its own"
        )
    counts = Counter(source.label for source in opened)
    taken: set[str] = set()
    out = []
    for source, said in zip(opened, explicit, strict=True):
        label = source.label
        if not said and counts[label] > 1:
            label = f"{_parent(source) or 'source'}/{label}"
        unique, k = label, 2
        while unique in taken:
            unique, k = f"{label}-{k}", k + 1
        taken.add(unique)
        out.append(replace(source, label=unique))
    return out


def _parent(source: Source) -> str:
    """The folder above the adapter's own, which tells one run's `checkpoint-100` from another's."""
    path = Path(source.location).absolute()
    folder = path if path.is_dir() else path.parent
    return folder.parent.name


def _scaled(specs: Sequence[Any], opened: list[Source], scales: Mapping[str, float]) -> list[Source]:
    labels = {source.label for source in opened}
    if unknown := [label for label in scales if label not in labels]:
        raise UsageError(
            "unknown-label",
            f"--scale names {unknown[0]!r}, which no source has",
            expected=", ".join(sorted(labels)),
        )
    given = {parse_spec(s)[0] for s in specs if isinstance(s, str)}
    out = []
    for source in opened:
        late = source.label in scales and source.label not in given and source.published is None
        out.append(_rescaled(source, scales[source.label]) if late else source)
    return out


def _rescaled(source: Source, scale: float) -> Source:
    still = tuple(notice for notice in source.notices if notice.slug != "scale-unknown")
    deltas = tuple(_rescaled_delta(delta, scale) for delta in source.deltas)
    return replace(source, deltas=deltas, notices=still)


def _rescaled_delta(delta: Delta, scale: float) -> Delta:
    return replace(delta, scale=scale, open=lambda: replace(delta.open(), scale=scale))


def select(sources: Sequence[Source], selection: Selection) -> list[Source]:
    """The sources with only what is selected; a word or layer that no source has is refused."""
    if selection == EVERYTHING:
        return list(sources)
    addresses = [address for source in sources for address in _addresses(source)]
    for word in selection.modules or ():
        if not any(_named_by(word, address) for address in addresses):
            there = sorted({address.module_type for address in addresses})
            raise UsageError(
                "nothing-selected", f"no module is called {word!r}", expected=", ".join(there[:20])
            )
    layers = {address.layer for address in addresses if address.layer is not None}
    absent = sorted((selection.layers or frozenset()) - layers)
    if addresses and (absent or not any(map(selection.takes, addresses))):
        what = f"no update lies in layer {', '.join(map(str, absent[:8]))}" if absent else "no update is left"
        raise UsageError("nothing-selected", what, expected=f"layers among {sorted(layers)}")
    return [_selected(source, selection) for source in sources]


def _selected(source: Source, selection: Selection) -> Source:
    if source.published is not None:
        rows = source.published.frame.filter(list(map(selection.takes, _addresses(source))))
        return replace(source, published=replace(source.published, frame=rows))
    return replace(source, deltas=tuple(d for d in source.deltas if selection.takes(d.address)))


def _addresses(source: Source) -> list[Address]:
    """Where the updates of a source sit; for a published table, in its rows' order."""
    if source.published is None:
        return [delta.address for delta in source.deltas]
    rows = source.published.frame.select("layer", "module_type")
    return [Address("model", layer, module) for layer, module in rows.iter_rows()]


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
    addresses = _addresses(source)
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


def notices(sources: Sequence[Source]) -> list[tuple[str, Notice]]:
    """Everything noticed while reading, with the label of its source."""
    return [(source.label, notice) for source in sources for notice in source.notices]


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
