"""An attribution on the report page: the gain, its split into cells, change against effect, put back."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from tunescope.page.fitting import filled
from tunescope.page.panels import Check, Content, Data, Gain, Maps, Measure, Panel, Scatter, State
from tunescope.questions.attribution.command import COMMAND
from tunescope.questions.attribution.readout import MEANING, methods
from tunescope.questions.attribution.sight import nothing_stands_out
from tunescope.questions.attribution.training_texts import SAID
from tunescope.study.finding import significant
from tunescope.study.recalled import command_line
from tunescope.study.study import Study

_LOSSES = ("base_loss", "tuned_loss", "gain", "gain_stderr", "sum", "residual", "sequences", "tokens")
_STATES: dict[str, State] = {"held_out": "good", "trained_on": "warning", "not_known": "unknown"}
_NATS = "nats/token"
_MEANINGS = {
    "model_id": {"unit": "", "meaning": "label of the tuned model"},
    "data": {"unit": "", "meaning": "name of the data set"},
    "base_loss": {"unit": _NATS, "meaning": "loss of the base on these texts"},
    "tuned_loss": {"unit": _NATS, "meaning": "loss of the tuned model on these texts"},
    "gain": {"unit": _NATS, "meaning": "loss of the base less that of the tuned model"},
    "gain_stderr": {"unit": _NATS, "meaning": "standard error of the gain over sequences"},
    "sum": {"unit": _NATS, "meaning": "sum of the parts of all weights"},
    "residual": {"unit": _NATS, "meaning": "what the parts miss of the change of the loss"},
    "sequences": {"unit": "", "meaning": "texts that were scored"},
    "tokens": {"unit": "", "meaning": "tokens that were predicted"},
}
# Halves of the data that agree less do not carry a map of single weights.
_AGREES = 0.7


def content(study: Study) -> Content:
    """What the page shows of which changes bought the gain."""
    table, document = study.table, study.readout
    sets = document["data_sets"]
    data = {
        "attribution": Data(filled(table.frame, ["layer"]), table.meta["columns"]),
        "gain": Data(_gains(sets, document["label"]), _MEANINGS),
    }
    if (back := study.tables.get("put_back")) is not None and len(back):
        data["put_back"] = Data(filled(back.frame, ["layer"]), back.meta["columns"])
    several = len(document["description"]) > 1
    where = nothing_stands_out(sets, document["findings"]) + [
        f"{name}: {text}" if several else text
        for name, sentences in document["description"].items()
        for text in sentences
    ]
    return Content(
        command=command_line(COMMAND, study.arguments),
        tab="matter",
        data=data,
        panels=list(_panels(data)),
        checks=list(_checks(sets)),
        sentences=where,
        caution=MEANING,
        methods=methods(sets),
        about=[f"gain of {document['label']} on {', '.join(sets)}"],
    )


def _gains(sets: Mapping[str, Mapping[str, Any]], label: str) -> pl.DataFrame:
    rows = [{"model_id": label, "data": name, **{k: s[k] for k in _LOSSES}} for name, s in sets.items()]
    floats = dict.fromkeys(_LOSSES[:6], pl.Float64)
    return pl.DataFrame(rows, schema_overrides=floats)


def _panels(data: Mapping[str, Data]) -> Iterator[Panel]:
    yield Gain(
        "gain", "matter", "What was gained",
        "From the loss of the base to that of the tuned model. Lower is better. The whisker is one standard "
        "error of the gain, text by text, not the error of the tuned loss that it stands on.",
        "gain", before="base_loss", after="tuned_loss", error="gain_stderr",
    )  # fmt: skip
    effect = Measure("attribution", "change of the loss", "difference", error="stderr")
    share = (
        [Measure("share", "share of the whole", "difference")] if "share" in data["attribution"].frame else []
    )
    yield Maps(
        "attribution", "matter", "Which weights bought it",
        "Blue lowered the loss, red raised it. The cells add up to the whole change of the loss, the bars to "
        "that of a layer or a kind of weight.",
        "attribution", measures=[effect, *share], facets=("model_id", "data", "stack"), margin="sum",
        ranked=True,
    )  # fmt: skip
    yield Scatter(
        "effect", "matter", "Do larger changes have larger effects?",
        "Each mark is a weight: how much it changed, and what that did to the loss; its shape is its kind. "
        "Draw a box to outline its weights in all maps.",
        "attribution", x=Measure("frobenius_norm_normalized", "‖ΔW‖_F / √d_out"), y=effect,
        select=("data",),
    )  # fmt: skip
    if "put_back" in data:
        yield Scatter(
            "put-back", "matter", "Does the attribution hold?",
            "Each mark is a weight that was put back to the base alone: the change of the loss that was "
            "attributed, and the one that was measured. On the line both are equal.",
            "put_back", x=Measure("attribution", "attributed", error="attribution_stderr"),
            y=Measure("measured", "measured", error="measured_stderr"), select=("data",), equal=True,
        )  # fmt: skip


def _checks(sets: Mapping[str, Mapping[str, Any]]) -> Iterator[Check]:
    for name, said in sets.items():
        halves = said["split_half_spearman"]
        if halves is not None:
            state = "good" if halves >= _AGREES else "warning"
            text = f"{name}: the maps of two halves of the data agree at Spearman {significant(halves, 2)}."
            yield Check("halves agree", "good" if state == "good" else "warning", text)
        residual = f"{significant(said['residual'], 2)} of {significant(said['gain'])} nats/token"
        settled = f"{name}: the parts add up to the gain but for {residual}."
        yield Check("adds up", "good" if said["converged"] else "warning", settled)
        seen = said.get("texts", "not_known")
        yield Check("texts", _STATES[seen], f"{name}: {SAID[seen]}.")
