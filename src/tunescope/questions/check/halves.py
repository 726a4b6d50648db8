"""Modules of which a factor is missing: they are part of an adapter, and no loader can apply them."""

from collections.abc import Iterator

from tunescope.address import component_names, distinct_addresses, parse
from tunescope.questions.check.base import BaseNames
from tunescope.questions.check.names import candidates
from tunescope.questions.check.place import Place
from tunescope.questions.check.wanted import Wanted
from tunescope.source.formats.names import parse_key
from tunescope.source.opened import Source
from tunescope.source.tuners import TUNERS


def half_saved(source: Source, base: BaseNames | None) -> list[Place]:
    """The modules that the file holds in part, `missing` whatever the base has."""
    lacking = _lacking(source)
    addresses = distinct_addresses([parse(module) for module in lacking])
    names = component_names(addresses)
    shapes = {} if base is None else base.shapes
    places = []
    for (module, text), address, name in zip(lacking.items(), addresses, names, strict=True):
        weight = next((n for n in candidates(module) if n in shapes), f"{module}.weight")
        status = None if base is None else "missing"
        remedy = "" if base is None else f"save the adapter again: the module {text}"
        one = Wanted(module, address, name, (None, None))
        places.append(Place(one, weight, status, shapes.get(weight), remedy, fault="half"))
    return places


def _lacking(source: Source) -> dict[str, str]:
    """What is wrong with each module that was left out as incomplete, by its dotted name."""
    tuner = TUNERS.get(str(source.config.get("peft_type"))) if source.format == "peft" else None
    if tuner is None:
        noticed = (n for n in source.notices if n.slug == "half_saved" and n.tensor is not None)
        return {str(n.tensor): n.text.partition(_LEFT_OUT)[2] for n in noticed if _LEFT_OUT in n.text}
    return dict(_of_ledger(source, tuner.parameters))


_LEFT_OUT = "incomplete module: "


def _of_ledger(source: Source, parameters: frozenset[str]) -> Iterator[tuple[str, str]]:
    # A notice names the first few modules only.
    for entry in source.coverage:
        key = parse_key(entry.tensor, parameters) if entry.reason.startswith(_LEFT_OUT) else None
        if key is not None:
            yield key.module, entry.reason.removeprefix(_LEFT_OUT)
