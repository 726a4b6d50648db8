"""Studies of one kind on one page: their models stand in the same figures, on the same scales."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import polars as pl

from tunescope.page.panels import Check, Data, Measure, Panel, Part

# What says which row a row is; of one weight of one model a table has one row.
_KEYS = (
    "model_id", "model_a", "model_b", "run", "data", "method", "step", "stack", "layer", "module_type",
    "parameter", "component_name", "expert", "head", "adapter", "of", "side", "i", "j", "k",
)  # fmt: skip


def merged(parts: Sequence[Part]) -> list[Part]:
    """The parts with those of one kind put together, where no weight of a model would have two rows."""
    found: list[Part] = []
    for part in parts:
        for place, earlier in enumerate(found):
            if (both := _together(earlier, part)) is not None:
                found[place] = both
                break
        else:
            found.append(part)
    return found


def ambiguous(parts: Sequence[Part]) -> list[Check]:
    """A warning for every label that names different files in different studies."""
    digests: dict[tuple[str, str], set[str]] = {}
    for part in parts:
        for source in part.sources:
            digest, label = source.get("digest") or {}, str(source.get("label"))
            if label in part.labels and digest.get("value"):
                digests.setdefault((label, str(source.get("format"))), set()).add(str(digest["value"]))
    labels = dict.fromkeys(label for (label, _), values in digests.items() if len(values) > 1)
    return [
        Check("labels", "warning", f"{label} names different files in different studies: give them labels.")
        for label in labels
    ]


def _together(first: Part, second: Part) -> Part | None:
    if first.kind != second.kind:
        return None
    one, two = first.content, second.content
    data: dict[str, Data] = {**one.data, **{k: v for k, v in two.data.items() if k not in one.data}}
    for name in one.data.keys() & two.data.keys():
        joined = _joined(one.data[name], two.data[name])
        if joined is None:
            return None
        data[name] = joined
    panels = {panel.name: panel for panel in one.panels}
    for panel in two.panels:
        same = panels.get(panel.name)
        panels[panel.name] = panel if same is None else _one_panel(same, panel)
    labels = list(dict.fromkeys([*first.labels, *second.labels]))
    # In one order, whichever of the two brought a table.
    data = {name: data[name] for name in dict.fromkeys([*one.data, *two.data])}
    return replace(first, labels=labels, content=replace(one, data=data, panels=list(panels.values())))


def _joined(one: Data, two: Data) -> Data | None:
    """The rows of both, equal ones once; `None` where something would have two different rows."""
    frame = pl.concat([one.frame, two.frame], how="diagonal_relaxed")
    keys = [name for name in _KEYS if name in frame.columns]
    frame = frame.unique(maintain_order=True)
    if keys and frame.select(keys).is_duplicated().any():
        # One study may have measured what the other left unknown.
        known = frame.group_by(keys, maintain_order=True).agg(
            pl.all().drop_nulls().unique(maintain_order=True)
        )
        if known.select((pl.exclude(keys).list.len() > 1).any()).sum_horizontal().sum():
            return None
        frame = known.with_columns(pl.exclude(keys).list.first()).select(frame.columns)
    notes = " ".join(dict.fromkeys(filter(None, (one.note, two.note))))
    meanings: Mapping[str, Mapping[str, str]] = {**two.meanings, **one.meanings}
    return Data(frame, meanings, notes, max(one.bits, two.bits))


def _one_panel(one: Panel, two: Panel) -> Panel:
    """The first panel with what only the second has besides: measures, columns, sentences of the caption."""
    said = [*sentences_of(one.caption), *sentences_of(two.caption)]
    changes: dict[str, Any] = {"caption": " ".join(dict.fromkeys(said))}
    for name in ("measures", "columns"):
        if name in {field.name for field in fields(one)}:
            here, there = getattr(one, name), getattr(two, name, ())
            known = {_name_of(item) for item in here}
            changes[name] = [*here, *(item for item in there if _name_of(item) not in known)]
    return replace(one, **changes)


def sentences_of(text: str) -> list[str]:
    """The sentences of a text; one ends where the next begins with a capital, a digit or a symbol."""
    return re.split(r"(?<=[.]) (?=[^a-z])", text) if text else []


def _name_of(item: Measure | str) -> str:
    return item if isinstance(item, str) else item.column
