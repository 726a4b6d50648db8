"""Labels in pictures: legible, on one line, and never two alike."""

import numpy as np
import pytest

from tunescope.picture.lettering import names

pytest.importorskip("matplotlib")

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "labels",
    [
        [COMPOSED, DECOMPOSED],
        ["\u202ea", "\\u202ea"],
        ["a\nb", "a\\nb"],
        ["\u8a9e", "\\u8a9e", "x"],
        [COMPOSED, DECOMPOSED, "cafe\\u0301"],
    ],
)
@pytest.mark.parametrize("limit", [6, 40])
def test_labels_that_would_look_alike_are_spelled(labels: list[str], limit: int) -> None:
    shown = names(labels, limit)
    assert len(set(shown)) == len(labels)
    assert all(text.isprintable() for text in shown)


def test_labels_that_do_not_are_drawn_as_they_are() -> None:
    assert names([COMPOSED, "\u0645\u0631", "b"], 40) == [COMPOSED, "\u0645\u0631", "b"]


def test_only_those_that_look_alike_are_spelled() -> None:
    assert names([COMPOSED, DECOMPOSED, "\u0645", f"{COMPOSED} \u00b7 rest"], 40) == [
        "caf\\xe9", "cafe\\u0301", "\u0645", f"{COMPOSED} \u00b7 rest",
    ]  # fmt: skip


def test_labels_of_ten_thousand_letters_that_differ_in_the_middle_are_numbered() -> None:
    shown = names([f"{'a' * 5000}{mark}{'a' * 5000}" for mark in "xyx"], 20)
    assert [text[-4:] for text in shown] == [" (1)", " (2)", " (1)"]
    assert max(map(len, shown)) < 30


def test_rows_that_look_alike_are_drawn_apart_on_sheets_and_grids() -> None:
    """Two models whose names differ by how an accent is written were two rows of one name."""
    import matplotlib.pyplot as plt

    from tunescope.picture.grid import heatmap
    from tunescope.picture.sheet import sheet
    from tunescope.picture.views import Grid

    rows, values = (COMPOSED, DECOMPOSED, "a\nb"), np.ones((3, 1))
    grid = Grid("title", rows, ("x",), values, values < 0, "scale", (0.0, 1.0))
    drawn = {text.get_text() for ax in sheet([[grid]]).axes for text in ax.texts}
    assert {"caf\\xe9", "cafe\\u0301", "a\\nb"} <= drawn
    ticks = [text.get_text() for text in heatmap(grid).get_yticklabels()]
    assert ticks == ["caf\\xe9", "cafe\\u0301", "a\\nb"]
    plt.close("all")


def test_a_label_of_two_lines_is_drawn_on_one() -> None:
    assert names(["line\nbreak"], 40) == ["line\\nbreak"]
