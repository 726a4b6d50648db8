"""A check on the report page: every module, the weight that it meets, and what stands in the way."""

from collections.abc import Mapping
from typing import Any

from tunescope.page.fitting import filled
from tunescope.page.panels import Check, Content, Data, Rows
from tunescope.questions.check.command import COMMAND
from tunescope.study.recalled import command_line
from tunescope.study.study import Study


def content(study: Study) -> Content:
    """What the page shows of whether adapters attach."""
    table, document = study.table, study.readout
    warned = any(finding["severity"] == "warning" for finding in document["findings"])
    frame = filled(table.frame)
    panel = Rows(
        "attach", "trust", "What attaches", "Each row is a module of an adapter and the weight it changes.",
        "attach", columns=frame.columns,
    )  # fmt: skip
    return Content(
        command=command_line(COMMAND, study.arguments),
        tab="trust",
        data={"attach": Data(frame, table.meta["columns"])},
        panels=[panel],
        checks=[_attaches(document)] if document["base"] else [],
        nothing="Nothing more was found." if warned else "Nothing stands in the way of loading.",
    )


def _attaches(document: Mapping[str, Any]) -> Check:
    if document["attaches"]:
        return Check("attaches", "good", "Every module meets a weight of its shape.")
    return Check("attaches", "warning", "Some modules meet no weight of their shape.")
