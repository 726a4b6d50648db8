"""The readout of an attribution as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.questions.attribution.sight import nothing_stands_out
from tunescope.questions.attribution.stopping import left_over
from tunescope.study.finding import significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.words import counted

MEANING = (
    "Each changed weight is given its part of the loss change from base to tuned, in nats per token: "
    "negative lowered the loss, and the parts add up to the whole. A part is an average over the way from "
    "base to tuned; what one weight alone is still worth at its end is measured by putting it back."
)


def attribution_markdown(document: Mapping[str, Any], sources: Sequence[Mapping[str, Any]] = ()) -> str:
    """The whole readout: the sums of every data set, findings, where the effect lies, trust, methods."""
    sets = document["data_sets"]
    lines = [f"# What bought the gain: {escaped(document['label'])}", "", f"> {MEANING}", ""]
    lines += table(
        ["data", "base loss", "tuned loss", "gain", "sum of parts", "residual", "nodes"],
        [_sums(name, summary) for name, summary in sets.items()],
    )
    lines += ["", "## Findings", "", *finding_lines(document["findings"], nothing="", sources=sources)]
    lines += [line for text in nothing_stands_out(sets, document["findings"]) for line in ("", escaped(text))]
    lines += _where(document["description"])
    lines += ["", "## How far to trust it", ""]
    lines += [trust(name, summary) for name, summary in sets.items()]
    return "\n".join([*lines, "", "## Methods", "", escaped(f"{methods(sets)} {read_line(sources)}")]) + "\n"


def _where(description: Mapping[str, Sequence[str]]) -> list[str]:
    lines: list[str] = []
    for name, sentences in description.items():
        if sentences:
            on = f" on {escaped(name)}" if len(description) > 1 else ""
            lines += ["", f"## Where it lies{on}", "", *(f"- {escaped(text)}" for text in sentences)]
    return lines


def methods(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """How the numbers were made, for an appendix."""
    hashes = ", ".join(f"{n} sha256 {s['data_sha256'][:12]}" for n, s in sets.items())
    return (
        "Integrated gradients along the straight path from base to tuned weights (Sundararajan et al. 2017), "
        "nested Clenshaw-Curtis nodes until the parts settle and add up to the change of the loss. Errors "
        "are standard errors over sequences, paired and weighted by tokens. A sign of a single weight: "
        "one-sided t over sequences, Benjamini-Hochberg over weights at 5 %. Depth: layers exchanged as "
        "wholes. Families: "
        f"within layers, and against how kinds of weight differ. Data: {hashes}."
    )


def _sums(name: str, summary: Mapping[str, Any]) -> list[str]:
    error = summary["gain_stderr"]
    gain = significant(summary["gain"]) + ("" if error is None else f" ± {significant(error, 2)}")
    losses = [f"{summary[key]:.4g}" for key in ("base_loss", "tuned_loss")]
    rest = [significant(summary[key]) for key in ("sum", "residual")]
    return [escaped(name), *losses, gain, *rest, str(summary["nodes"])]


def trust(name: str, summary: Mapping[str, Any]) -> str:
    """What a map rests on; rank correlations with what was measured, the largest apart from random ones."""
    text = (
        f"- {escaped(name)}: {counted(summary['tokens'], 'token')} of "
        f"{counted(summary['sequences'], 'sequence')}, "
        f"{summary['dtype']}, {_cells(summary['cells'])}. Spearman between halves of the data "
        f"{significant(summary['split_half_spearman'], 2)}, with the number of weights "
        f"{significant(summary['spearman_numel'], 2)}, with the change "
        f"{significant(summary['spearman_change_effect'], 2)}; between the last two sets of nodes "
        f"{left_over(summary)}"
    )
    checked = summary.get("verification")
    if checked is None:
        return f"{text}; no weight was put back to measure what it is worth alone."
    apart = ", ".join(f"{w} {significant(checked[f'spearman_{w}'], 2)}" for w in ("largest", "random"))
    overall = significant(checked["spearman"], 2)
    return f"{text}; with the measured effect Spearman {overall} over all that were put back ({apart})."


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"
