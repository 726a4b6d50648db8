"""What a message holds of the names that it is about: legible, bounded, and never alike for two."""

import pytest

from tunescope.errors import BadInput, Notice, brief, printable

LONG = ("a" * 10_000, "a" * 5000 + "b" + "a" * 4999)


def test_a_long_text_keeps_both_ends_and_no_two_become_one() -> None:
    cut = [printable(f"begin{text}end") for text in LONG]
    assert [len(text) for text in cut] == [200, 200]
    assert all(text.startswith("begina") and text.endswith("aend") for text in cut)
    assert cut[0] != cut[1]


@pytest.mark.parametrize("limit", [1, 8, 10, 11, 12, 13, 60, 199])
def test_any_limit_keeps_two_texts_apart(limit: int) -> None:
    cut = [printable(text, limit) for text in LONG]
    assert cut[0] != cut[1]
    assert max(map(len, cut)) <= max(limit, 12)


@pytest.mark.parametrize("around", ["the label {} is taken", "{}: 3", "'{}' and more", "({})", "x={}, y"])
def test_a_name_is_cut_to_the_same_text_whatever_stands_around_it(around: str) -> None:
    for text in LONG:
        assert brief(around.format(text)) == around.format(printable(text))


def test_a_long_name_hides_nothing_of_what_an_error_or_a_notice_says_of_it() -> None:
    error = str(BadInput("taken", f"the label {LONG[0]} is taken", expected=f"not {LONG[1]}", found=LONG[0]))
    assert len(error) < 1000
    assert "is taken [taken]" in error
    assert printable(LONG[1]) in error
    assert str(Notice("n", f"{LONG[0]} was left out")).endswith("was left out [n]")
