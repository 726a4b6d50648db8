"""The readout of an importance study as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.questions.importance.left_out import OF_LAYERS, left_out
from tunescope.questions.importance.sight import nothing_stands_out
from tunescope.study.finding import significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.words import counted


def importance_markdown(document: Mapping[str, Any], sources: Sequence[Mapping[str, Any]] = ()) -> str:
    """The whole readout: what was measured on what, each method with its parameters, layers, findings."""
    summary = document["summary"]
    lines = [
        f"# What {escaped(document['model'])} depends on",
        "",
        f"{counted(summary['sequences'], 'sequence')} with {counted(summary['tokens'], 'scored token')} of "
        f"{escaped(document['data'])}, {summary['dtype']}; loss {significant(summary['loss'], 4)} "
        f"± {significant(summary['loss_stderr'], 2)} nats/token.",
    ]
    lines += ["", "## Findings", "", *finding_lines(document["findings"], nothing_stands_out(document))]
    for method in document["methods"]:
        lines += ["", *_method(method)]
    if document["layers"]:
        lines += ["", "## Layers", "", *_told(document), *_layers(document["layers"])]
    text = f"{methods(document)} {read_line(sources)}"
    return "\n".join([*lines, "", "## Methods", "", escaped(text)]) + "\n"


def _told(document: Mapping[str, Any]) -> list[str]:
    return [line for text in left_out(document) for line in (escaped(text), "")]


def methods(document: Mapping[str, Any]) -> str:
    """How the numbers were made, for an appendix."""
    summary = document["summary"]
    meanings = " ".join(f"{method['method']}: {method['meaning']}" for method in document["methods"])
    return (
        f"Scores are sums over the weights w of a tensor, g the gradient of the loss of a text. {meanings} "
        "Standard errors are over independent samples. Depth: "
        "layers exchanged as wholes, tensors' own levels taken off, 5 % over all methods. Orders differ "
        "where the one-sided 95 % bound of Spearman's correlation lies below 0.5, two neighbouring layers "
        f"counted as one draw. Data sha256 {summary['data_hash'][:12]}, seed {summary['seed']}."
    )


_TRUST = {
    "split_half_spearman": "two halves of the data agree at",
    "spearman_numel": "number of weights",
    "spearman_ablation": "measured ablation",
    "spearman_noise": "measured noise",
}


def _method(method: Mapping[str, Any]) -> list[str]:
    known = [f"{text} {method[key]:.2f}" for key, text in _TRUST.items() if method.get(key) is not None]
    rows = [
        [escaped(row["parameter"]), significant(row["score"]), f"{row['share']:.1%}", str(row["numel"])]
        for row in method["top"]
    ]
    return [
        f"## {method['method']}",
        "",
        f"{method['meaning']} Unit: {method['unit']}.",
        "",
        *([f"Spearman: {', '.join(known)}.", ""] if known else []),
        *([" ".join(escaped(text) for text in method["where"]), ""] if method["where"] else []),
        *table(["parameter", "sum over layers", "share", "weights"], rows),
    ]


def _layers(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [key for key in layers[0] if key not in OF_LAYERS]
    several = len({row["stack"] for row in layers}) > 1
    whole = "layer_importance" in layers[0]
    header = ["layer", *(["Layer Importance"] if whole else []), *(f"sum of {name}" for name in names)]
    rows = []
    for row in layers:
        label = f"{row['stack']} {row['layer']}" if several else str(row["layer"])
        error = row.get("layer_importance_stderr")
        around = f" ± {significant(error, 2)}" if error is not None else ""
        own = [significant(row["layer_importance"]) + around] if whole else []
        rows.append([label, *own, *(significant(row[name]) for name in names)])
    return table(header, rows)
