"""Which updates of several models are of the same weight, and so can be compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tunescope.address import Address, as_loaded
from tunescope.delta import Delta
from tunescope.measure.refinement import refined


@dataclass(frozen=True, eq=False)
class Meeting:
    """The updates of one weight, by the models' numbers; with `sides`, only 1 and 2 meet each other."""

    deltas: Mapping[int, Delta]
    sides: Mapping[int, int] = field(default_factory=dict)

    @property
    def component_name(self) -> str:
        """The name of the weight in the first model that has it."""
        return self.deltas[min(self.deltas)].component_name

    @property
    def work(self) -> int:
        """Multiplications that the inner products of all pairs take, by what the adapters state."""
        ranks = [delta.rank or min(delta.d_out, delta.d_in) for delta in self.deltas.values()]
        most = max(delta.d_out + delta.d_in for delta in self.deltas.values())
        return sum(ranks) ** 2 // 2 * most


def meetings(models: Sequence[Sequence[Delta]]) -> list[Meeting]:
    """Every weight that two or more models have, in the order of its first appearance."""
    named: dict[Address, dict[int, Delta]] = {}
    for i, deltas in enumerate(models):
        for delta in deltas:
            named.setdefault(as_loaded(delta.address), {})[i] = delta
    found = [Meeting(deltas) for deltas in named.values() if len(deltas) > 1]
    return [*found, *_refined(models)]


def _refined(models: Sequence[Sequence[Delta]]) -> Iterator[Meeting]:
    """Parts of what some models fuse and others keep apart.

    Models with the same weights in the same shapes are one kind: between those of one kind there is none,
    and two of each kind say which parts there are.
    """
    kinds: dict[frozenset[tuple[Address, int, int]], list[int]] = {}
    for i, deltas in enumerate(models):
        kinds.setdefault(frozenset((d.address, d.d_out, d.d_in) for d in deltas), []).append(i)
    for mine, theirs in combinations(kinds.values(), 2):
        first, second = models[mine[0]], models[theirs[0]]
        places = [a.address for a, _ in refined(first, second)]
        parts: dict[Address, dict[int, Delta]] = {place: {} for place in places}
        if not parts:
            continue
        for i in mine:
            for delta, _ in refined(models[i], second):
                parts[delta.address][i] = delta
        for j in theirs:
            for _, delta in refined(first, models[j]):
                parts[delta.address][j] = delta
        sides = dict.fromkeys(mine, 1) | dict.fromkeys(theirs, 2)
        yield from (Meeting(deltas, sides) for deltas in parts.values())
