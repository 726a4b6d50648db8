"""What a verdict says of the modules: which hold an adapter, and with which coefficient."""

from tunescope.questions.verify.verdict import Reading, judge
from tunescope.questions.verify.words import findings

KINDS = ("ATTN_Q", "ATTN_O", "MLP_UP", "MLP_DOWN")


def reading(label: str, component: str, coefficient: float, explained: bool = True) -> Reading:
    return Reading(
        label, component, coefficient, 0.001, 1.0 if explained else 0.2, 0.0 if explained else 0.5, False,
        True, 1.0,
    )  # fmt: skip


def said(readings: list[Reading]) -> str:
    return findings(judge(readings), readings, len(readings))[0].text


def every(label: str, coefficient: float, kinds: tuple[str, ...] = KINDS) -> list[Reading]:
    return [
        reading(label, f"L{layer}_{kind}", coefficient if kind in kinds else 0.0)
        for layer in range(6)
        for kind in KINDS
    ]


def test_a_merge_of_some_kinds_says_which_and_with_which_coefficient() -> None:
    text = said(every("a", 0.5, ("MLP_UP", "MLP_DOWN")))
    assert "a is in 12 of 24 modules (all MLP_UP and MLP_DOWN) with coefficient 0.5 ± 0.001" in text
    assert text.endswith("not in 12 (all ATTN_Q and ATTN_O).")


def test_a_mixture_names_the_adapter_that_only_some_modules_hold() -> None:
    text = said(every("a", 0.5) + every("b", 0.3, ("MLP_UP",)))
    assert "a is in all 24 modules with coefficient 0.5" in text
    assert "b is in 6 of 24 modules (all MLP_UP)" in text


def test_a_mixture_that_is_the_same_everywhere_says_so() -> None:
    text = said(every("a", 0.6) + every("b", 0.4))
    assert "mixture of a and b" in text
    assert text.endswith("So it is in all 24 modules that tell.")


def test_a_mixture_names_the_modules_that_are_otherwise() -> None:
    readings = every("a", 0.6) + [reading("b", r.component, 0.4) for r in every("b", 0.4)[1:]]
    text = said([*readings, reading("b", "L0_ATTN_Q", 0.9)])
    assert "Otherwise than so in 1 of 24 modules (L0_ATTN_Q)." in text


def test_another_change_names_the_modules_that_no_adapter_explains() -> None:
    text = said([*every("a", 1.0)[1:], reading("a", "L0_ATTN_Q", 1.0, explained=False)])
    assert "Otherwise than so in 1 of 24 modules (L0_ATTN_Q)." in text


def test_an_update_that_was_subtracted_is_called_so() -> None:
    assert "it was subtracted instead of added" in said(every("a", -1.0))
