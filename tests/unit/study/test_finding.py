"""Findings as data: what a record holds, in which order they are told, one fact told once."""

import json

from tunescope.errors import Notice
from tunescope.study.finding import Finding, merged, noticed_together, ordered
from tunescope.study.markdown import finding_lines, repeated


def finding(model: str, strength: float = 1.0, **more: object) -> Finding:
    """A finding of one model and one component named after it."""
    given = {"evidence": {"value": strength}, "strength": strength, **more}
    return Finding("hot_cell", f"{model} is hot.", (model,), (f"{model}_Q",), **given)  # type: ignore[arg-type]


def test_a_record_has_exactly_the_documented_fields_as_json_types() -> None:
    record = finding("a", step=3).record()
    assert list(record) == [
        "kind", "severity", "models", "components", "step", "evidence", "strength", "text",
    ]  # fmt: skip
    assert json.loads(json.dumps(record)) == record


def test_what_may_be_wrong_with_the_data_comes_before_what_is_strong() -> None:
    listed = [finding("weak"), finding("strong", 9.0), finding("wrong", 0.0, severity="warning")]
    assert [f.models[0] for f in ordered(listed)] == ["wrong", "strong", "weak"]


def test_the_same_fact_in_several_models_is_one_finding_that_names_them() -> None:
    listed = [finding("a"), finding("b", 3.0), finding("c")]
    together, alone = merged(
        listed,
        fact=lambda f: f.models[0] == "c",
        tell=lambda group: f"{len(group)} models are hot.",
    )
    assert (together.models, together.components) == (("a", "b"), ("a_Q", "b_Q"))
    assert together.text == "2 models are hot."
    assert together.strength == 3.0
    assert together.evidence["each"] == {
        "a": {"value": 1.0, "cells": ["a_Q"]}, "b": {"value": 3.0, "cells": ["b_Q"]}
    }  # fmt: skip
    assert alone is listed[2]


def test_merged_findings_are_as_severe_as_the_most_severe_of_them() -> None:
    listed = [finding("a"), finding("b", severity="warning")]
    (together,) = merged(listed, fact=lambda f: f.kind, tell=lambda _: "Both.")
    assert together.severity == "warning"


def test_the_first_page_has_five_findings_and_folds_the_rest() -> None:
    lines = finding_lines([finding(str(i)).record() for i in range(7)])
    fold = lines.index("<details><summary>2 more</summary>")
    assert sum(line.startswith("- ") for line in lines[:fold]) == 5
    assert sum(line.startswith("- ") for line in lines[fold:]) == 2
    assert lines[-1] == "</details>"


def test_nothing_found_is_said_in_the_words_given() -> None:
    assert finding_lines([], "12 layers were looked at.") == ["12 layers were looked at."]


def test_checkpoints_of_one_run_are_not_told_as_one_run_each() -> None:
    def places(*names: str) -> list[dict[str, str]]:
        return [{"location": name} for name in names]

    assert repeated(places("a/adapter", "b/adapter")).startswith("One run each:")
    pair = repeated(places("runs/seed-0", "runs/seed-1"), paired=True)
    assert pair.startswith("Two runs in each pair:")
    assert "another seed" not in pair
    assert repeated(places("a/checkpoint-10", "b/checkpoint-10")).startswith("One run each:")
    assert repeated(places("a/checkpoint-10", "a/checkpoint-20")).startswith("Checkpoints of one run:")
    both = places("a/checkpoint-10", "a/checkpoint-20", "b/adapter")
    assert repeated(both).startswith("Some are checkpoints of one run:")


def test_a_notice_about_many_weights_is_one_finding_that_names_a_few_of_them() -> None:
    texts = [f"module model.layers.{i}.mlp.up_proj has no lora_B; it is left out" for i in range(6)]
    (found,) = noticed_together(("a", Notice("half-saved", text)) for text in texts)
    assert found.text == (
        "a: module model.layers.0.mlp.up_proj has no lora_B; it is left out. The same of 5 more: "
        "model.layers.1.mlp.up_proj, model.layers.2.mlp.up_proj, model.layers.3.mlp.up_proj and 2 more."
    )
    both = noticed_together([("a", Notice("half-saved", texts[0])), ("b", Notice("half-saved", texts[0]))])
    assert [f.text for f in both] == [f"a and b: {texts[0]}."]
    counted = [(m, Notice("left-out", f"{n} tensors of x.y.z differ")) for m, n in (("a", 2), ("b", 5))]
    assert [f.text for f in noticed_together(counted)] == ["a and b: 2 to 5 tensors of x.y.z differ."]
