"""A trajectory study on the report page: size, loss and rate over steps, and maps that a slider moves."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from tunescope.page.fitting import filled, thinned
from tunescope.page.panels import Check, Content, Data, Lines, Maps, Measure, Panel
from tunescope.questions.trajectory.command import COMMAND
from tunescope.questions.trajectory.comparison import comparison_sentences
from tunescope.questions.trajectory.readout import CAUTION, INCOMPLETE, order_sentences, run_sentence
from tunescope.questions.trajectory.sentences import METHODS, nothing_stands_out
from tunescope.questions.trajectory.summary import halfway_sentence
from tunescope.study.finding import listed
from tunescope.study.recalled import command_line
from tunescope.study.study import Study
from tunescope.words import named

# Numbers of the maps over steps that fit a page.
_NUMBERS = 60_000
_BY_STEP = (
    Measure("delta_frobenius_norm", "‖ΔW‖_F of all weights"),
    Measure("loss", "training loss"),
    Measure("schedule_learning_rate", "learning rate"),
    Measure("cosine_to_last", "cosine of ΔW with the last"),
    Measure("changed_fraction", "share of values changed"),
)
_PLACE = ("model_id", "step", "stack", "layer", "module_type", "expert", "component_name")
_SIZE = "delta_frobenius_norm"
_SIZE_COMMON = "delta_frobenius_norm_common"
_COMMON = {
    _SIZE_COMMON: {"unit": "unit of the weights", "meaning": "‖ΔW‖_F over the weights that all runs have"}
}
_WEIGHT = ("stack", "component_name", "expert")
# Runs of other weights that a caption names.
_NAMED = 6


def content(study: Study) -> Content:
    """What the page shows of when weights changed."""
    steps, layers = study.tables["motion_by_step"], study.tables["norms_by_layer"]
    weights, note = _weights(study.table.frame)
    by_layer, left = thinned(filled(layers.frame, _PLACE), _NUMBERS)
    course, unlike = _of_common(steps.frame, study.table.frame)
    data = {
        "steps": Data(course, steps.meta["columns"] | _COMMON),
        "weights": Data(weights, study.table.meta["columns"] | _by_factor(weights), note, bits=11),
        "layers": Data(by_layer, layers.meta["columns"], left, bits=11),
    }
    document = study.readout
    return Content(
        command=command_line(COMMAND, study.arguments),
        tab="when",
        data=data,
        panels=list(_panels(data, f"{unlike}{halfway_sentence(document['runs'])}")),
        checks=list(_checks(steps.frame, document)),
        sentences=[
            *order_sentences(document),
            *comparison_sentences(document["comparisons"]),
            *(f"{label}: {run_sentence(run)}" for label, run in document["runs"].items()),
        ],
        caution=CAUTION,
        methods=METHODS,
        nothing=nothing_stands_out(document["runs"]),
        about=_about(steps.frame),
    )


def _about(steps: pl.DataFrame) -> list[str]:
    """How many runs there are, and how often each was captured."""
    counts = steps.group_by("model_id").len()["len"].to_list()
    if not counts:
        return []
    least, most = min(counts), max(counts)
    span = f"{least}" if least == most else f"{least} to {most}"
    return [f"{len(counts)} run{'s' * (len(counts) > 1)} of {span} captures"]


def _weights(motion: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """A row for each run, capture and weight: ‖ΔW‖, and mean |Δ| of each factor where there is room."""
    pooled = motion.group_by(_PLACE, maintain_order=True).agg(
        pl.col(_SIZE).first(),
        *(
            pl.col("abs_mean").filter(pl.col("factor") == factor).first().alias(f"abs_mean_{factor}")
            for factor in motion["factor"].unique().sort().to_list()
        ),
    )
    sized = filled(pooled, _PLACE)
    if sized.height * (len(pooled.columns) - len(_PLACE)) > _NUMBERS:
        sized = sized.select(*_PLACE, _SIZE)
    return thinned(sized, _NUMBERS)


def _of_common(steps: pl.DataFrame, motion: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The steps with ‖ΔW‖_F over the weights that all runs have, where they have not the same ones; why."""
    weights = motion.select("model_id", *_WEIGHT).unique(maintain_order=True)
    counts = dict(weights.group_by("model_id", maintain_order=True).len().iter_rows())
    runs = weights.group_by(_WEIGHT).agg(pl.len().alias("runs"))
    common = runs.filter(pl.col("runs") == len(counts)).select(_WEIGHT)
    if all(count == common.height for count in counts.values()):
        return steps, ""
    groups: dict[int, list[str]] = {}
    for label, count in sorted(counts.items(), key=lambda item: -item[1]):
        groups.setdefault(count, []).append(label)
    listed = ", ".join(f"{count} in {named(labels, _NAMED)}" for count, labels in groups.items())
    why = f" Runs are captured in different weights ({listed}), of which all have {common.height}."
    if not common.height:
        return steps, f"{why} Sizes over all weights of a run do not compare."
    sized = motion.select("model_id", "step", *_WEIGHT, _SIZE).unique(maintain_order=True)
    kept = sized.join(common, on=_WEIGHT, how="semi", nulls_equal=True)
    size = kept.group_by("model_id", "step").agg(pl.col(_SIZE).pow(2).sum().sqrt().alias(_SIZE_COMMON))
    return steps.join(size, on=["model_id", "step"], how="left", maintain_order="left"), why


def _by_factor(weights: pl.DataFrame) -> dict[str, dict[str, str]]:
    """Unit and meaning of the mean |Δ| of each factor."""
    found = [name for name in weights.columns if name.startswith("abs_mean_")]
    return {
        name: {"unit": "unit of the weights", "meaning": f"mean of |Δ{name.removeprefix('abs_mean_')}|"}
        for name in found
    }


def _measures(steps: pl.DataFrame) -> list[Measure]:
    """What is drawn over the steps; first the size over what all runs have, where that is not all."""
    known = [m for m in _BY_STEP if steps[m.column].is_not_null().any()]
    if _SIZE_COMMON not in steps.columns:
        return known
    first = Measure(_SIZE_COMMON, "‖ΔW‖_F of the weights that all runs have")
    rest = [replace(m, label="‖ΔW‖_F of all weights of each run") if m.column == _SIZE else m for m in known]
    return [first, *rest]


def _panels(data: Mapping[str, Data], halfway: str) -> Iterator[Panel]:
    steps, weights, layers = (data[name].frame for name in ("steps", "weights", "layers"))
    yield Lines(
        "course", "when", "The course of the runs",
        f"Every capture is a point; a line is a run. A press on a model above hides its line.{halfway}",
        "steps", measures=_measures(steps),
    )  # fmt: skip
    measures = [Measure(_SIZE, "‖ΔW‖_F")] if _SIZE in weights.columns else []
    measures += [
        Measure(name, f"mean |Δ{name.removeprefix('abs_mean_')}|")
        for name in weights.columns
        if name.startswith("abs_mean_")
    ]
    if measures:
        yield Maps(
            "motion", "when", "Every weight at one step",
            "Move along the steps: one scale for all of them. A run shows its last capture up to the step.",
            "weights", measures=measures, over="step", sizes=(_SIZE,),
        )  # fmt: skip
    if _SIZE in layers.columns and layers["layer"].is_not_null().any():
        yield Maps(
            "layers", "when", "Every layer at every step",
            "Steps from left to right on a true axis, layers from top to bottom: √Σ‖ΔW‖² over a layer, which "
            "its large weights lead. How much ranks layers by ‖ΔW‖_F / √d_out, to which weights of all sizes "
            "add alike.",
            "layers", measures=[Measure(_SIZE, "‖ΔW‖_F of the layer")], facets=("model_id",), x="step",
            margin="none",
        )  # fmt: skip


def _checks(steps: pl.DataFrame, document: Mapping[str, Any]) -> Iterator[Check]:
    findings = document["findings"]
    if steps["finite"].fill_null(True).all():
        yield Check("finite", "good", "Every Δ of every capture is finite.")
    if not any(f["kind"] in ("seam", "untested_turn") for f in findings):
        yield _no_seam(document["runs"])
    for finding in findings:
        if finding["kind"] in INCOMPLETE and finding["severity"] == "note":
            yield Check("captures", "note", finding["text"])


def _no_seam(runs: Mapping[str, Mapping[str, Any]]) -> Check:
    """That no run was seen to turn or jump, and which jump would have been seen in all of them."""
    jumps = [run.get("visible", {}).get("jump") for run in runs.values()]
    known = [jump for jump in jumps if jump is not None]
    if len(known) < len(jumps):
        unseen = [run.get("unseen", {}) for run in runs.values()]
        why = list(dict.fromkeys(each["jump"] for each in unseen if "jump" in each))
        because = f" ({listed(why, 'or')})" if why else ""
        return Check(
            "seams",
            "note",
            "No run was seen to turn between neighbouring captures, as one put together of two does, where "
            f"the directions of ΔW are known; jumps cannot be told{because}.",
        )
    return Check(
        "seams", "good",
        "No run jumps between neighbouring captures, as one put together of two does; a jump of "
        f"{max(known, default=0):.0%} of the way would be seen.",
    )  # fmt: skip
