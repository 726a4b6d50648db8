"""The readout of an attribution as Markdown."""

from collections.abc import Mapping
from typing import Any

from tunescope.study.finding import significant
from tunescope.study.markdown import escaped, finding_lines, table

MEANING = (
    "Each changed weight is given its part of the loss change from base to tuned, in nats per token: "
    "negative lowered the loss, and the parts add up to the whole. A part is an average over the way from "
    "base to tuned; what one weight alone is still worth at its end is what `--verify` measures."
)


def attribution_markdown(document: Mapping[str, Any]) -> str:
    """The whole readout: the sums of every data set, how far to trust them, findings, notices."""
    sets = document["data_sets"]
    lines = [f"# What bought the gain: {escaped(document['tuned'])}", "", f"> {MEANING}", ""]
    lines += table(
        ["data", "base loss", "tuned loss", "gain", "sum of cells", "residual", "nodes"],
        [_sums(name, summary) for name, summary in sets.items()],
    )
    lines += ["", "## How far to trust it", ""]
    lines += [_trust(name, summary) for name, summary in sets.items()]
    lines += ["", "## Findings", "", *finding_lines(document["findings"])]
    return "\n".join(lines) + "\n"


def _sums(name: str, summary: Mapping[str, Any]) -> list[str]:
    error = summary["gain_stderr"]
    gain = significant(summary["gain"]) + ("" if error is None else f" ± {significant(error, 2)}")
    losses = [f"{summary[key]:.4g}" for key in ("base_loss", "tuned_loss")]
    rest = [significant(summary[key]) for key in ("sum", "residual")]
    return [escaped(name), *losses, gain, *rest, str(summary["nodes"])]


def _trust(name: str, summary: Mapping[str, Any]) -> str:
    checked = summary.get("verification")
    put_back = "not measured (`--verify`)" if checked is None else significant(checked["spearman"], 2)
    return (
        f"- {escaped(name)}: {summary['tokens']} tokens of {summary['sequences']} sequences "
        f"(sha256 {summary['data_sha256'][:12]}), {summary['dtype']}, {_cells(summary['cells'])}. Spearman "
        f"between halves of the data {significant(summary['split_half_spearman'], 2)}, with the number of "
        f"weights {significant(summary['spearman_numel'], 2)}, with the change "
        f"{significant(summary['spearman_change_effect'], 2)}, with the measured effect {put_back}."
    )


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"
