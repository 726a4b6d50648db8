"""What was looked at in pairs of models, and the fewest directions in common that would have been found."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tunescope.linalg import chance, overlap
from tunescope.questions.subspace.kinds import THRESHOLDS
from tunescope.questions.subspace.pairs import ALPHA, SQUARE, Side
from tunescope.statistics.laws import NINE_IN_TEN
from tunescope.study.finding import least_found
from tunescope.words import named

# From here on a count of directions is looked at (as `shared` does).
_COUNTED = 1e-3


def visible_directions(summary: pl.DataFrame) -> list[dict[str, Any]]:
    """For each shape and side: how many directions in common at cos² 0.9 one weight needs to be found.

    `directions` of `rank` (the smaller one) are the fewest that are found nine times in ten among all the
    weights of all pairs, and give `above` chance; both `None` where not even all of them would be found.
    """
    usable = summary.filter(
        (pl.col("model_a") != pl.col("model_b"))
        & pl.col("excess_input").is_not_null()
        & pl.col("excess_output").is_not_null()
    )
    places = 2 * usable.height
    found = []
    sides: tuple[tuple[Side, str], ...] = (("output", "d_out"), ("input", "d_in"))
    for side, d in sides:
        shapes = usable.group_by("rank_a", "rank_b", d, maintain_order=True).len()
        for a, b, dimension, count in shapes.iter_rows():
            seen = fewest(a, b, dimension, places)
            found.append({"side": side, "rank": min(a, b), "d": dimension, "weights": count, **seen})
    return found


def fewest(rank: int, other: int, d: int, places: int) -> dict[str, Any]:
    """The fewest directions at cos² 0.9 that are found in one of `places` weights, and their excess.

    >>> fewest(32, 32, 128, 40)["directions"]
    2
    """
    few, many = sorted((rank, other))
    mean, deviation = (float(part[-1, -1]) for part in overlap.chance_grid(few, many, d))
    if many >= d:
        return {"directions": None, "above": None}
    for q in range(1, few + 1):
        phi = (SQUARE * q + (few - q) * (many - q) / max(d - q, 1)) / few
        low = phi - NINE_IN_TEN * deviation
        if _found(low, q, few, many, d, places, mean):
            return {"directions": q, "above": overlap.excess(phi, mean)}
    return {"directions": None, "above": None}


def rank_with_room(summary: pl.DataFrame, whole: Collection[str]) -> int | None:
    """The largest power of two to which spans of `whole` models can be cut so that something can be told.

    `None` where something can be told of every weight as it is, and where no such cut helps them all.
    """
    rows = summary.filter(
        (pl.col("model_a") != pl.col("model_b")) & (pl.col("rank_a") > 0) & (pl.col("rank_b") > 0)
    )
    kept = [pl.col(f"rank_{m}").alias(m) for m in "ab"]
    cut = [pl.col(f"model_{m}").is_in(list(whole)).alias(f"{m}_whole") for m in "ab"]
    shapes = rows.select(*kept, *cut, "d_in", "d_out").unique().rows()

    def sees(most: float) -> bool:
        spans = (
            (min(a, most) if ours else a, min(b, most) if theirs else b, both)
            for a, b, ours, theirs, *both in shapes
        )
        return all(
            fewest(int(a), int(b), d, 2 * rows.height)["directions"] is not None
            for a, b, both in spans
            for d in both
        )

    cuts = [2**k for k in reversed(range(max((max(row[:2]) for row in shapes), default=1).bit_length()))]
    return None if sees(math.inf) else next((most for most in cuts if sees(most)), None)


def _found(phi: float, q: int, few: int, many: int, d: int, places: int, mean: float) -> bool:
    """Whether φ of the whole spans, or q directions counted, pass the tests and sizes of `Pair.some`."""
    whole = float(chance.phi_tail(np.array(phi), np.array(float(few)), np.array(float(many)), d))
    by_chance, scatter, _ = chance.counts(few, many, d)
    count = q + max(round(by_chance - NINE_IN_TEN * scatter), 0)
    counts = chance.level(few, many, d) <= SQUARE
    counted = min(1.0, 2 * chance.count_tail(count, few, many, d)) if counts else 1.0
    worth = counted <= _COUNTED and count - by_chance >= 1
    p = min(1.0, 2 * min(whole, counted))
    return p * places <= ALPHA and (overlap.excess(phi, mean) >= THRESHOLDS["little"] or worth)


def nothing_stands_out(
    pairs: Sequence[Mapping[str, Any]], visible: Sequence[Mapping[str, Any]], room: int | None = None
) -> str:
    """What stands in the place of findings where there are none; `room` is the cut that would leave room."""
    others = [pair for pair in pairs if pair.get("model_a") is None or pair["model_a"] != pair["model_b"]]
    if not others and any(pair["n_compared"] for pair in pairs):
        return _of_itself([pair["model_a"] for pair in pairs])
    weights = sum(pair["n_compared"] for pair in others)
    if not weights:
        return f"No weight could be compared{_why(others or pairs)}."
    of = f"{weights} comparison{'s' * (weights != 1)} of single weights"
    text = f"Nothing stands out in {of}."
    told = [seen for seen in visible if seen["directions"] is not None]
    if not told:
        return f"Nothing can be told from {of}: the spans leave no room for it.{_cut_to(room)}"
    parts = []
    for side in ("output", "input"):
        mine = [seen for seen in told if seen["side"] == side]
        if mine:
            worst = max(mine, key=lambda seen: seen["directions"] / seen["rank"])
            above = f"{worst['above']:.2f} above chance"
            parts.append(f"{worst['directions']} of {worst['rank']} {side} directions ({above})")
    if parts:
        text += least_found([f"{' or '.join(parts)} in common in any one of them, at cos² {SQUARE:g}"])
    blind = sum(seen["weights"] for seen in visible if seen["directions"] is None)
    if blind:
        text += f" In {blind} of {2 * weights} sides the spans leave no room to tell.{_cut_to(room)}"
    return text


def _cut_to(room: int | None) -> str:
    """What to do where a whole model's directions fill the space."""
    if room is None:
        return ""
    return f" With --max-rank {room} only the {room} leading directions of a whole model are compared."


def _of_itself(labels: Sequence[str]) -> str:
    """That a model against itself tests nothing: whatever its weights are, whole spans are equal."""
    own = "is compared with itself" if len(labels) == 1 else "are each compared with themselves"
    return (
        f"{named(labels, 8)} {own}, where whole spans are equal (overlap 1) whatever the weights are: "
        "nothing is tested. What is shared with others takes a second source."
    )


def _why(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Why no weight of any pair was compared: the statuses of their rows, or that they share no weight."""
    causes: dict[str, int] = {}
    for pair in pairs:
        for status, count in pair["not_compared"].items():
            causes[status] = causes.get(status, 0) + count
    told = [f"{status} ({count} weight{'s' * (count != 1)})" for status, count in causes.items()]
    return f": {named(told)}" if told else ": the sources have none in common"
