"""The answer card: what stands beside a sentence."""

from typing import Any

import pytest

from tunescope.page.answers import answer_card


def card(severity: str = "note", **evidence: Any) -> str:
    finding = {
        "kind": "late_layers", "severity": severity, "models": ["a"], "components": [], "step": None,
        "strength": 0.3, "text": "a changed most in its late layers.", "tab": "much", "evidence": evidence,
    }  # fmt: skip
    return str(answer_card([], [finding]))


def test_dots_say_how_many_times_the_threshold_an_effect_is() -> None:
    text = card(value=2.5, threshold=1.25)
    assert "2.0× the threshold" in text
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
