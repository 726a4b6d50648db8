"""A verification on the report page: the verdict, and how often each adapter lies in every weight."""

from tunescope.page.fitting import filled
from tunescope.page.panels import Check, Content, Data, Maps, Measure
from tunescope.questions.verify.command import COMMAND
from tunescope.questions.verify.presence import heading
from tunescope.questions.verify.words import METHODS
from tunescope.study.recalled import command_line
from tunescope.study.study import Study


def content(study: Study) -> Content:
    """What the page shows of whether adapters are in a merged model."""
    table = study.table
    frame = filled(table.frame)
    has = set(frame.columns)
    measures = [
        Measure("coefficient", "coefficient", error="stderr" if "stderr" in has else None),
        Measure("kept", "kept by rounding"),
        Measure("exact_fraction", "values that come out equal", limits=(0.0, 1.0)),
    ]
    panel = Maps(
        "merge", "trust", "How often each adapter lies in every weight",
        "The coefficient c in W' = round(W + Σ c·ΔW): 1 is merged once with its scale, 0 not at all.",
        "merge", measures=[m for m in measures if m.column in has], margin="none",
    )  # fmt: skip
    verdict = str(study.readout["verdict"])
    good = verdict == "as_expected"
    return Content(
        command=command_line(COMMAND, study.arguments),
        tab="trust",
        methods=METHODS,
        nothing="The merge is as expected." if good else "",
        data={"merge": Data(frame, table.meta["columns"])},
        panels=[panel] if panel.measures else [],
        checks=[Check("merged", "good" if good else "warning", f"The verdict is: {heading(study)}.")],
    )
