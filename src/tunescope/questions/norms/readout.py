"""The readout of a norms study as Markdown."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tunescope.questions.norms.compared import ALL_RATIOS
from tunescope.questions.norms.metrics import drawable, name_of, unsaid
from tunescope.questions.norms.sentences import (
    AS_MEASURED,
    focus_lead,
    focus_sentences,
    methods,
    model_sentences,
    shared_layers,
    shared_sentence,
    without_number,
)
from tunescope.questions.norms.sight import nothing_in_others, nothing_stands_out
from tunescope.questions.norms.unknown_heads import sentences
from tunescope.study.coverage import coverage_lines
from tunescope.study.finding import significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.study.study import Study
from tunescope.words import counted, named, tower_name

_THIRDS = ("early", "middle", "late")
CAUTION = (
    "A magnitude map is not a causal map: it shows where weights changed and by how much, "
    "not which of the changes the model's behaviour depends on."
)


def norms_markdown(study: Study) -> str:
    """The whole readout: findings, every model in a sentence, one layer, tables, coverage, methods."""
    document = study.readout
    metric, models = document["metric"], document["models"]
    lines = [
        f"# {'How much changed' if 'norm' in metric else 'What changed'}: {name_of(metric)}",
        "",
        f"> {CAUTION}",
        "",
        "## Findings",
        "",
        *_findings(study),
        "",
        "## Models",
        "",
        AS_MEASURED,
        "",
        *(
            f"- {escaped(sentence)}"
            for sentence in model_sentences(_first(models), metric, document["ratios"])
        ),
    ]
    if shared := shared_sentence(models, document["findings"]):
        lines += ["", escaped(shared)]
    lines += ["", *_models(models), *_focus(models, metric), *_ratios(models, document["ratios"])]
    lines += ["", "## Largest", "", *top_rows(study.table.frame, metric)]
    heads = [f"- {escaped(text)}" for text in sentences(document.get("heads_unknown", {}))]
    if coverage := [*coverage_lines(study.tables["coverage"].frame), *heads]:
        lines += ["", "## Coverage", "", *coverage]
    said = methods(metric, unsaid(study.table.frame))
    lines += ["", "## Methods", "", escaped(f"{said} {read_line(study.sources)}")]
    return "\n".join(lines) + "\n"


def _findings(study: Study) -> list[str]:
    """What stands out, and in which models nothing does."""
    document = study.readout
    looked, findings = document["looked_at"], document["findings"]
    others = nothing_in_others(looked, list(document["models"]), findings)
    return finding_lines(findings, escaped(nothing_stands_out(looked)), sources=study.sources, others=others)


def _first(models: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those that are told in a sentence each; the table below them holds every one."""
    return dict(list(models.items())[:ALL_RATIOS])


def _models(models: Mapping[str, Any]) -> list[str]:
    layers = shared_layers(models)
    thirds = " · ".join(f"{name} ({layers[name]})" if layers else name for name in _THIRDS)
    means = f"mean of layers: {thirds}"
    header = ["model", "mean", "MLP", "attention", means, "top layers", "largest cell"]
    lines = table(header, [_row(label, model) for label, model in models.items()])
    of: dict[str, list[str]] = {}
    for label, model in models.items():
        if model.get("tower_means"):
            of.setdefault(tower_name(model["layer_stack"]), []).append(label)
    told = "; ".join(f"{tower} ({named(labels, 12)})" for tower, labels in of.items())
    said = f"The mean is over all towers; MLP, attention and layers are of one: {told}."
    return [*lines, *(["", escaped(said)] if told else [])]


def _row(label: str, model: Mapping[str, Any]) -> list[str]:
    family, thirds, cell = model["family_means"], model["thirds"], model["max_cell"]
    if model["overall_mean"] is None:
        why = without_number(model)
        return [escaped(label), why, "", "", "", "", ""]
    return [
        escaped(label),
        significant(model["overall_mean"]),
        significant(family["mlp"]),
        significant(family["attention"]),
        " · ".join(significant(thirds[k]) for k in _THIRDS),
        " ".join(map(str, model["top_layers"] if model["overall_mean"] else [])),
        f"{escaped(cell['component_name'])} {significant(cell['value'])}" if cell["value"] else "",
    ]


def _focus(models: Mapping[str, Any], metric: str) -> list[str]:
    focused = {label: m for label, m in models.items() if "focus_layer" in m}
    if not focused:
        return []
    layer = next(iter(focused.values()))["focus_layer"]["layer"]
    lines = [f"- {escaped(text)}" for text in focus_sentences(focused)]
    return ["", f"## Layer {layer}", "", focus_lead(focused, metric), "", *lines]


def _ratios(models: Mapping[str, Any], ratios: Mapping[str, float | None]) -> list[str]:
    labels = list(models)
    if len(labels) < 2 or len(labels) > ALL_RATIOS:
        return []
    rows = [
        [escaped(a), *("—" if a == b else significant(ratios[f"{a}/{b}"]) for b in labels)] for a in labels
    ]
    over = "Row over column, over the weights that both have, in kinds that changed in both."
    lead = ["", "## Ratios of the means", "", over, ""]
    return lead + table(["", *map(escaped, labels)], rows)


_LABELS = ("model_id", "component_name", "d_out", "d_in", "lora_rank", "scale")


def top_rows(frame: pl.DataFrame, metric: str, most: int = 12) -> list[str]:
    """The rows with the largest `metric`, as a Markdown table.

    What all rows of the study share is said once below it; columns that say nothing in these rows (no rank, a
    scale of one, no number) are left out. With a base, each change also stands as a share of its weight.
    """
    sizes = [drawable(frame, name) for name in ("frobenius_norm", "frobenius_norm_normalized")]
    numbers = [*sizes, "relative_norm", "stable_rank", "effective_rank"]
    numbers += [] if metric in (*_LABELS, *numbers) else [metric]
    top = frame.sort(metric, descending=True, nulls_last=True).head(most)
    same = {name for name in ("model_id", "lora_rank", "scale") if frame[name].n_unique() == 1}
    labels = [name for name in _LABELS if name not in same and not _says_nothing(top[name])]
    numbers = [name for name in numbers if name == metric or not _says_nothing(top[name])]
    rows = [
        [
            *("" if v is None else escaped(str(v)) for v in row[: len(labels)]),
            *map(significant, row[len(labels) :]),
        ]
        for row in top.select(*labels, *numbers).iter_rows()
    ]
    said = [
        f"{name.replace('_', ' ')} {frame[name][0]:g}"
        for name in _LABELS
        if name in same and not _says_nothing(frame[name])
    ]
    below = [f"… {counted(frame.height - most, 'more row')}"] if frame.height > most else []
    below += ["", f"In all rows: {', '.join(said)}."] if said else []
    return [*table([*labels, *numbers], rows), *below]


def _says_nothing(column: pl.Series) -> bool:
    """Whether a column is of no use to a reader: no values at all, the name of one model, scales of one."""
    constant = column.name == "scale" and (column == 1.0).all()
    return (column.name == "model_id" and column.n_unique() == 1) or column.is_null().all() or constant
