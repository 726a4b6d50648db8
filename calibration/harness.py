"""Scenarios, their studies, and what they must keep to."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

FULL, QUICK = 2000, 200
# The most null studies with a kind, with any finding at all, and the least planted ones with it.
KIND_BUDGET, ANY_BUDGET, POWER = 0.05, 0.10, 0.90
ANY = "any finding"

Draw = Callable[[np.random.Generator], Collection[str]]


@dataclass(frozen=True)
class Null:
    """Studies in which none of `kinds` is true: each may be raised in at most 5 %, any in at most 10 %.

    `draw` simulates one study from a generator, with all its models, and gives the kinds that were raised;
    kinds outside `kinds` are not counted. An equivalence statement is null where the smallest effect worth
    saying is there, which `law` then says. `shown` studies are of a law for which no rate is promised.
    """

    question: str
    kinds: tuple[str, ...]
    law: str
    shape: str
    draw: Draw
    any_budget: bool = True
    shown: bool = False

    @property
    def name(self) -> str:
        """What tells this scenario from others; its draws follow from it."""
        return f"{self.question} | {self.law} | {self.shape}"


@dataclass(frozen=True)
class Planted:
    """Studies in which `kind` is true by the effect stated: it must be raised in at least `least` of them.

    `least` is `None` for effects that are shown without being promised.
    """

    question: str
    kind: str
    effect: str
    law: str
    shape: str
    draw: Draw
    least: float | None = POWER

    @property
    def name(self) -> str:
        """What tells this scenario from others; its draws follow from it."""
        return f"{self.question} | {self.kind} = {self.effect} | {self.law} | {self.shape}"


Scenario = Null | Planted


@dataclass(frozen=True)
class Row:
    """How often one kind was raised in n studies of a scenario."""

    scenario: Scenario
    kind: str
    hits: int
    n: int
    seconds: float

    @property
    def rate(self) -> float:
        """The share of studies."""
        return self.hits / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate."""
        return wilson(self.hits, self.n)

    @property
    def budget(self) -> float | None:
        """The bound that the rate must keep to; none for what is only shown."""
        if isinstance(self.scenario, Planted):
            return self.scenario.least
        if self.scenario.shown:
            return None
        if self.kind == ANY:
            return ANY_BUDGET if self.scenario.any_budget else None
        return KIND_BUDGET

    @property
    def kept(self) -> bool:
        """Whether the rate keeps to the budget; of few studies, whether its interval reaches it."""
        if self.budget is None:
            return True
        low, high = self.interval if self.n < FULL else (self.rate, self.rate)
        return high >= self.budget if isinstance(self.scenario, Planted) else low <= self.budget


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (1927).

    >>> [round(bound, 3) for bound in wilson(10, 200)]
    [0.027, 0.09]
    """
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def draws(scenario: Scenario, first: int, n: int, salt: str = "") -> Counter[str]:
    """How many of n studies from number `first` on raise each kind, and any; drawn alike every time."""
    raised: Counter[str] = Counter()
    wanted = set(_wanted(scenario))
    for i in range(first, first + n):
        digest = hashlib.blake2b(f"{salt}{scenario.name} #{i}".encode(), digest_size=16).digest()
        found = set(scenario.draw(np.random.default_rng(int.from_bytes(digest, "little")))) & wanted
        raised.update(found)
        raised[ANY] += bool(found)
    return raised


def rows_of(scenario: Scenario, raised: Mapping[str, int], n: int, seconds: float) -> list[Row]:
    """A row for each kind that the scenario is about, and for any of several."""
    return [Row(scenario, kind, raised.get(kind, 0), n, seconds) for kind in kinds_of(scenario)]


def kinds_of(scenario: Scenario) -> tuple[str, ...]:
    """The kinds that a scenario has a row of, and any of several."""
    wanted = _wanted(scenario)
    return (*wanted, ANY) if isinstance(scenario, Null) and len(wanted) > 1 else wanted


def _wanted(scenario: Scenario) -> tuple[str, ...]:
    return scenario.kinds if isinstance(scenario, Null) else (scenario.kind,)


def left(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows that leave their budget."""
    return (row for row in rows if not row.kept)
