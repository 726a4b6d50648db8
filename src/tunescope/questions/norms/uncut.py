"""Fused projections that are not compared with their parts, since their rows go head by head."""

from collections.abc import Iterator, Sequence

from tunescope.address.fused import PARTS, by_head
from tunescope.delta import Delta
from tunescope.errors import Notice
from tunescope.source.opened import Source
from tunescope.words import counted, named


def uncut(sources: Sequence[Source]) -> Iterator[tuple[str, Notice]]:
    """A notice, by label, for every source that fuses head by head what others of the set keep apart."""
    for source in sources:
        fused = {
            (d.address.stack, d.address.layer): d
            for d in source.deltas
            if d.address.component in PARTS and by_head(d.address)
        }
        apart = {other.label: _met(fused, other) for other in sources if fused and other is not source}
        others = [label for label, met in apart.items() if met]
        if others:
            first = next(met[0] for met in apart.values() if met)
            text = (
                f"{counted(len(fused), 'fused projection', 'fused projections')} ({first.component_name}, …) "
                f"of query, key and value go head by head, so that they are not compared with those that "
                f"{named(others)} {'keep' if len(others) > 1 else 'keeps'} apart: where a part lies depends "
                "on the number of heads"
            )
            yield source.label, Notice("head-by-head", text, first.tensors[0] if first.tensors else None)


def _met(fused: dict[tuple[str, int | None], Delta], other: Source) -> list[Delta]:
    """The fused projections of which the other has a part of the same inputs in the same layer."""
    parts = {part for whole in PARTS.values() for part in whole if part.startswith("ATTN_")}
    apart = [d for d in other.deltas if d.address.component in parts]
    places = {(d.address.stack, d.address.layer, d.d_in) for d in apart}
    return [delta for place, delta in fused.items() if (*place, delta.d_in) in places]
