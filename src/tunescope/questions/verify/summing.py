"""What is said of adapters whose coefficients a merge tells only added up."""

from collections.abc import Iterator, Mapping, Sequence

from tunescope.questions.verify.reading import NEAR, Reading
from tunescope.study.finding import listed, significant


def sums_of_readings(readings: Sequence[Reading]) -> dict[str, Reading]:
    """Of every sum the reading that holds most of its adapters."""
    found: dict[str, Reading] = {}
    for reading in readings:
        if reading.members and len(reading.members) > len(_members(found.get(reading.label))):
            found[reading.label] = reading
    return found


def _members(reading: Reading | None) -> Mapping[str, float]:
    return {} if reading is None else reading.members


def what_sums_are(readings: Sequence[Reading]) -> str:
    """Sentences on every sum: which adapters it holds, with which weights, and what was expected of it."""
    return "".join(_together(group) for group in _groups(list(sums_of_readings(readings).values())))


def _groups(sums: Sequence[Reading]) -> Iterator[list[Reading]]:
    """Sums that have adapters in common stand together."""
    rest = list(sums)
    while rest:
        group = [rest.pop(0)]
        joined = set(group[0].members)
        while more := [r for r in rest if joined & set(r.members)]:
            group += more
            joined |= {label for r in more for label in r.members}
            rest = [r for r in rest if r not in more]
        yield group


def _together(group: Sequence[Reading]) -> str:
    labels = list(dict.fromkeys(label for reading in group for label in reading.members))
    parts = [
        f"{' stands' if r is group[0] else ''} for {_formula(r.members, place if len(group) > 1 else None)}, "
        f"{significant(r.expected)}"
        for place, r in enumerate(group)
    ]
    said = ", and ".join(f"{r.label}{part}" for r, part in zip(group, parts, strict=True))
    return f" No merge tells {listed(labels, 'and')} apart: {said} where all is as expected."


def _formula(members: Mapping[str, float], place: int | None = None) -> str:
    """What is summed up, in the sentence's first, second … or only sum.

    >>> _formula({"a": 1.0, "b": -0.5})
    'the coefficient of a less 0.5 times that of b'
    """
    if all(abs(weight - 1) <= NEAR for weight in members.values()):
        of = "their coefficients" if place is None else f"{'those' if place else 'the coefficients'} of "
        return f"{of}{listed(list(members), 'and') if place is not None else ''} added up"
    (first, weight), *rest = members.items()
    whole = f"{_times(weight)}the coefficient of {first}"
    return whole + "".join(
        f" {'less' if weight < 0 else 'plus'} {_times(abs(weight))}that of {label}" for label, weight in rest
    )


def _times(weight: float) -> str:
    return "" if abs(weight - 1) <= NEAR else f"{significant(weight, 3)} times "
