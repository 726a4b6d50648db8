"""Whole models on one base, of which every file is read once: what each changed, and what any two share."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunescope.delta import Delta, Pair, Stretch, Values
from tunescope.questions.norms.heads import Heads, axis_of_heads, known_heads
from tunescope.source.opened import Source

if TYPE_CHECKING:
    from tunescope.linalg.changed import Common
    from tunescope.measure.alignment import Aligned
    from tunescope.measure.dense import Change

Float64 = NDArray[np.float64]
# Models of which a span is held at once.
_AT_ONCE = 8


class Together:
    """The whole weights of a study, each in one pass with the same weight of the other models.

    A pass reads a span of the base and of up to eight models, in memory that does not depend on their size.
    Models beyond eight, and weights that are cut or dequantised for each model on its own, have passes of
    their own: nothing is `known` of these and others.
    """

    def __init__(self, sources: Sequence[Source], heads: Heads | None = None) -> None:
        self._groups: dict[Pair, list[Delta]] = {}
        self._heads = dict(_axes(sources, heads))
        self._changes: dict[Pair, Change] = {}
        self._aligned: dict[tuple[Pair, Pair], Aligned] = {}
        self._common: dict[tuple[Pair, Pair], Common | None] = {}
        self._squares: dict[Pair, Float64] = {}
        for group in _groups(sources):
            self._groups |= {delta.pair: group for delta in group if delta.pair is not None}

    def change(self, delta: Delta, executor: Executor | None = None) -> "Change":
        """What became of a whole weight; the first of a group is measured with all others of it."""
        assert delta.pair is not None
        if delta.pair not in self._changes:
            self._measure(self._groups[delta.pair], executor)
        return self._changes.pop(delta.pair)

    def known(self, a: Pair, b: Pair) -> "Aligned | None":
        """How two pairs that were read together lie to each other."""
        return self._aligned.get((a, b))

    def common(self, a: Delta, b: Delta) -> "Common | None":
        """Which values moved in both of two weights of one shape; `None` where there are none to look at."""
        if a.pair is None or b.pair is None or (a.d_out, a.d_in) != (b.d_out, b.d_in):
            return None
        if (a.pair, b.pair) in self._common:
            return self._common[a.pair, b.pair]
        # Deferred, as the next: adapters have no whole weights.
        from tunescope.questions.norms.sampled import Sampled

        return Sampled.of(a.pair, b.pair, stored_shape(a))

    def squares(self, delta: Delta) -> Float64:
        """Σ ΔW² of the rows or columns of a weight that its heads are."""
        assert delta.pair is not None
        if delta.pair not in self._squares:
            self._changes[delta.pair] = self.change(delta)
        return self._squares.pop(delta.pair)

    def _measure(self, group: Sequence[Delta], executor: Executor | None) -> None:
        from tunescope.measure.alignment import Alignments
        from tunescope.measure.dense import changes
        from tunescope.questions.norms.sampled import Sampled
        from tunescope.questions.norms.squares import Squares

        pairs = [delta.pair for delta in group if delta.pair is not None]
        before, shape = pairs[0].before, stored_shape(group[0])
        axis = next((self._heads[pair] for pair in pairs if pair in self._heads), None)
        heads = None if axis is None else Squares(len(pairs), shape, axis)
        alike = Alignments(len(pairs)) if len(pairs) > 1 else None
        moved = Sampled(len(pairs), shape, before.part(0, 0).dtype) if len(pairs) > 1 else None
        takers = [taker for taker in (heads, alike, moved) if taker is not None]

        def also(*span: Any) -> None:
            for taker in takers:
                taker(*span)

        afters = [pair.after for pair in pairs]
        found = changes(before, afters, executor, also if takers else None)
        self._changes |= dict(zip(pairs, found, strict=True))
        if heads is not None:
            for i, (pair, whole) in enumerate(zip(pairs, found, strict=True)):
                if pair in self._heads:
                    self._squares[pair] = heads.of(i, whole.norm)
        if alike is not None and moved is not None:
            aligned = alike.found()
            for (i, a), (j, b) in combinations(enumerate(pairs), 2):
                self._aligned[a, b] = aligned[i, j]
                self._common[a, b] = moved.common(i, j)


def stored_shape(delta: Delta) -> tuple[int, int]:
    """Rows and columns of a whole weight as its file has it."""
    turned = delta.pair is not None and delta.pair.turned
    return (delta.d_in, delta.d_out) if turned else (delta.d_out, delta.d_in)


def _axes(sources: Sequence[Source], given: Heads | None) -> Iterator[tuple[Pair, bool]]:
    """The whole weights that are blocks of heads, and whether these are columns of the stored tensor."""
    for source in sources:
        whole = [delta for delta in source.deltas if delta.pair is not None]
        heads = known_heads(source, given) if whole else None
        if heads is None:
            continue
        for delta in whole:
            if delta.pair is not None and (columns := axis_of_heads(delta, heads)) is not None:
                yield delta.pair, columns != delta.pair.turned


def _groups(sources: Sequence[Source]) -> Iterator[list[Delta]]:
    """The weights of several models that are compared with one tensor of the base, and all others singly."""
    open_groups: dict[Any, list[Delta]] = {}
    for delta in (delta for source in sources for delta in source.deltas if delta.pair is not None):
        assert delta.pair is not None
        key = delta.address, stored_shape(delta), delta.pair.turned, _identity(delta.pair.before)
        group = open_groups.setdefault(key, [])
        group.append(delta)
        if len(group) == _AT_ONCE:
            yield open_groups.pop(key)
    yield from open_groups.values()


def _identity(values: Values) -> Any:
    """What two rows of values have in common that are the same stretch of one tensor."""
    if isinstance(values, Stretch):
        return _identity(values.values), values.begin, values.length
    return id(values)
