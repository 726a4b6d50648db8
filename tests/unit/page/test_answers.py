"""The answer card: what stands beside a sentence."""

from typing import Any

import pytest

from tunescope.page.answers import answer_card, findings_of, models_line, own_answers, told_in_short
from tunescope.page.panels import Check, Content, Part, Tab


def finding(text: str, severity: str = "note", strength: float = 0.3, **evidence: Any) -> dict[str, Any]:
    return {
        "kind": "late_layers", "severity": severity, "models": ["a"], "components": [], "step": None,
        "strength": strength, "text": text, "tab": "much", "evidence": evidence,
    }  # fmt: skip


def card(severity: str = "note", **evidence: Any) -> str:
    return str(answer_card([], [finding("a changed most in its late layers.", severity, **evidence)]))


def part(tab: Tab, *findings: dict[str, Any], labels: tuple[str, ...] = ("a",)) -> Part:
    return Part(
        kind=tab, content=Content(tab=tab, nothing=f"nothing of {tab}"), labels=labels, findings=findings
    )


@pytest.fixture
def parts() -> list[Part]:
    """Seven findings of one question, one weak one of another, none of a third."""
    many = [finding(f"size {i}", value=float(i), threshold=1.0) for i in range(3, 10)]
    shared = part("directions", finding("shared", strength=0.1), labels=("a", "b"))
    return [part("much", *many), shared, part("when")]


def shown(card: str) -> str:
    """What stands above the fold."""
    return card.split('class="more"')[0]


def test_the_strongest_of_every_question_is_among_the_five(parts: list[Part]) -> None:
    first = shown(answer_card(parts, findings_of(parts)))
    assert [text for text in ("size 9", "size 8", "size 7", "size 6", "shared") if text in first] == [
        "size 9", "size 8", "size 7", "size 6", "shared",
    ]  # fmt: skip
    assert "size 5" not in first
    assert first.count("<li") == 5


def test_the_largest_multiple_of_what_is_worth_saying_stands_first(parts: list[Part]) -> None:
    assert [f["text"] for f in findings_of(parts)[:2]] == ["size 9", "size 8"]


def test_a_tab_has_its_own_answers_or_what_was_looked_for(parts: list[Part]) -> None:
    every = findings_of(parts)
    assert "shared" in own_answers("directions", parts, every)
    assert "size" not in own_answers("directions", parts, every)
    assert "nothing of when" in own_answers("when", parts, every)
    assert "2 more" in own_answers("much", parts, every)
    assert own_answers("matter", parts, every) == ""


def test_the_dots_and_the_order_are_explained_beside_several_sentences(parts: list[Part]) -> None:
    assert "the strongest first" in answer_card(parts, findings_of(parts))
    assert "the strongest first" not in card(value=2.5, threshold=1.25)


def test_what_was_looked_for_in_the_other_models_stands_below_the_sentences_of_some() -> None:
    content = Content(tab="much", others="Nothing stands out in b and c.")
    some = Part(kind="norms", content=content, labels=("a", "b", "c"), findings=[finding("a is large")])
    every = findings_of([some])
    for text in (str(answer_card([some], every)), str(own_answers("much", [some], every))):
        assert text.index("a is large") < text.index("Nothing stands out in b and c.")


def test_the_strip_counts_sentences_and_checks(parts: list[Part]) -> None:
    further = [Check("labels", "warning", "twice"), Check("scale", "good", "known")]
    said = told_in_short(parts, findings_of(parts), further)
    assert said == "The answer: 8 sentences. Can I trust it? 1 to check first, 1 not known, 1 fine"


def test_a_model_s_button_knows_the_tabs_that_have_it(parts: list[Part]) -> None:
    line = models_line(parts, ["a", "b"])
    assert 'data-tabs="much directions when"' in line
    assert 'data-tabs="directions"' in line


def test_dots_say_how_many_times_the_threshold_an_effect_is() -> None:
    text = card(value=2.5, threshold=1.25)
    assert "2.0× the smallest worth saying" in text
    assert '<span class="dots" aria-hidden="true">●●<i>●●●</i>' in text


@pytest.mark.parametrize(
    "evidence",
    [{}, {"value": 3}, {"value": 0.4, "threshold": 1.0}, {"value": float("inf"), "threshold": 1.0}],
    ids=["fact", "no threshold", "equivalence", "not finite"],
)
def test_where_no_effect_passed_a_threshold_there_are_no_dots(evidence: dict[str, Any]) -> None:
    assert "dots" not in card(**evidence)


def test_what_is_to_be_checked_first_has_no_dots() -> None:
    assert "dots" not in card("warning", value=2.5, threshold=1.25)


def test_a_study_without_findings_says_so_beside_one_with_some_of_its_own_kind() -> None:
    """Its silence was dropped where another study of the tab had found something."""
    loud, quiet = part("much", finding("a is large")), part("much", labels=("b",))
    both = [loud, quiet]
    for shown_in in (answer_card(both, findings_of(both)), own_answers("much", both, findings_of(both))):
        assert "a is large" in shown_in
        assert str(shown_in).count("nothing of much") == 1
    assert "nothing of much" not in answer_card([loud], findings_of([loud]))
