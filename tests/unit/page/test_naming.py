"""Of several studies in one tab, which model a sentence is of, and whose numbers a caption holds."""

from dataclasses import replace
from typing import Any

import polars as pl

from tunescope.page.appendix import appendix
from tunescope.page.merging import merged
from tunescope.page.naming import bases_of, told_apart
from tunescope.page.panels import Check, Content, Data, Lines, Measure, Part


def part(label: str, **content: Any) -> Part:
    finding = {"text": "Fine-tuning lowered the loss.", "models": [label]}
    return Part("attribution", Content(tab="matter", **content), [label], findings=[finding])


def test_studies_of_other_models_in_one_tab_name_theirs() -> None:
    said = ("Thirds hold half.", "b: 3 captures.", "ab lies apart.")
    a, b = told_apart([part("a", sentences=said), part("b", sentences=said)])
    assert a.content.sentences == ["a: Thirds hold half.", "a: b: 3 captures.", "a: ab lies apart."]
    assert b.content.sentences == ["b: Thirds hold half.", "b: 3 captures.", "b: ab lies apart."]
    assert [each.findings[0]["text"] for each in (a, b)] == [
        "a: Fine-tuning lowered the loss.",
        "b: Fine-tuning lowered the loss.",
    ]
    assert a.content.nothing == "a: Nothing stands out."
    assert a.content.others == ""


def test_checks_say_whose_they_are_unless_all_studies_of_the_kind_say_the_same() -> None:
    finite = Check("finite", "good", "Every value is finite.")
    a, b = (
        part(label, checks=[finite, Check("adds up", "good", f"the parts add up but for {left}.")])
        for label, left in (("a", 0.1), ("b", 0.2))
    )
    texts = [[check.text for check in each.content.checks] for each in told_apart([a, b])]
    assert texts[0] == ["Every value is finite.", "a: the parts add up but for 0.1."]
    assert texts[1] == ["Every value is finite.", "b: the parts add up but for 0.2."]


def test_the_silence_of_a_study_names_all_of_its_models_though_it_speaks_of_one() -> None:
    said = "Nothing stands out in 2 models. Not tested in a: depth."
    both, other = told_apart([replace(part("a", nothing=said), labels=["a", "b"]), part("c")])
    assert both.content.nothing == f"a, b: {said}"
    assert other.content.nothing == "c: Nothing stands out."


def test_one_study_and_two_of_one_model_stay_as_they_are() -> None:
    alone = part("a", sentences=["Thirds hold half."])
    assert told_apart([alone]) == [alone]
    again = part("a", sentences=["A third holds it."])
    assert told_apart([alone, again]) == [alone, again]


def test_a_figure_of_two_studies_says_what_both_captions_say() -> None:
    shared = "Every capture is a point; a line is a run."
    own = [f"{shared} ‖ΔW‖ was first at least half of its last value at step 4 ({run})." for run in "ab"]
    both = [
        part(
            label,
            data={"steps": Data(pl.DataFrame({"model_id": [label], "step": [1]}), {})},
            panels=[Lines("course", "when", "The course", text, "steps", measures=[Measure("step", "step")])],
        )
        for label, text in zip("ab", own, strict=True)
    ]
    (one,) = merged(both)
    (panel,) = one.content.panels
    assert panel.caption.count(shared) == 1
    assert "at step 4 (a)." in panel.caption
    assert "at step 4 (b)." in panel.caption


def test_a_base_s_name_alone_is_that_of_the_path_beside_it() -> None:
    parts = [replace(part("a"), base=base) for base in ("models/llama", "llama", "other/llama-2", "org/x")]
    assert bases_of(parts) == ["models/llama", "other/llama-2", "org/x"]
    assert bases_of(parts[1:2]) == ["llama"]


def test_methods_of_a_question_stand_once_with_what_each_study_has_of_its_own() -> None:
    same = "Errors are over texts. Whole layers are exchanged."
    parts = [
        replace(part("a", methods=f"{same} Data: code."), read="tunescope 0. Read: a (peft)."),
        replace(part("b", methods=f"{same} Data: maths."), read="tunescope 0. Read: b (peft)."),
    ]
    text = str(appendix(parts, {}, []))
    assert text.count(same) == 1
    assert f"{same} a: Data: code. b: Data: maths." in text
    assert text.index("a (peft)") < text.index("b (peft)")
