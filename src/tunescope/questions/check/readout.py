"""The readout of a check as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunescope.study.coverage import coverage_lines
from tunescope.study.markdown import escaped, finding_lines, table
from tunescope.study.study import Study


def check_markdown(study: Study) -> str:
    """What each file is, whether it attaches, what stands in the way, what is left over."""
    document = study.readout
    base = document["base"]
    lines = ["# Will it load" + (f": against {escaped(base['location'])}" if base else "?"), ""]
    header = [
        "model",
        "format",
        "method",
        "rank",
        "dtype",
        "scale",
        "modules",
        *(["attached"] if base else []),
    ]
    rows = [_row(label, model, base is not None) for label, model in document["models"].items()]
    lines += [*table(header, rows), ""]
    for label, model in document["models"].items():
        lines.append(f"- {_told(label, model)}")
    if base:
        lines.append(f"- the base: {base['weights']} weights, from {_size(base['bytes_read'])} of headers.")
    lines += ["", "## Findings", "", *finding_lines(document["findings"])]
    return "\n".join([*lines, "", "## Coverage", "", *coverage_lines(study.tables["coverage"].frame)]) + "\n"


def _row(label: str, model: Mapping[str, Any], against_base: bool) -> list[str]:
    scales = _few([f"{scale:g}" for scale in model["scales"]])
    if model["scale_unknown"]:
        scales = f"{scales}, " * bool(scales) + f"unknown for {model['scale_unknown']}"
    cells = [
        label,
        model["format"],
        _few(model["methods"]),
        _few(model["ranks"]),
        _few(model["dtypes"]),
        scales,
    ]
    cells.append(str(model["modules"]))
    cells += [f"{model['attached']} of {model['modules']}"] if against_base else []
    return [escaped(cell) for cell in cells]


def _told(label: str, model: Mapping[str, Any]) -> str:
    read = f"read {_size(model['bytes_read'])} of {_size(model['bytes'])}"
    named = model["base_named"] or "no base"
    version = f", written by PEFT {escaped(str(model['tuner_version']))}" if model["tuner_version"] else ""
    targets = _few(model["targets"])
    return f"{escaped(label)}: {read}; the config names {escaped(str(named))}{version}; targets {targets}."


def _few(values: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(map(str, values[:most]))
    return escaped(shown + (", …" if len(values) > most else ""))


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
