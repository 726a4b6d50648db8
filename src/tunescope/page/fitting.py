"""Large tables made to fit a page: fewer steps or fewer ranks, and the words that say so."""

from collections.abc import Sequence

import polars as pl


def filled(frame: pl.DataFrame, always: Sequence[str] = ()) -> pl.DataFrame:
    """The columns that hold anything, and those of `always`.

    >>> filled(pl.DataFrame({"a": [1], "b": [None], "c": [None]}), ["c"]).columns
    ['a', 'c']
    """
    return frame.select([n for n in frame.columns if n in always or frame[n].is_not_null().any()])


def thinned(frame: pl.DataFrame, most: int, over: str = "step") -> tuple[pl.DataFrame, str]:
    """At most about `most` rows, by leaving out steps evenly; each model keeps its first and its last.

    Returns the rows and a note, which is empty where nothing was left out.
    """
    if frame.height <= most or over not in frame.columns:
        return frame, ""
    share = most / frame.height
    kept = [
        part.filter(pl.col(over).is_in(_spread(part[over].unique().sort().to_list(), share)))
        for part in frame.partition_by("model_id", maintain_order=True)
    ]
    shown = sum(part[over].n_unique() for part in kept)
    whole = sum(part[over].n_unique() for part in frame.partition_by("model_id"))
    return pl.concat(kept), f"{shown:,} of {whole:,} captures are on the page; the study's tables have all."


def _spread(steps: Sequence[int], share: float) -> list[int]:
    """Evenly spread steps, the first and the last among them.

    >>> _spread([1, 2, 3, 4, 5, 6, 7, 8, 9], 0.34)
    [1, 5, 9]
    """
    count = max(2, min(len(steps), int(len(steps) * share)))
    if count >= len(steps):
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count)]


# Leading ranks that are shown where all of them would be too many.
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def leading(frame: pl.DataFrame, most: int, columns: Sequence[str] = ("i", "j")) -> tuple[pl.DataFrame, str]:
    """At most about `most` cells of grids, by keeping fewer of the numbers of leading directions."""
    if frame.height <= most:
        return frame, ""
    largest = max(int(frame[column].to_numpy().max()) for column in columns)
    ladder = [rank for rank in LADDER if rank <= largest]
    kept = _rungs(frame, ladder, columns)
    while kept.height > most and len(ladder) > 2:
        # Every other rung goes, the first and the last stay.
        ladder = [rank for k, rank in enumerate(ladder) if k % 2 == 0 or k == len(ladder) - 1]
        kept = _rungs(frame, ladder, columns)
    shown = ", ".join(map(str, ladder))
    return kept, f"Shown for {shown} leading directions; the study's tables have every number."


def _rungs(frame: pl.DataFrame, ladder: Sequence[int], columns: Sequence[str]) -> pl.DataFrame:
    return frame.filter(*(pl.col(column).is_in(ladder) for column in columns))
