"""The pages of a trajectory study: the gallery `results.md` and the readout `readout.md`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tunescope.questions.trajectory.comparison import comparison_sentences
from tunescope.questions.trajectory.ending import ending_words, endings_sentence
from tunescope.questions.trajectory.gallery import Gallery, Panel
from tunescope.questions.trajectory.sentences import METHODS, nothing_stands_out
from tunescope.questions.trajectory.summary import first_counted, halfway_words, verdict
from tunescope.questions.trajectory.views import Animation, rate_text
from tunescope.study.finding import significant
from tunescope.study.markdown import escaped, finding_lines, read_line, table
from tunescope.words import counted, named

CAUTION = (
    "These pictures show how far weights moved, layer by layer, not which of the movements the model's "
    "behaviour depends on. Δ of A and of B alone depends on how the product BA is split between them; "
    "‖ΔW‖ does not."
)

# What a reader of any page must know of a run: that it is not all there, or what it counts from.
INCOMPLETE = ("capture_unfinished", "half_written", "steps_missing", "start_missing")

_ORIGINS = {
    "start": "the weights before training",
    "zero": "zero",
    "first_checkpoint": "the first checkpoint",
}
_FACTORS = {"B": "B", "A": "A", "W": "whole weights"}


def results_markdown(gallery: Gallery, document: Mapping[str, Any]) -> str:
    """The gallery: all domains first, then each; rates as sections, mean beside absolute mean."""
    lines = ["# Results", "", f"> {CAUTION}", "", *_orders(document), *_incomplete(document)]
    if not gallery.chapters:
        lines += ["", "None of these weights lies in a numbered layer, so there is no picture over layers."]
    for title, panels in gallery.chapters:
        lines += ["", f"## {escaped(title)}"]
        for panel in panels:
            if panel.title != title:
                lines += ["", f"### {escaped(panel.title)}"]
            lines += ["", *_pictures(panel), "", *_sentences(panel, document)]
    if document["lora_as_proxy"]:
        lines += ["", "## LoRA as a proxy for full fine-tuning", "", *_proxies(document["lora_as_proxy"])]
    return "\n".join(lines).rstrip() + "\n"


def _incomplete(document: Mapping[str, Any]) -> list[str]:
    told = [f["text"] for f in document["findings"] if f["kind"] in INCOMPLETE]
    return [f"- **Not all there**: {escaped(text)}" for text in told]


def lacking(document: Mapping[str, Any], runs: Sequence[str]) -> str:
    """What some runs lack (steps, their beginning, their end), for the caption of a picture of them."""
    named = {name for run in runs for name in (run, run.rpartition("/")[0])}
    told = [f for f in document["findings"] if f["kind"] in INCOMPLETE and named & set(f["models"])]
    return " ".join(dict.fromkeys(f["text"] for f in told))


def _pictures(panel: Panel) -> list[str]:
    lines = [
        "| mean of Δ | mean of \\|Δ\\| |",
        "|---|---|",
        f"| {_image(panel.mean)} | {_image(panel.abs_mean)} |",
    ]
    if panel.norm is not None:
        name, grid = panel.norm
        lines += ["", f"![‖ΔW‖ of every layer at every step, {escaped(grid.title)}](figures/{name}.png)"]
    return lines


def _image(view: Animation) -> str:
    return f"![{escaped(view.alt())}](figures/{view.name}.gif)"


def _sentences(panel: Panel, document: Mapping[str, Any]) -> Iterator[str]:
    """What the numbers say of a panel's run; of several runs, one line each on where the change lies."""
    if len(panel.runs) == 1:
        yield from _run_lines(panel.runs[0], document)
        return
    for comparison in document["comparisons"]:
        if comparison["kind"] != "rate" and set(comparison["runs"]) & set(panel.runs):
            yield f"- {escaped(comparison['text'])}"
    places = {"early_layers", "middle_layers", "late_layers"}
    for finding in document["findings"]:
        if finding["kind"] in places and set(finding["models"]) & set(panel.runs):
            yield f"- {escaped(finding['text'])}"
    if not any(f["kind"] in places and set(f["models"]) & set(panel.runs) for f in document["findings"]):
        yield "- In none of these runs does a third of the layers stand out."


def _run_lines(run: str, document: Mapping[str, Any]) -> Iterator[str]:
    base = run if run in document["runs"] else run.rpartition("/")[0]
    if summary := document["runs"].get(base):
        yield f"- {run_sentence(summary)}"
    for comparison in document["comparisons"]:
        if comparison["kind"] == "rate" and comparison["runs"][-1] == base:
            yield f"- {escaped(comparison['text'])}"
    told = [
        finding
        for finding in document["findings"]
        if {run, base} & set(finding["models"]) and finding["kind"] not in ("lora_as_proxy", *INCOMPLETE)
    ]
    yield from finding_lines(told, nothing="")


def run_sentence(run: Mapping[str, Any]) -> str:
    """What the numbers say of one run, as one sentence."""
    steps, norms = run["steps"], run["delta_frobenius_norm"]
    one = len(steps) == 1
    text = (
        f"one capture, at step {steps[0]:,}"
        if one
        else f"{run['captures']} captures, step {steps[0]:,} to {steps[-1]:,}"
    )
    if norms[-1] is not None:
        text += f"; ‖ΔW‖ {_counted_from(run)}{_first_to_last(norms[0], norms[-1], one)}"
        if half := halfway_words(run):
            text += f", half of it {half}"
    if run["loss_first"] is not None:
        text += f"; training loss {_first_to_last(run['loss_first'], run['loss_last'], one)}"
        text += "" if one else " at the first and last capture"
        if run.get("loss_ending"):
            text += f", {ending_words(run['loss_ending'])}"
    cosines = run["cosine_to_last"]
    if cosines[0] is not None and len(steps) > 1:
        text += f"; ΔW at step {steps[0]:,} has cosine {cosines[0]:.2f} with the last"
    off, of = run["layers_off_zero"]
    return (
        f"{text}; at the end the mean of Δ lies further from zero than its standard deviation over the "
        f"layer's matrices in {off} of {counted(of, 'layer')}."
    )


def _counted_from(run: Mapping[str, Any]) -> str:
    """That ‖ΔW‖ counts from a checkpoint, in front of it; empty where it counts from before training."""
    first = first_counted(run)
    return "" if first is None or len(run["steps"]) < 2 else f"from step {first:,}: "


def _first_to_last(first: float | None, last: float | None, one: bool) -> str:
    return significant(last) if one else f"{significant(first)} → {significant(last)}"


def _proxies(records: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ["low-rank run", "full run", "weights", "Spearman", "95 % interval", "layers", "so"]
    rows = [
        [
            escaped(r["lora"]),
            escaped(r["full"]),
            r["family"],
            f"{r['spearman']:.2f}",
            "{:.2f} to {:.2f}".format(*r["interval_95"]),
            str(r["n_layers"]),
            verdict(r),
        ]
        for r in records
    ]
    note = (
        "Rank correlation of the two runs' ‖ΔW‖ per layer at their last captures, over the weights that both "
        "train. Interval and verdict count that neighbouring layers are alike: two smooth profiles correlate "
        "without having anything in common, but do not change alike from each layer to the next."
    )
    return [*table(header, rows), "", note]


def readout_markdown(document: Mapping[str, Any], sources: Sequence[Mapping[str, Any]] = ()) -> str:
    """The readout: one table of the runs, their findings, and the proxy table where there is one."""
    header = [
        "run", _rate_heading(document["runs"].values()), "captures", "steps first → last",
        "‖ΔW‖ first → last", "half of that", "cosine of first and last ΔW", "largest in layers",
        "loss first → last",
    ]  # fmt: skip
    rows = [_row(label, run) for label, run in document["runs"].items()]
    lines = ["# How the weights moved", "", f"> {CAUTION}", "", *table(header, rows), "", *_orders(document)]
    if document["lora_as_proxy"]:
        lines += ["", "## LoRA as a proxy for full fine-tuning", "", *_proxies(document["lora_as_proxy"])]
    if document["comparisons"]:
        together = comparison_sentences(document["comparisons"])
        lines += ["", "## Together", "", *(f"- {escaped(text)}" for text in together)]
    # What LoRA and full fine-tuning share stands in its table.
    told = [f for f in document["findings"] if f["kind"] != "lora_as_proxy"]
    lines += ["", "## Findings", "", *finding_lines(told, nothing_stands_out(document["runs"]))]
    return "\n".join([*lines, "", "## Methods", "", escaped(f"{METHODS} {read_line(sources)}")]) + "\n"


def order_sentences(document: Mapping[str, Any]) -> list[str]:
    """Which order was taken and what Δ counts from, once for all runs alike; how their losses end."""
    said: dict[str, list[str]] = {}
    for label, run in document["runs"].items():
        said.setdefault(f"{run['order']}; Δ counts from {_origins(run)}", []).append(label)
    ended = endings_sentence(document["runs"])
    return [*([ended] if ended else []), *(f"{named(labels)}: {text}." for text, labels in said.items())]


def _origins(run: Mapping[str, Any]) -> str:
    """What Δ counts from; named of each factor where they differ."""
    places: dict[str, list[str]] = {}
    for factor, name in _FACTORS.items():
        if known := run.get("origins", {}).get(factor):
            places.setdefault(_origin_words(known), []).append(name)
    several = len(places) > 1
    said = " and from ".join(
        f"{text} in {named(names)}" if several else text for text, names in places.items()
    )
    unknown = "first_checkpoint" in run["references"] and "start" not in run["references"]
    return said + (", for want of the weights before training" if unknown else "")


def _origin_words(known: Sequence[str]) -> str:
    first, *rest = (words for origin, words in _ORIGINS.items() if origin in known)
    lacking = ", of weights that the start lacks," if rest and "start" in known else ""
    return f"{first} or{lacking} {' or '.join(rest)}" if rest else first


def _orders(document: Mapping[str, Any]) -> list[str]:
    return [f"- {escaped(text)}" for text in order_sentences(document)]


def _row(label: str, run: Mapping[str, Any]) -> list[str]:
    norms, cosine = run["delta_frobenius_norm"], run["cosine_to_last"][0]
    return [
        escaped(label),
        _rate(run),
        str(run["captures"]),
        " → ".join(dict.fromkeys(f"{step:,}" for step in (run["steps"][0], run["steps"][-1]))),
        f"{_counted_from(run)}{significant(norms[0])} → {significant(norms[-1])}",
        halfway_words(run) or "n/a",
        "n/a" if cosine is None or len(norms) == 1 else f"{cosine:.2f}",
        ", ".join(map(str, run.get("leading_layers", []))) or "n/a",
        f"{significant(run['loss_first'])} → {significant(run['loss_last'])}",
    ]


def _rate_heading(runs: Iterable[Mapping[str, Any]]) -> str:
    """Which rates `_rate` gives of these runs."""
    stated = {run["learning_rate"] is not None for run in runs}
    if len(stated) > 1:
        return "learning rate, peak or first → last"
    return "peak learning rate" if stated == {True} else "learning rate first → last"


def _rate(run: Mapping[str, Any]) -> str:
    """The peak rate of a run; where only its schedule is known, the rates of the first and last capture."""
    if run["learning_rate"] is not None:
        return rate_text(run["learning_rate"])
    known = [rate for rate in run.get("schedule_learning_rate", []) if rate is not None]
    ends = [significant(rate) for rate in (known[:1] + known[-1:])]
    return " → ".join(dict.fromkeys(ends)) or "n/a"
