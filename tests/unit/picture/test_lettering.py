"""Labels in pictures: legible, on one line, and never two alike."""

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


def test_a_label_of_two_lines_is_drawn_on_one() -> None:
    assert names(["line\nbreak"], 40) == ["line\\nbreak"]
