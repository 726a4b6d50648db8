"""What the page says of a trajectory where nothing was found."""

import polars as pl
import pytest

from tunescope.questions.trajectory.page import _checks


@pytest.mark.parametrize(
    ("jumps", "state", "words"),
    [
        ([0.3, 0.5], "good", "50% of the way would be seen"),
        ([0.3, None], "note", "jumps cannot be told (captures too few)."),
    ],
)
def test_no_jump_is_called_absent_where_none_could_have_been_seen(
    jumps: list[float | None], state: str, words: str
) -> None:
    unseen = {"jump": "captures too few"}
    runs = {
        f"run-{k}": {"visible": {"jump": jump}} | ({"unseen": unseen} if jump is None else {})
        for k, jump in enumerate(jumps)
    }
    steps = pl.DataFrame({"finite": [True]})
    (seams,) = (c for c in _checks(steps, {"findings": [], "runs": runs}) if c.name == "seams")
    assert seams.state == state
    assert words in seams.text
