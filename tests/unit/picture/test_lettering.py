"""Labels in pictures: legible, on one line, and never two alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_labels_of_thousands_of_letters_that_differ_deep_inside_are_numbered() -> None:
    """What tells them apart is itself too long, and two of three begin and end alike."""
    a = "a" * 2000
    labels = [a + a.join((begin, mark, end)) + a for begin, mark, end in ("vpx", "vqx", "wpy")]
    shown = names([*labels, labels[0]], 20)
    assert [text[-4:] for text in shown] == [" (1)", " (2)", " (3)", " (1)"]
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


def test_labels_that_differ_in_the_middle_keep_where_they_differ() -> None:
    labels = [
        f"meta-llama-3.1-70b-instruct-{k}-v2-lora-r16-seed-0-checkpoint-1000" for k in ("dpo", "kto", "sft")
    ]
    shown = names([*labels, "other"], 26)
    assert all(key in text for key, text in zip(("dpo", "kto", "sft"), shown, strict=False))
    assert max(map(len, shown)) <= 26
    assert shown[3] == "other"


@given(
    st.lists(st.text("ab", min_size=1, max_size=40), min_size=2, max_size=6, unique=True), st.integers(8, 30)
)
def test_no_two_labels_are_cut_to_the_same_text_or_grow_much(labels: list[str], limit: int) -> None:
    shown = names(labels, limit)
    assert len(set(shown)) == len(labels)
    # A number in brackets may follow.
    assert max(map(len, shown)) <= limit + 4
