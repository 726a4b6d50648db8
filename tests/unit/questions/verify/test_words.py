"""What a verdict says of the modules: which hold an adapter, and with which coefficient."""

from dataclasses import replace

from tunescope.questions.verify.reading import Reading
from tunescope.questions.verify.verdict import judge
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
    assert text.startswith("a is in it as expected; something else changed 1 of 24 modules (L0_ATTN_Q).")


def twice(component: str, rank: int, coefficient: float = 2.0) -> Reading:
    """Of r = 4 rsLoRA confused leaves 2 as well, of r = 2 it does not."""
    return replace(reading("a", component, coefficient), alpha=3.0, rank=rank, scale=3.0 / rank)


def test_of_modules_of_several_ranks_twice_is_said_where_nothing_else_explains_all() -> None:
    both = [twice("L0_ATTN_Q", 2), twice("L0_MLP_UP", 4)]
    assert (judge(both).verdict, judge(both).causes) == ("merged_twice", ("twice",))
    assert judge([twice("L0_ATTN_Q", 4), twice("L0_MLP_UP", 4)]).verdict == "other_scale"
    assert judge([*both, twice("L0_MLP_DOWN", 2, 3.0)]).verdict == "other_scale"


def test_an_update_that_was_subtracted_is_called_so() -> None:
    assert "it was subtracted instead of added" in said(every("a", -1.0))


def uncertain(reading: Reading, error: float) -> Reading:
    return replace(reading, error=error)


def test_an_adapter_of_which_a_part_tells_nothing_is_not_called_merged_or_missing() -> None:
    for coefficient in (1.0, 0.0, 2.0):
        told, untold = reading("a", "L0_MLP_UP", coefficient), reading("a", "L1_MLP_UP", coefficient)
        verdict = judge([told, uncertain(untold, 0.1)])
        assert (verdict.verdict, verdict.causes) == ("cannot_tell", ())
        assert "L1_MLP_UP" in verdict.differing
        small = replace(uncertain(untold, 0.1), weight=0.05)
        assert judge([told, small]).verdict != "cannot_tell"
    assert said([reading("a", "Q", 0.0), uncertain(reading("a", "K", 0.0), 0.1)]).startswith(
        "Whether all of it is as expected cannot be told: of 2 modules only 1 tells."
    )


def test_coefficients_that_errors_leave_alike_are_no_part_of_a_merge() -> None:
    half = [uncertain(reading("b", f"L{i}_V", c), 0.08) for i, c in enumerate((0.2, 0.4))]
    assert judge([*every("a", 0.7, ("ATTN_Q",))[:1], *half]).verdict == "mixture"
    apart = [uncertain(reading("b", f"L{i}_V", c), 0.08) for i, c in enumerate((0.0, 1.0))]
    assert judge([*every("a", 0.7, ("ATTN_Q",))[:1], *apart]).verdict == "partly_merged"


def test_values_within_a_step_but_unequal_are_another_change() -> None:
    unequal = replace(reading("a", "L0_Q", 1.0), exact=0.6, unexplained=0.3)
    assert judge([unequal]).verdict == "other_change"


def test_a_model_that_something_else_changed_says_which_adapter_is_in_it_and_which_is_not() -> None:
    other = [reading("b", f"L{i}_ATTN_Q", 0.0, explained=False) for i in range(3)]
    assert said(other).startswith(
        "b is not in it; something else changed 3 of 3 modules. Coefficients: b 0 ±"
    )
    hardly = [reading("b", f"L{i}_ATTN_Q", 0.06, explained=False) for i in range(3)]
    assert said(hardly).startswith("b is not in it, or less than a tenth; something else changed")
    there = [reading("a", r.component, 1.0, explained=False) for r in other]
    assert said([*there, *other]).startswith("a is in it as expected, and b is not in it; something else")
    half = [replace(r, coefficient=0.5) for r in there]
    assert said(half).startswith("The model changed otherwise than by a, in 3 of 3 modules. Coefficients:")


def test_a_coefficient_stands_beside_what_was_expected_of_it() -> None:
    text = said([replace(r, expected=0.5) for r in every("a", 1.0)])
    assert "Coefficients: a 1 ± 0.001 (0.5 expected)." in text
    assert "expected)" not in said(every("a", 2.0))
