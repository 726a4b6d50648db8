"""Studies of one kind share figures, unless a weight would then have two rows."""

import polars as pl
import pytest

from tunescope.page.document import page
from tunescope.page.merging import ambiguous, merged
from tunescope.page.panels import Content, Data, Maps, Measure, Part


def part(
    label: str, values: list[float], *, kind: str = "norms", measure: str = "norm", digest: str = ""
) -> Part:
    frame = pl.DataFrame(
        {
            "model_id": label,
            "layer": list(range(len(values))),
            "module_type": "q_proj",
            "component_name": [f"L{n}" for n in range(len(values))],
            measure: values,
        }
    )
    panel = Maps("norms", "much", "How much", "Cells.", "norms", measures=[Measure(measure, measure)])
    content = Content(tab="much", data={"norms": Data(frame, note=f"of {label}")}, panels=[panel])
    sources = [{"label": label, "format": "peft", "digest": {"kind": "sha256", "value": digest}}]
    return Part(kind, content, [label], sources=sources)


def test_models_of_several_studies_stand_in_one_table_and_one_figure() -> None:
    (both,) = merged([part("a", [1.0, 2.0]), part("b", [3.0])])
    assert both.labels == ["a", "b"]
    assert both.content.data["norms"].frame["norm"].to_list() == [1.0, 2.0, 3.0]
    assert both.content.data["norms"].note == "of a of b"
    assert len(both.content.panels) == 1


def test_the_same_study_twice_is_there_once() -> None:
    (one,) = merged([part("a", [1.0, 2.0])] * 2)
    assert one.content.data["norms"].frame.height == 2


def test_one_weight_with_two_values_keeps_studies_apart() -> None:
    assert len(merged([part("a", [1.0]), part("a", [2.0])])) == 2


def test_what_one_study_left_unknown_of_a_weight_the_other_tells() -> None:
    known = part("a", [1.0, 2.0], measure="relative")
    rows = part("a", [1.0, 2.0]).content.data["norms"].frame
    (both,) = merged([part("a", [1.0, 2.0]), known])
    frame = both.content.data["norms"].frame
    assert frame.height == rows.height
    assert frame["relative"].to_list() == [1.0, 2.0]
    assert frame["norm"].to_list() == rows["norm"].to_list()


def test_another_kind_stays_by_itself() -> None:
    assert [p.kind for p in merged([part("a", [1.0]), part("b", [1.0], kind="subspace")])] == [
        "norms",
        "subspace",
    ]


def test_a_measure_that_only_one_study_has_can_be_chosen_for_all() -> None:
    (both,) = merged([part("a", [1.0]), part("b", [2.0], measure="relative")])
    assert [m.column for m in both.content.panels[0].measures] == ["norm", "relative"]  # type: ignore[attr-defined]
    assert both.content.data["norms"].frame["relative"].to_list() == [None, 2.0]


@pytest.mark.parametrize(("digests", "warned"), [(("x", "x"), 0), (("x", "y"), 1), (("x", ""), 0)])
def test_a_label_of_two_different_files_is_warned_of(digests: tuple[str, str], warned: int) -> None:
    parts = [part("a", [float(i)], digest=digest) for i, digest in enumerate(digests)]
    assert len(ambiguous(parts)) == warned
    assert ("names different files" in page(parts)) == bool(warned)


def test_models_beyond_the_colours_have_swatches_of_another_shape() -> None:
    text = page([part(f"m{n}", [1.0]) for n in range(50)])
    assert 'class="swatch c0 again1"' in text
    assert 'class="swatch c1 again2"' in text
    assert text.count('class="swatch c0"') == 1
