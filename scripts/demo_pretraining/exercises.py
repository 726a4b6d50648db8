"""Generated exercises: no two alike in their numbers, a fiftieth of them held out."""

import hashlib
from collections.abc import Iterator
from random import Random

from demo_pretraining import arithmetic, physics, programs, reasoning
from demo_pretraining.words import Draft

AREAS = {
    "arithmetic": arithmetic.FAMILIES,
    "reasoning": reasoning.FAMILIES,
    "physics": physics.FAMILIES,
    "programs": programs.FAMILIES,
}
HELD_OUT_ONE_IN = 50
LEADS = (
    ("Problem: ", "\nAnswer: "),
    ("Q: ", "\nA: "),
    ("", "\n"),
    ("Exercise. ", "\nWorked answer. "),
    ("<|user|>", "<|assistant|>"),
)


def is_held_out(name: str) -> bool:
    """A fixed fiftieth of all names, the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % HELD_OUT_ONE_IN == 0


def render(rng: Random, draft: Draft) -> str:
    _, question, answer = draft
    before, between = rng.choice(LEADS)
    return f"{before}{question}{between}{answer}".rstrip("\n") + "\n"


def exercises(count: int, seed: int = 0) -> Iterator[tuple[str, str, bool]]:
    """Area, text and whether it is held out, for ``count`` exercises whose numbers all differ.

    The split looks at the family and the numbers alone, so one problem told with two names falls on one side.
    """
    rng, seen = Random(seed), set[str]()
    areas = list(AREAS)
    for index in range(count):
        area = areas[index % len(areas)]
        family = rng.choice(AREAS[area])
        draft = family(rng)
        name = f"{family.__name__}{draft[0]}"
        if name not in seen:
            seen.add(name)
            yield area, render(rng, draft), is_held_out(name) and family is not physics.fact
