"""Texts in the page: escaped, spelled out where they are invisible, shortened in the middle."""

from tunescope.page.markup import Markup, element, name, shortened

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\x00\n"


def test_texts_and_attributes_are_escaped_and_markup_is_not() -> None:
    made = element("p", HOSTILE, element("b", "x"), title=HOSTILE)
    assert "<img" not in made
    assert "</script" not in made
    assert made.endswith("<b>x</b></p>")
    assert "\\u202e" in made


def test_a_lone_surrogate_can_be_written() -> None:
    assert element("p", "a\ud800b").encode() == b"<p>a\\ud800b</p>"


def test_a_long_name_keeps_both_ends_and_its_whole_in_a_tooltip() -> None:
    text = "begin" + "x" * 10_000 + "end"
    assert len(shortened(text)) == 48
    made = name(text)
    assert ">begin" in made
    assert "end</bdi>" in made
    assert len(made) < 1300


def test_an_attribute_that_is_none_is_left_out_and_true_stands_alone() -> None:
    assert element("details", Markup("<p>"), open=True, id=None) == "<details open><p></details>"
