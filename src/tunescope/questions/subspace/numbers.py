"""How the numbers of pairs of models are written in sentences."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunescope.questions.subspace.kinds import THRESHOLDS


def tenths(value: float) -> str:
    """A standard deviation to a tenth, or, of a smaller one, no less than it is to a hundredth."""
    return f"{value:.1f}" if value >= 0.05 else f"{max(math.ceil(value * 100), 1) / 100:.2f}"


def plain(value: float) -> str:
    """One digit behind the point, or none where it is 0."""
    return f"{value:.1f}".removesuffix(".0")


def two(value: float | None) -> str:
    """Two digits behind the point; more where a value just below 1 would read as 1.

    >>> two(0.928), two(0.9981), two(1.0)
    ('0.93', '0.998', '1.00')
    """
    if value is None:
        return "n/a"
    if 0.995 <= value < 1:
        return next((text for n in (3, 4, 5) if (text := f"{value:.{n}f}") < "1"), "1.00")
    # Adding zero takes the sign from a rounded -0.00.
    return f"{round(value, 2) + 0.0:.2f}"


def span(values: Sequence[float | None], write: Callable[[Any], str] = two) -> str:
    """The least and the largest of what is known, or the one value where they read the same."""
    known = [value for value in values if value is not None]
    if not known:
        return "n/a"
    low, high = write(min(known)), write(max(known))
    return low if low == high else f"{low} to {high}"


def whole(n: Mapping[str, Any]) -> float:
    """The cosine of the whole updates, else the mean over weights."""
    return float(n.get("whole_cosine") or n.get("delta_cosine") or 0.0)


def turned(numbers: Sequence[Mapping[str, Any]]) -> str:
    """Common directions alone do not say that one update undoes the other; the sign of the cosine does."""
    cosines = [whole(n) for n in numbers]
    if max(cosines) > -THRESHOLDS["same_run_cosine"]:
        return ""
    return f", in opposite senses (cosine of ΔW {span(cosines)}),"


def uncounted(n: Mapping[str, Any]) -> str:
    """That weights which are not counted are not therefore without anything in common."""
    if n["components"] >= n["compared"]:
        return ""
    return " The others have less in common than is worth saying, or less surely."
