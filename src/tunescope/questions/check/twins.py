"""Whether several files hold one update, bit by bit: the same adapter under two names."""

import hashlib
from collections.abc import Iterator, Sequence

from tunescope.address import Address
from tunescope.delta import Factored
from tunescope.source.opened import Source
from tunescope.study.finding import Finding
from tunescope.words import counted, named


def same_updates(sources: Sequence[Source]) -> Iterator[Finding]:
    """One finding for all sources that hold equal updates, scales included, in every module."""
    groups: dict[frozenset[tuple[Address, bytes]], list[str]] = {}
    for source in sources if len(sources) > 1 else ():
        if source.deltas:
            groups.setdefault(_content(source), []).append(source.label)
    for content, labels in groups.items():
        if len(labels) > 1:
            where = "the one module" if len(content) == 1 else f"all {counted(len(content), 'module')}"
            text = f"{named(labels, 12)} hold exactly the same update in {where}."
            evidence = {"statistic": "identical modules", "value": len(content), "n": len(content)}
            yield Finding("duplicate", text, tuple(labels), evidence=evidence, severity="warning")


def _content(source: Source) -> frozenset[tuple[Address, bytes]]:
    """What each module holds, as a hash of its factors and its scale."""
    found = []
    for delta in source.deltas:
        update = delta.open()
        digest = hashlib.sha256(repr(update.scale).encode())
        for array in (update.B, update.A) if isinstance(update, Factored) else (update.matrix,):
            digest.update(f"|{array.dtype}{array.shape}|".encode())
            digest.update(array.tobytes())
        found.append((delta.address, digest.digest()))
    return frozenset(found)
