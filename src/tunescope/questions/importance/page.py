"""An importance study on the report page: layer × parameter maps of every method, layers left out."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from tunescope.address import Address
from tunescope.address.components import component_names
from tunescope.page.fitting import filled
from tunescope.page.panels import Check, Content, Data, Lines, Maps, Measure, Panel
from tunescope.questions.importance.command import COMMAND
from tunescope.questions.importance.left_out import left_out
from tunescope.questions.importance.readout import methods
from tunescope.questions.importance.sight import nothing_stands_out
from tunescope.questions.importance.views import LAYER_IMPORTANCE
from tunescope.study.finding import significant
from tunescope.study.recalled import command_line
from tunescope.study.study import Study
from tunescope.words import counted

_CAUTION = (
    "Importance says what the predictions depend on as the weights stand now, not what a training changed."
)
_AGREES = 0.7


def content(study: Study) -> Content:
    """What the page shows of what the predictions depend on."""
    document, table = study.readout, study.table
    meanings = {**table.meta["columns"], "component_name": {"meaning": "the name of the weight on this page"}}
    data = {"importance": Data(_scores(table.frame), meanings)}
    if (layers := study.tables.get("importance_layers")) is not None:
        data["layers"] = Data(filled(layers.frame), layers.meta["columns"])
    return Content(
        command=command_line(COMMAND, study.arguments),
        tab="matter",
        data=data,
        panels=list(_panels(data, document)),
        checks=list(_checks(document["methods"])),
        sentences=[
            *left_out(document),
            *(f"{m['method']}: {text}" for m in document["methods"] for text in m["where"]),
        ],
        caution=_CAUTION,
        methods=methods(document),
        nothing=nothing_stands_out(document),
        about=[f"importance by {', '.join(m['method'] for m in document['methods'])}"],
    )


def _scores(frame: pl.DataFrame) -> pl.DataFrame:
    """The scores of parameters, under the names that other tables give the same weights."""
    rows = frame.filter(pl.col("parameter") != LAYER_IMPORTANCE)
    keys = ["stack", "layer", "parameter", "expert"]
    places = rows.select(keys).unique(maintain_order=True)
    addresses = [
        Address(stack, layer, parameter.removesuffix(".weight"), expert)
        for stack, layer, parameter, expert in places.iter_rows()
    ]
    named = places.with_columns(component_name=pl.Series(component_names(addresses), dtype=pl.String))
    joined = rows.join(named, on=keys, how="left", nulls_equal=True, maintain_order="left")
    return joined.drop("step", "n", strict=False)


def _measured_on(document: Mapping[str, Any]) -> str:
    """Which texts the scores are of, and how many."""
    told = document["summary"]
    size = f"{counted(told['sequences'], 'sequence')}, {counted(told['tokens'], 'scored token')}"
    return f"Measured of {document['model']} on {document['data']} ({size})."


def _panels(data: Mapping[str, Data], document: Mapping[str, Any]) -> Iterator[Panel]:
    yield Maps(
        "importance", "matter", "What the predictions depend on",
        "Each cell is one tensor: of a layer, or in the last row of none. Its score under the method chosen; "
        f"methods answer different questions and have scales of their own. {_measured_on(document)}",
        "importance",
        measures=[
            Measure("normalized", "score over the largest inside the layers", "importance", (0.0, 1.0)),
            Measure("score", "score", "importance", error="stderr"),
            Measure("share", "share of all scores", "importance"),
        ],
        facets=("model_id", "stack"), x="parameter", select=("method",), margin="none", ranked=True,
        within=True, explained={m["method"]: m["meaning"] for m in document["methods"]},
    )  # fmt: skip
    if "layers" in data and "layer_importance" in data["layers"].frame.columns:
        yield Lines(
            "layer-importance", "matter", "What if a whole layer is left out?",
            "Layer Importance: by how much the loss rises without the layer; below zero it falls. Whiskers "
            f"are one standard error. {_measured_on(document)}",
            "layers", x="layer", x_label="layer", joined=False,
            measures=[Measure("layer_importance", "rise of the loss", error="layer_importance_stderr")],
        )  # fmt: skip


def _checks(told: list[Mapping[str, Any]]) -> Iterator[Check]:
    for method in told:
        halves = method.get("split_half_spearman")
        if halves is not None:
            text = f"{method['method']}: two halves of the data agree at Spearman {significant(halves, 2)}."
            yield Check("halves agree", "good" if halves >= _AGREES else "warning", text)
