"""Tables made to fit: ends are kept, the rest thins evenly, and a note says so."""

from itertools import pairwise

import polars as pl

from tunescope.page.fitting import leading, thinned


def steps(count: int) -> pl.DataFrame:
    return pl.DataFrame({"model_id": ["a"] * count + ["b"] * count, "step": [*range(count), *range(count)]})


def test_what_fits_is_left_alone() -> None:
    frame = steps(5)
    assert thinned(frame, 10) == (frame, "")


def test_steps_thin_evenly_and_every_run_keeps_its_ends() -> None:
    kept, note = thinned(steps(100), 40)
    own = kept.filter(pl.col("model_id") == "b")["step"].to_list()
    assert (own[0], own[-1], len(own)) == (0, 99, 20)
    assert max(b - a for a, b in pairwise(own)) == 6
    assert note.startswith("40 of 200 captures")


def test_grids_keep_leading_ranks_and_the_largest() -> None:
    frame = pl.DataFrame({"i": [i for i in range(1, 17) for _ in range(16)], "j": list(range(1, 17)) * 16})
    kept, note = leading(frame, 70)
    assert kept["i"].unique().sort().to_list() == [1, 2, 3, 4, 6, 8, 12, 16]
    assert "1, 2, 3, 4, 6, 8, 12, 16" in note
    assert leading(frame, 256) == (frame, "")
