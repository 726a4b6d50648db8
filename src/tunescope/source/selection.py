"""Several sources at once: each with a label of its own, and only what was selected of it."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunescope.address import Address
from tunescope.delta import Delta
from tunescope.errors import UsageError, printable
from tunescope.source.open import open_sources
from tunescope.source.opened import Source
from tunescope.source.scales import scaled_as_asked
from tunescope.source.spec import default_label, distinct_labels, label_path, parse_spec
from tunescope.words import first, nearest, word_tuple


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

# The columns of a table of norms that say where a row sits.
_PLACE = ("stack", "layer", "module_type", "expert")


def open_labelled(
    specs: Sequence[Any],
    scales: Mapping[str, float] | None = None,
    opener: Callable[..., list[Source]] = open_sources,
) -> list[Source]:
    """Open every source and give each a label of its own.

    `specs` are paths, ids, live models or state dicts, each optionally `LABEL=…`; `scales` maps labels
    to the scale of sources that do not say it. Two equal labels that were asked for are refused; where
    those from file names clash, labels are the shortest parts of the paths that tell the sources apart.
    """
    scales = dict(scales or {})
    opened: list[Source] = []
    explicit: list[bool] = []
    scaled_as: list[str] = []
    for spec in specs:
        said = parse_spec(spec)[0] if isinstance(spec, str) else None
        # A scale for the label that the source will have: some files cannot be opened without one.
        label = default_label(spec) if said is None and isinstance(spec, str | Path) else said
        found = opener(spec, scale=scales[str(label)]) if str(label) in scales else opener(spec)
        opened += found
        scaled_as += [str(label)] * len(found)
        explicit += [said is not None and len(found) == 1] * len(found)
    opened = _own_labels(opened, explicit)
    return _scaled(opened, scaled_as, scales)


def _own_labels(opened: list[Source], explicit: list[bool]) -> list[Source]:
    asked = Counter(source.label for source, said in zip(opened, explicit, strict=True) if said)
    if twice := [label for label, count in asked.items() if count > 1]:
        raise UsageError(
            "duplicate-label", f"the label {twice[0]!r} is given twice", fix="give each source its own"
        )
    taken = set(asked)
    out = []
    for source, label, said in zip(opened, _default_labels(opened, explicit), explicit, strict=True):
        unique, k = label, 2
        while not said and unique in taken:
            unique, k = f"{label}-{k}", k + 1
        taken.add(unique)
        out.append(replace(source, label=unique))
    return out


def _default_labels(opened: Sequence[Source], explicit: Sequence[bool]) -> list[str]:
    """Every source's label; where those from file names clash, what tells their paths apart."""
    labels = [source.label for source in opened]
    silent = [i for i, said in enumerate(explicit) if not said]
    if len({*labels}) < len(labels) and silent:
        for i, label in zip(silent, distinct_labels([_path_of(opened[i]) for i in silent]), strict=True):
            labels[i] = label
    return labels


def _path_of(source: Source) -> tuple[str, ...]:
    """Where a source lies; a model of a table lies below its file, what has no place is only its label."""
    if source.published is not None:
        return (*label_path(source.location), source.label)
    return (source.label,) if source.live else label_path(source.location)


def check_scaled(scales: Mapping[str, float], labels: Iterable[str]) -> None:
    """Refuse a scale for a label that no source has."""
    there = sorted(labels)
    if unknown := [label for label in scales if label not in there]:
        raise UsageError(
            "unknown-label",
            f"--scale names {printable(unknown[0])!r}, which no source has",
            expected=printable(", ".join(there)),
        )


def _scaled(opened: list[Source], scaled_as: Sequence[str], scales: Mapping[str, float]) -> list[Source]:
    """The sources, those with a scale that got their label only after they were opened."""
    check_scaled(scales, [source.label for source in opened])
    out = []
    for source, before in zip(opened, scaled_as, strict=True):
        late = source.label in scales and source.label != before and source.published is None
        out.append(_rescaled(source, scales[source.label]) if late else source)
    return out


def _rescaled(source: Source, scale: float) -> Source:
    still = tuple(notice for notice in source.notices if notice.slug != "scale-unknown")
    given = [_rescaled_delta(delta, scale) for delta in source.deltas]
    deltas, notices = scaled_as_asked(given, source.deltas, scale)
    return replace(source, deltas=tuple(deltas), notices=(*still, *notices))


def _rescaled_delta(delta: Delta, scale: float) -> Delta:
    return replace(delta, scale=scale, open=lambda: replace(delta.open(), scale=scale))


def select(sources: Sequence[Source], selection: Selection) -> list[Source]:
    """The sources with only what is selected; a word or layer that no source has is refused."""
    if selection == EVERYTHING:
        return list(sources)
    addresses = [address for source in sources for address in addresses_of(source)]
    for word in selection.modules or ():
        if not any(_named_by(word, address) for address in addresses):
            there = sorted({address.module_type for address in addresses})
            near = nearest(word, [*there, *(name.rpartition(".")[2] for name in there)])
            raise UsageError(
                "nothing-selected", f"no module is called {word!r}", expected=", ".join(there[:20]),
                fix=f"write for example --modules {near or there[0]}" if there else None,
            )  # fmt: skip
    layers = {address.layer for address in addresses if address.layer is not None}
    absent = sorted((selection.layers or frozenset()) - layers)
    if addresses and (absent or not any(map(selection.takes, addresses))):
        what = (
            f"no update lies in layer {first([str(layer) for layer in absent], 8)}"
            if absent
            else "no update is left"
        )
        some = layers and absent
        fix = f"write for example --layers {min(layers)}" if some else "leave out --layers or --modules"
        raise UsageError("nothing-selected", what, expected=f"layers among {sorted(layers)}", fix=fix)
    return [_selected(source, selection) for source in sources]


def _selected(source: Source, selection: Selection) -> Source:
    if source.published is not None:
        rows = source.published.frame.filter(list(map(selection.takes, addresses_of(source))))
        return replace(source, published=source.published.with_rows(rows))
    deltas, incomparable = (
        tuple(delta for delta in listed if selection.takes(delta.address))
        for listed in (source.deltas, source.incomparable)
    )
    return replace(source, deltas=deltas, incomparable=incomparable)


def addresses_of(source: Source) -> list[Address]:
    """Where the updates of a source sit; for a published table, in its rows' order."""
    if source.published is None:
        return [delta.address for delta in source.deltas]
    frame = source.published.frame
    columns = [frame[c].to_list() if c in frame.columns else [None] * frame.height for c in _PLACE]
    return [
        Address(stack or "model", layer, module, expert)
        for stack, layer, module, expert in zip(*columns, strict=True)
    ]


def chosen_sources(
    sources: Sequence[Any],
    scale: Mapping[str, float] | None,
    layers: Any,
    modules: Any,
    opener: Callable[..., list[Source]] = open_sources,
) -> list[Source]:
    """Open what is named, label it, and keep the chosen layers and modules of it.

    `sources` may be one list of them; sources that are open already stay as they are.
    """
    listed = flattened(sources)
    opened = listed if all(isinstance(s, Source) for s in listed) else open_labelled(listed, scale, opener)
    return select(
        opened,
        Selection(
            layer_set(layers), None if modules is None else word_tuple(modules, "bad-modules", "module")
        ),
    )


def flattened(sources: Sequence[Any]) -> list[Any]:
    """The sources of a call: one after the other, or one list of them."""
    one_list = len(sources) == 1 and isinstance(sources[0], list | tuple)
    listed = list(sources[0]) if one_list else list(sources)
    if not listed:
        raise UsageError("no-source", "no source is named", expected="a path, a hub id or a live model")
    return listed


def spelled_sources(sources: Sequence[Any], opened: Sequence[Source]) -> list[str]:
    """The sources as text: paths and ids as they were given, live objects by the labels that they got."""
    live = iter([source.label for source in opened if source.live])
    return [
        f"{source.label}={source.location}"
        if isinstance(source, Source)
        else os.fspath(source)
        if isinstance(source, str | Path)
        else next(live)
        for source in flattened(sources)
    ]


def layer_set(layers: Any) -> frozenset[int] | None:
    """`"0,20-25"`, a number or numbers as a set of layer indices; `None` stays `None`, for all.

    >>> sorted(layer_set("0,20-22"))
    [0, 20, 21, 22]
    """
    if layers is None:
        return None
    if isinstance(layers, int):
        return frozenset({layers})
    if not isinstance(layers, str):
        return frozenset(int(layer) for layer in layers)
    found: set[int] = set()
    for part in layers.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", part)
        if not match or int(match.group(2) or match.group(1)) < int(match.group(1)):
            raise UsageError(
                "bad-layers", "the layers cannot be read", expected="such as 0,20-25", found=layers
            )
        found |= set(range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1))
    return frozenset(found)
